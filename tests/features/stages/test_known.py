"""Some symbols of a market, folded against what was kept of the whole, call what they called within it."""

from dataclasses import replace

import numpy as np
import pytest

from features.block import BarBlock, columns_of
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass
from features.stages.context import Contexts
from features.stages.known import KnownMarket
from features.stages.peers import Peers
from tests.support.builders import Run, Scene, assert_same, block, cut, engine, gather, table

PEERS = Peers({"low": ("S0", "S1", "S2")}, (("S3", "S4"),))
SCENES = [
    Scene(AssetClass.CRYPTO, n_symbols=8, n_windows=260, bursts=8, shocks=2, peers=PEERS),
    Scene(AssetClass.STOCKS, n_symbols=8, n_windows=350, bursts=8, shocks=2, peers=PEERS),
    Scene(AssetClass.CRYPTO, 5, n_symbols=6, n_windows=90, missing=0.3, peers=PEERS),
]
MINE = [1, 3]


def some(scene: Scene, kept: Contexts, config: DetectionConfig | None = None) -> Engine:
    """Give an Engine of a scene's market of which only `kept` is known."""
    config = config or scene.detection
    whole = engine(scene)
    known = KnownMarket(whole.shape, config)
    known.learn(kept)
    return Engine(table(scene), scene.bar_s, scene.activity, config, known)


def whole_of(scene: Scene, b: BarBlock, config: DetectionConfig | None = None) -> tuple[Run, Contexts]:
    run = gather(engine(scene, config=config).fold(b))
    assert run.contexts is not None
    return run, run.contexts


def mine_of(a: Anomalies) -> Anomalies:
    return a.take(np.flatnonzero(np.isin(a.slot, MINE)))


def columns(b: BarBlock) -> BarBlock:
    return columns_of(b, np.isin(b.slot, MINE))


@pytest.mark.parametrize("scene", SCENES, ids=lambda s: f"{s.asset_class}-{s.bar_s}")
def test_a_part_calls_what_it_called_within_the_whole(scene: Scene) -> None:
    b = block(scene)
    whole, kept = whole_of(scene, b)
    part = gather(some(scene, kept).fold(columns(b)))
    expected = mine_of(whole.anomalies)
    assert len(expected) > 3
    assert_same(part.anomalies, expected)


def test_any_cut_of_bars_and_contexts_gives_the_same() -> None:
    scene = SCENES[1]
    b = block(scene)
    whole, kept = whole_of(scene, b)
    e = some(scene, kept.take(slice(0, 0)))
    assert e.known is not None
    parts, done = [], 0
    for few in cut(columns(b), scene, [40, 41, 70, 150, 300]):
        end = int(few.ts[np.isfinite(few.close)].max()) + scene.bar_s * NS_PER_S
        n = int(np.searchsorted(kept.end, end, side="right"))
        e.known.learn(kept.take(slice(done, n)))
        done = n
        parts += list(e.fold(few))
    assert_same(gather(parts).anomalies, mine_of(whole.anomalies))


def test_a_day_without_a_bar_of_them_still_gives_its_factor() -> None:
    scene = replace(SCENES[1], n_windows=420)
    b = block(scene)
    day = (b.ts // (86_400 * NS_PER_S))[:, 0]
    gone = np.unique(day)[3]
    for column in (b.open, b.high, b.low, b.close, b.volume, b.trades):
        column[np.ix_(day == gone, MINE)] = np.nan
    whole, kept = whole_of(scene, b)
    factors = kept.scale[np.flatnonzero(np.diff(kept.day, append=0))]
    assert len(set(factors.tolist())) > 3
    assert_same(gather(some(scene, kept).fold(columns(b))).anomalies, mine_of(whole.anomalies))


def test_where_nothing_was_kept_nothing_is_held_against_it() -> None:
    scene = SCENES[0]
    b = block(scene)
    whole, kept = whole_of(scene, b)
    e = some(scene, kept.take(slice(0, 0)))
    part = gather(e.fold(columns(b)))
    kinds = {"market_shock", "correlation_break"}
    from features.detectors.base import KINDS

    assert not kinds & {KINDS[k] for k in part.anomalies.kind}
    assert kinds & {KINDS[k] for k in mine_of(whole.anomalies).kind}
    assert e.known is not None
    assert e.known.n_unknown == len(np.unique(part.contexts.end))  # type: ignore[union-attr]
    assert part.contexts is not None
    assert np.isnan(part.contexts.moves).all()
    assert (part.contexts.scale == 1.0).all()


def test_a_shock_is_one_by_the_settings_at_hand() -> None:
    scene = SCENES[0]
    b = block(scene)
    _, kept = whole_of(scene, b)
    strict = replace(scene.detection, budget=float(np.nanmin(kept.rate)) / 2.0)
    part = gather(some(scene, kept, strict).fold(columns(b)))
    expected, _ = whole_of(scene, b, strict)
    assert kept.is_shock.any()
    assert_same(part.anomalies, mine_of(expected.anomalies))


def test_history_calls_nothing_and_leaves_nothing_open() -> None:
    scene = SCENES[0]
    b = block(scene)
    first, second = cut(b, scene, [200])
    warmed, folded = engine(scene), engine(scene)
    warmed.warm(first)
    list(folded.fold(first))
    assert not warmed.desk.open
    assert folded.desk.open
    assert_same(gather(warmed.fold(second)).anomalies, gather(folded.fold(second)).anomalies)
