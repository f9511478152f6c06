"""The market's channel against plain loops, and what it says of crashes, thin universes and mornings."""

import math
from dataclasses import replace

import numpy as np
import pytest

from features.block import BarBlock, columns_of
from features.decisions.config import DetectionConfig
from features.families.profile import profile
from features.market.types import AssetClass
from features.stages.context import Contexts
from features.stages.market import Market
from features.stages.peers import Peers
from features.state import SeriesShape
from tests.support import naive
from tests.support.builders import COLUMNS, PRICES, Live, Scene, batch, block, cut, table, with_bars
from tests.support.naive import NAN, Last, S

pytestmark = pytest.mark.thorough

PEERS = Peers({"even": ("S0", "S2", "S4", "S6"), "odd": ("S1", "S3", "S5")}, (("S0", "S7"), ("S1", "S2"), ("S2", "S7")))
CASES = (
    Scene(AssetClass.CRYPTO, 60, n_windows=120, missing=0.5, faults=0),
    Scene(AssetClass.STOCKS, 60, n_windows=150, day_windows=40, missing=0.3, faults=0),
    Scene(AssetClass.STOCKS, 300, n_windows=150, day_windows=70, missing=0.3, faults=0),
    Scene(AssetClass.STOCKS, 5, n_windows=70, day_windows=62, missing=0.7, faults=0),
    Scene(AssetClass.CRYPTO, 60, n_symbols=8, n_windows=300, missing=0.75, faults=0, peers=PEERS),
)


def told_by_loops(scene: Scene, b: BarBlock) -> list[dict[int, Last]]:
    """Give, per series, what it last showed after each of its bars, by the bar's end."""
    shape = SeriesShape(scene.asset_class, scene.bar_s, scene.activity)
    sessions, p = scene.asset_class.has_sessions, profile(scene.asset_class, scene.window_s)
    per_five = 300 / scene.window_s
    out = []
    for n in range(scene.n_symbols):
        bars = naive.bars_of(b, n, scene.activity, sessions)
        windows = naive.windows(bars, scene.bar_s, sessions)
        moves = naive.returns(windows, p)
        unit = [m["return_sd"] / p.vol[w.minute] for m, w in zip(moves, windows, strict=True)]
        gaps = naive.gaps(bars, windows, unit, shape.session_windows)
        hour = naive.horizon(bars, scene.window_s, 3_600, sessions)
        five = naive.horizon(bars, scene.window_s, 300, sessions)
        series: dict[int, Last] = {}
        gap = (NAN, 0)
        for bar, m, (_, gap_z), (move, _), (move_5, reach) in zip(bars, moves, gaps, hour, five, strict=True):
            gap = gap if math.isnan(gap_z) else (gap_z, bar.end)
            z_5 = move_5 / (m["return_sd"] * math.sqrt(max(reach * per_five, 1.0))) if per_five > 1 else NAN
            series[bar.end] = Last(bar.end, m["move_z"], z_5, move, *gap)
        out.append(series)
    return out


def closed(scene: Scene, b: BarBlock) -> Contexts:
    return Contexts.concat([w.contexts for w in Live(scene).run(b) if w.contexts is not None])


