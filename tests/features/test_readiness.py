"""How long a kind still waits is exactly how long it then takes."""

from itertools import pairwise

import numpy as np
import pytest

from features import catalog
from features.block import rows_of
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS
from features.engine import Engine
from features.market.types import AssetClass, SlotTable
from tests.support.builders import Scene, block

SCENE = Scene(AssetClass.STOCKS, n_symbols=4, n_windows=150, day_windows=150, missing=0.0, bursts=0, shocks=0, faults=0)
GAP = KINDS.index("gap")


def test_the_windows_a_kind_waits_for_are_those_without_a_value() -> None:
    table = SlotTable(SCENE.asset_class)
    for i in range(SCENE.n_symbols):
        table.slot(f"S{i}", 60)
    engine = Engine(table, 60, SCENE.activity, DetectionConfig())
    group = engine.symbols.primary
    b = block(SCENE)
    rows = np.arange(SCENE.n_symbols)
    left, ready = [], []
    for t in range(len(b.ts)):
        list(engine.fold(rows_of(b, slice(t, t + 1))))
        left.append({kind: n[0] for kind, n in group.windows_left(rows).items()})
        scores = group.every.scores(group.newest_x[:1])[0]
        ready.append({d.kind: not np.isnan(scores[KINDS.index(d.kind)]) for d in group.every.detectors})
    for kind in left[0]:
        if kind == "gap":
            continue  # its one trial is the next morning's
        first = next(t for t, said in enumerate(ready) if said[kind])
        waited = [said[kind] for said in left]
        assert waited[first - 1] == 0
        assert waited[first - 2] == 1
        assert all(b == a - 1 for a, b in pairwise(waited[2:first]))
    assert left[0]["volatility_spike"] == 119
    assert left[-1] == dict.fromkeys(left[-1], 0)


@pytest.mark.parametrize("n_bars", [1, 59])
def test_a_column_without_a_value_says_that_it_is_warming(n_bars: int) -> None:
    table = SlotTable(SCENE.asset_class)
    for i in range(SCENE.n_symbols):
        table.slot(f"S{i}", 60)
    engine = Engine(table, 60, SCENE.activity, DetectionConfig())
    list(engine.fold(rows_of(block(SCENE), slice(0, n_bars))))
    x, why = engine.symbols.primary.newest_x[0], engine.symbols.primary.newest_why[0]
    for column in (catalog.ACTIVITY_Z, catalog.UP_Z, catalog.VOLATILITY_RATIO, catalog.GAP_Z):
        assert np.isnan(x[column])
        assert catalog.REASONS[why[column]] == "warming"
