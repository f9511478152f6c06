from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from features.market.types import AssetClass
from features.synthetic.block import VALUES, TapeBlock
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.simulator import shelf
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.synthetic import SyntheticSource
from tests.ray_apps.simulator.client import instant

DAY = 20_711  # Tuesday 2026-09-15


def same(a: Bars, b: Bars) -> None:
    for name in ("row", "ts", *VALUES):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


class Counted(shelf.Shelf):
    """A shelf that says what it made."""

    def __init__(self, n_symbols: int) -> None:
        self.tape = Tape(TapeConfig(AssetClass.CRYPTO, n_symbols))
        self.made: Counter[tuple[int, int]] = Counter()
        super().__init__(n_symbols, self._made)

    def _made(self, day: int, columns: NDArray[np.intp]) -> TapeBlock:
        self.made[day, len(columns)] += 1
        return self.tape.block(day * 86_400 * 10**9, 1_440, columns)


@pytest.mark.thorough
def test_a_day_is_made_once_and_for_all_where_many_ask() -> None:
    kept = Counted(300)
    first = [kept.day(row, DAY) for row in (0, 1, 2)]
    for row in (0, 1, 2, 0):
        same(kept.day(row, DAY), first[min(row, 2)])
    assert kept.made == {(DAY, 1): 3}
    same(kept.day(3, DAY), Counted(300).day(3, DAY))
    for row, known in enumerate(first):
        same(kept.day(row, DAY), known)
    assert kept.made == {(DAY, 1): 3, (DAY, 256): 1}
    # Another group and another day are other draws.
    kept.day(260, DAY)
    kept.day(3, DAY + 1)
    assert kept.made == {(DAY, 1): 4, (DAY, 256): 1, (DAY + 1, 1): 1}


def test_what_was_not_asked_for_long_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "KEPT_CELLS", 3_000)
    kept = Counted(2)
    for day in (DAY, DAY + 1, DAY, DAY + 2, DAY):
        assert len(kept.day(0, day)) > 1_400
    assert kept.made[DAY, 1] == 1
    kept.day(0, DAY + 1)
    assert kept.made[DAY + 1, 1] == 2


@pytest.mark.thorough
@pytest.mark.parametrize("asset_class", [AssetClass.STOCKS, AssetClass.CRYPTO])
def test_history_is_the_same_however_it_is_cut(asset_class: AssetClass) -> None:
    source = SyntheticSource(InjectedTape(Tape(TapeConfig(asset_class, 3))))
    start, end = instant("2026-03-06T21:13"), instant("2026-03-09T16:02")  # over a change of clocks
    whole = source.history(1, 60, start, end)
    assert len(whole) > 300
    cuts = [start, start + 3_600 * 10**9, instant("2026-03-08T03:00"), instant("2026-03-09T15:00"), end]
    parts = [source.history(1, 60, a, b) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([p.ts for p in parts]), whole.ts)
    np.testing.assert_array_equal(np.concatenate([p.close for p in parts]), whole.close)
    assert len(source.history(1, 60, end, end)) == 0
