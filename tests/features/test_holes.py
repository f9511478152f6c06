"""What a hole in the feed does: nothing is measured across it, and what has no value says so."""

import numpy as np
import pytest

from features import catalog
from features.block import BarBlock, columns_of, rows_of
from features.decisions.config import DetectionConfig
from features.detectors.base import MARKET_SHOCK
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, Hole, SlotTable
from features.state import FeatureState, SeriesShape
from tests.support.builders import Scene, assert_same_arrays, block, one_series, with_bars

STOCKS = AssetClass.STOCKS
MINUTE = 60 * NS_PER_S
CALM = Scene(AssetClass.CRYPTO, n_symbols=8, n_windows=200, missing=0.0, bursts=0, shocks=0, faults=0)
BEFORE, AFTER = 150, 160  # rows of the block on both sides of the hole


def hole(b: BarBlock, bar_s: int = 0) -> Hole:
    return Hole("reconnect", int(b.ts[BEFORE - 1].max()) + MINUTE, int(b.ts[AFTER].min()), bar_s=bar_s)


def market_that_moved() -> BarBlock:
    """Give a calm market, three percent higher from row `AFTER` on."""
    b = block(CALM)
    for t in range(AFTER, len(b.ts)):
        for n in range(CALM.n_symbols):
            prices = {name: float(getattr(b, name)[t, n]) * 1.03 for name in ("open", "high", "low", "close")}
            b = with_bars(b, (t, n), **prices)
    return b


def shocks(b: BarBlock, told: Hole | None) -> int:
    table = SlotTable(CALM.asset_class)
    for i in range(CALM.n_symbols):
        table.slot(f"S{i}", 60)
    engine = Engine(table, 60, CALM.activity, DetectionConfig())
    list(engine.fold(rows_of(b, slice(0, BEFORE))))
    if told is not None:
        engine.miss(told)
    found = [d.anomalies for d in engine.fold(rows_of(b, slice(AFTER, len(b.ts))))]
    return sum(int((a.kind == MARKET_SHOCK).sum()) for a in found)


def test_what_the_market_did_in_a_hole_is_no_shock_of_the_minute_after() -> None:
    b = market_that_moved()
    assert shocks(b, None) >= CALM.n_symbols
    assert shocks(b, hole(b)) == 0
    assert shocks(b, hole(b, bar_s=1)) >= CALM.n_symbols  # a hole of another series


def state(asset_class: AssetClass = AssetClass.CRYPTO, n: int = 1) -> FeatureState:
    made = FeatureState(SeriesShape(asset_class, 60, "trades"))
    made.grow(n)
    return made


ROW = np.zeros(1, dtype=np.int64)
CLOSES = 100.0 + np.cos(np.arange(200.0))


def test_the_first_bar_after_a_hole_moves_from_its_own_open() -> None:
    b = one_series(CLOSES)
    s = state()
    s.observe(ROW, rows_of(b, slice(0, BEFORE)))
    s.miss(int(b.ts[AFTER, 0]))
    seen = s.observe(ROW, rows_of(b, slice(AFTER, AFTER + 2)))
    opened, closed = float(b.open[AFTER, 0]), float(b.close[AFTER, 0])
    assert seen.windows.after_hole[:, 0].tolist() == [True, False]
    assert seen.x[0, 0, catalog.MOVE] == pytest.approx(np.log(closed / opened))
    assert seen.x[1, 0, catalog.MOVE] == pytest.approx(np.log(b.close[AFTER + 1, 0] / closed))
    assert seen.reach[:, 0] == pytest.approx([1 / 60, 2 / 60])


def test_a_series_that_missed_nothing_goes_on_as_before() -> None:
    b = one_series(CLOSES)
    told, untold = state(), state()
    for s in (told, untold):
        s.observe(ROW, rows_of(b, slice(0, AFTER)))
    told.miss(int(b.ts[AFTER, 0]))  # a hole that ends where this series' last bar ended
    after = rows_of(b, slice(AFTER, AFTER + 30))
    np.testing.assert_array_equal(told.observe(ROW, after).x, untold.observe(ROW, after).x)


def test_stragglers_from_before_the_hole_do_not_end_it() -> None:
    b = one_series(CLOSES)
    s = state()
    s.observe(ROW, rows_of(b, slice(0, BEFORE - 1)))
    s.miss(int(b.ts[AFTER, 0]))
    late = s.observe(ROW, rows_of(b, slice(BEFORE - 1, BEFORE)))
    assert not late.windows.after_hole.any()
    assert s.observe(ROW, rows_of(b, slice(AFTER, AFTER + 1))).windows.after_hole.all()


def test_a_revision_of_the_first_bar_after_a_hole_is_as_if_it_came_first() -> None:
    b = one_series(CLOSES)
    revised = with_bars(b, (AFTER, 0), close=101.5, high=103.0)
    only, both = state(), state()
    for s in (only, both):
        s.observe(ROW, rows_of(b, slice(0, BEFORE)))
        s.miss(int(b.ts[AFTER, 0]))
    only.observe(ROW, rows_of(revised, slice(AFTER, AFTER + 1)))
    both.observe(ROW, rows_of(b, slice(AFTER, AFTER + 1)))
    again = rows_of(revised, slice(AFTER, AFTER + 1))
    both.observe(ROW, BarBlock(*(getattr(again, f) for f in BarBlock.__slots__[:-1]), np.array([True])))
    assert_same_arrays(both.snapshot(), only.snapshot())


def test_a_hole_not_yet_ended_outlives_a_restart() -> None:
    b = one_series(CLOSES)
    first, second = state(), state()
    first.observe(ROW, rows_of(b, slice(0, BEFORE)))
    first.miss(int(b.ts[AFTER, 0]))
    second.restore(first.snapshot())
    assert second.observe(ROW, rows_of(b, slice(AFTER, AFTER + 1))).windows.after_hole.all()


def test_the_night_a_hole_covers_has_no_gap_and_says_why() -> None:
    scene = Scene(STOCKS, n_symbols=1, n_windows=200, day_windows=100, missing=0.0, bursts=0, shocks=0, faults=0)
    b = columns_of(block(scene), np.array([True]))
    morning = 100
    for is_told in (False, True):
        s = state(STOCKS)
        s.observe(ROW, rows_of(b, slice(0, morning - 5)))
        if is_told:
            s.miss(int(b.ts[morning, 0]))
        seen = s.observe(ROW, rows_of(b, slice(morning, morning + 1)))
        assert np.isnan(seen.x[0, 0, catalog.GAP]) == is_told
        assert seen.reason[0, 0, catalog.GAP_Z] == (catalog.HOLE if is_told else catalog.VALUE)


def test_the_residual_says_that_a_hole_cut_its_hour_short() -> None:
    table = SlotTable(CALM.asset_class)
    for i in range(CALM.n_symbols):
        table.slot(f"S{i}", 60)
    engine = Engine(table, 60, CALM.activity, DetectionConfig())
    b = block(CALM)
    list(engine.fold(rows_of(b, slice(0, BEFORE))))
    engine.miss(hole(b))
    said = []
    for t in range(AFTER, AFTER + 5):
        list(engine.fold(rows_of(b, slice(t, t + 1))))
        said.append(engine.symbols.primary.newest_why[: CALM.n_symbols, catalog.RESIDUAL_Z].tolist())
    names = [{catalog.REASONS[w] for w in why} for why in said]
    assert names == [{"gap"}, {"gap"}, {""}, {""}, {""}]