@pytest.mark.parametrize("scene", CASES, ids=lambda s: f"{s.asset_class}-{s.bar_s}s-{s.n_symbols}")
def test_medians_and_their_norms(scene: Scene) -> None:
    b = block(scene)
    ctx = closed(scene, b)
    series = told_by_loops(scene, b)
    used, told = 0, []
    for end in ctx.end.tolist():
        lasts = {f"S{n}": s[max(e for e in s if e <= end)] for n, s in enumerate(series) if any(e <= end for e in s)}
        told.append(naive.medians(list(lasts.values()), end, used))
        moves = naive.peer_moves(lasts, end, list(scene.peers.sectors.values()), list(scene.peers.partners))
        told[-1]["moves"] = [told[-1]["move"], *moves]
        if told[-1]["n_gaps"] >= max(3, told[-1]["n_active"] // 2):
            used = end
        else:
            told[-1]["gap_z"] = NAN
    assert ctx.n_active.tolist() == [t["n_active"] for t in told]
    np.testing.assert_allclose(ctx.moves, [t["moves"] for t in told], rtol=1e-9, atol=1e-13)
    z = np.array(naive.median_z([t["z"] for t in told], 60.0))
    z_5 = np.array(naive.median_z([t["z_5"] for t in told], 60.0))
    z_gap = np.array(naive.median_z([t["gap_z"] for t in told], 5.0))
    best = np.where(np.isnan(z) | (np.abs(z_5) > np.abs(z)), z_5, z)
    calm = np.isnan(z_gap)
    np.testing.assert_allclose(ctx.score[calm], np.abs(best)[calm], rtol=1e-8)
    np.testing.assert_array_equal(ctx.direction[calm & ~np.isnan(best)], np.sign(best[calm & ~np.isnan(best)]))
    if scene.asset_class.has_sessions:
        assert (~calm).any()
    for i in np.flatnonzero(~calm):
        assert ctx.score[i] == pytest.approx(abs(z_gap[i])) or ctx.score[i] == pytest.approx(abs(best[i]))
    assert np.isfinite(ctx.score).any()


def test_the_scene_with_peers_has_thin_sectors_and_silent_partners() -> None:
    is_known = np.isfinite(closed(CASES[-1], block(CASES[-1])).moves)
    assert is_known.any(axis=0).tolist() == [True] * 5
    assert is_known.all(axis=0).tolist() == [True] + [False] * 4


def test_columns_are_those_of_the_series_seen_so_far() -> None:
    scene = Scene(n_symbols=4, n_windows=80, missing=0.0, peers=Peers({"s": ("S1", "S2", "S3")}, (("S0", "S3"),)))
    b = block(scene)
    market, growing = Market(SeriesShape(scene.asset_class, 60, "volume"), scene.detection), table(scene, ["S0", "S1"])
    growing.slot("S3", 1)  # a second series of a symbol feeds nothing
    moves = []
    for name in ("S2", "S3"):
        slot = growing.slot(name, 60)
        market.grow(growing)
        part = columns_of(b, np.arange(4) <= slot - 1)
        rows = np.array([0, 1, 3, 4])[: part.shape[1]]
        moves.append(market.observe(rows, part, np.ones(80, dtype=bool)).moves)
    assert np.isnan(moves[0][:, 1:]).all()
    assert np.isfinite(moves[1]).all()
    restored = Market(market.shape, scene.detection)
    restored.restore(market.snapshot())
    restored.grow(growing)
    end = int(b.ts.max()) + 60 * S
    np.testing.assert_array_equal(restored.close(end).moves, market.close(end).moves)


def test_two_symbols_are_no_market() -> None:
    scene = Scene(n_symbols=2, n_windows=80, missing=0.0)
    ctx = closed(scene, block(scene))
    assert np.isnan(ctx.score).all()
    assert np.isnan(ctx.moves).all()
    assert not ctx.is_shock.any()
    assert (ctx.n_active == 2).all()


def test_a_symbol_counts_ten_minutes_and_its_move_in_the_median_five() -> None:
    scene = Scene(n_symbols=4, n_windows=90, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    gone = (np.arange(90)[:, None] > 70) & (np.arange(4) > 1)
    b = replace(b, **{name: np.where(gone, np.nan, getattr(b, name)) for name in COLUMNS})
    ctx = closed(scene, b)
    assert ctx.n_active[70:].tolist() == [4] * 10 + [2] * 10
    assert np.isfinite(ctx.score[70:75]).all()
    assert np.isnan(ctx.score[75:]).all()
    assert np.isfinite(ctx.moves[70:80]).all()
    assert np.isnan(ctx.moves[80:]).all()


def crash(b: BarBlock, t: int, fall: float) -> BarBlock:
    for n in range(b.shape[1]):
        o = b.open[t, n]
        b = with_bars(b, (t, n), close=o * (1 - fall), low=o * (1 - fall), high=max(o, b.close[t, n]))
    return b


def test_a_crash_is_a_shock_down_and_its_breadth_is_all() -> None:
    scene = Scene(n_windows=80, missing=0.0, bursts=0, shocks=0, faults=0)
    ctx = closed(scene, crash(block(scene), 75, 0.05))
    assert ctx.is_shock.tolist() == [False] * 75 + [True] + ctx.is_shock[76:].tolist()
    assert (ctx.direction[75], ctx.breadth[75]) == (-1.0, 1.0)
    assert ctx.moves[75, 0] < -0.04


def test_a_budget_changed_while_running_counts_from_the_next_window_on() -> None:
    scene = Scene(n_windows=80, missing=0.0, bursts=0, shocks=0, faults=0)
    b = crash(block(scene), 75, 0.05)
    before, after = cut(b, scene, [75])
    live = Live(scene)
    live.run(before)
    live.market.configure(DetectionConfig(budget=1e-30))
    assert not any(w.contexts.is_shock.any() for w in live.run(after) if w.contexts is not None)


def test_a_decimal_slip_of_the_feed_is_no_shock() -> None:
    scene = Scene(n_windows=80, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    for n in range(scene.n_symbols):
        b = with_bars(b, (75, n), **{name: getattr(b, name)[75, n] / 10.0 for name in PRICES})
    assert not closed(scene, b).is_shock.any()


def test_a_window_all_of_whose_bars_are_faulty_is_closed_all_the_same() -> None:
    scene = Scene(n_windows=80, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    for n in range(scene.n_symbols):
        b = with_bars(b, (75, n), **{name: getattr(b, name)[75, n] / 10.0 for name in PRICES})
    market = Market(SeriesShape(scene.asset_class, 60, "volume"), scene.detection)
    market.grow(table(scene))
    ctx = market.observe(np.arange(5), b, np.ones(80, dtype=bool))
    assert ctx.end.tolist() == (b.ts[:, 0] + 60 * S).tolist()


def test_a_morning_of_gaps_is_judged_once() -> None:
    scene = Scene(AssetClass.STOCKS, n_windows=140, day_windows=70, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    later = np.arange(140)[:, None] >= 70
    b = replace(b, **{name: np.where(later, 0.8 * getattr(b, name), getattr(b, name)) for name in PRICES})
    ctx = closed(scene, b)
    assert np.flatnonzero(ctx.is_shock).tolist() == [70]
    assert ctx.direction[70] == -1.0


def test_a_revised_morning_is_not_judged_again() -> None:
    scene = Scene(AssetClass.STOCKS, n_windows=140, day_windows=70, missing=0.0, bursts=0, shocks=0, faults=0)
    b = block(scene)
    later = np.arange(140)[:, None] >= 70
    b = replace(b, **{name: np.where(later, 0.8 * getattr(b, name), getattr(b, name)) for name in PRICES})
    live = Live(scene)
    live.run(replace(b, ts=b.ts[:71], **{name: getattr(b, name)[:71] for name in COLUMNS}))
    live.bars(batch(b, 70), np.ones(5, dtype=bool))
    live.bars(batch(b, 71))
    assert not live.close().contexts.is_shock.any()
