from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.market.bars import BarColumns
from features.market.types import AssetClass
from features.synthetic.block import VALUES, TapeBlock
from features.synthetic.chance import chance
from features.synthetic.hours import MINUTE_NS
from features.synthetic.prints import MOST, Prints, prints_of
from features.synthetic.tape import Tape, TapeConfig

DAY = 20_711
SECOND = 10**9


@cache
def tape_of(asset_class: AssetClass) -> Tape:
    """Give a tape of sixty symbols, its days kept."""
    return Tape(TapeConfig(asset_class, 60))


def columns(block: TapeBlock) -> tuple[NDArray[np.intp], BarColumns]:
    at, row = np.nonzero(block.present)
    return row, BarColumns(block.ts[at], *(getattr(block, name)[at, row] for name in VALUES))


def check(bars: BarColumns, made: Prints, length_ns: int) -> None:
    """What must hold of the prints of any bars."""
    for i in range(len(bars.ts)):
        mine = made.bar == i
        ts, price, size = made.ts[mine], made.price[mine], made.size[mine]
        assert 1 <= len(ts) <= MOST
        assert (np.diff(ts) >= 0).all()
        assert bars.ts[i] <= ts[0]
        assert ts[-1] < bars.ts[i] + length_ns
        assert (price[0], price[-1]) == (bars.open[i], bars.close[i])
        assert (price.min(), price.max()) == (bars.low[i], bars.high[i])
        if np.isnan(bars.volume[i]):
            assert np.isnan(size).all()
            continue
        assert (size > 0).all()
        assert size.sum() == pytest.approx(bars.volume[i], rel=1e-12)


@pytest.mark.parametrize("asset_class", list(AssetClass))
@pytest.mark.parametrize("length_s", [1, 60])
def test_bars_are_what_their_prints_add_up_to(asset_class: AssetClass, length_s: int) -> None:
    tape = tape_of(asset_class)
    start = (DAY * 1440 + 15 * 60) * MINUTE_NS
    row, bars = columns(tape.minute(start) if length_s == 60 else tape.seconds(start).take(slice(0, 6)))
    made = prints_of(row, bars, length_s * SECOND, seed=7)
    check(bars, made, length_s * SECOND)
    if asset_class is AssetClass.INDICES:
        return
    counts = np.bincount(made.bar, minlength=len(bars.ts))
    # Four prints hold any prices; the tape has bars of fewer trades that need more.
    wanted = np.minimum(bars.trades, MOST)
    assert (counts == wanted)[wanted >= 4].all()
    assert ((wanted <= counts) & (counts <= 4))[wanted < 4].all()
    if asset_class is AssetClass.STOCKS:
        assert (made.size == np.rint(made.size)).all()
    mean = np.bincount(made.bar, made.price * made.size) / np.bincount(made.bar, made.size)
    # As near as whole sizes allow: within a step's share of the range.
    slack = (bars.high - bars.low) * counts / np.maximum(bars.volume, 1) + 1e-9 * bars.close
    near = np.abs(mean - bars.vwap) <= slack
    assert near[counts >= 3].mean() > 0.97


@settings(max_examples=200)
@given(
    prices=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    trades=st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 7.0, 1e6, np.nan]),
    volume=st.sampled_from([4.0, 5.0, 1234.0, 0.5, 1e6 + 0.25, np.nan]),
    part=st.floats(0, 1),
)
def test_any_bar_has_prints(prices: list[int], trades: float, volume: float, part: float) -> None:
    o, c = prices[0], prices[1]
    h, low = max(prices), min(prices)
    numbers = (o, h, low, c, volume, low + part * (h - low), trades)
    bar = BarColumns(np.array([SECOND]), *(np.array([float(x)]) for x in numbers))
    check(bar, prints_of(np.array([3]), bar, SECOND, seed=1), SECOND)


def test_prints_do_not_depend_on_what_is_asked_beside() -> None:
    row, bars = columns(Tape(TapeConfig(AssetClass.CRYPTO, 40)).minute((DAY * 1440 + 700) * MINUTE_NS))
    whole = prints_of(row, bars, MINUTE_NS, seed=7)
    some = np.array([31, 2])
    few = prints_of(row[some], bars.take(some), MINUTE_NS, seed=7)
    for i, at in enumerate(some):
        for name in ("ts", "price", "size"):
            np.testing.assert_array_equal(getattr(few, name)[few.bar == i], getattr(whole, name)[whole.bar == at])
    assert (prints_of(row, bars, MINUTE_NS, seed=8).ts != whole.ts).any()
    assert len(prints_of(row[:0], bars.take(some[:0]), MINUTE_NS, seed=7)) == 0


def test_chances_are_uniform_and_independent() -> None:
    u = chance(3, np.arange(200)[:, None], np.arange(500))
    assert u.shape == (200, 500)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.005)
    assert np.histogram(u, 10)[0] == pytest.approx(10_000, rel=0.05)
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.01
    assert (chance(4, np.arange(500)) != u[0]).all()
