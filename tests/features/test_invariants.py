"""What must hold of every column, every detector and the whole engine (README: properties 1 to 4 and 6)."""

import copy
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import catalog
from features.block import BarBlock, columns_of, rows_of
from features.catalog import CATALOG
from features.decisions.anomalies import Anomalies
from features.detectors.base import KINDS
from features.families.cross_section import Closes
from features.families.fault import FLAT, SLIP
from features.market.types import AssetClass
from features.stages.context import Contexts
from features.stages.peers import Peers
from features.stages.symbols import Symbols
from features.state import FeatureState, Observation, SeriesShape
from tests.support.builders import (
    COLUMNS,
    Live,
    Run,
    Scene,
    assert_same,
    assert_same_arrays,
    assert_same_run,
    block,
    by_slot,
    cut,
    engine,
    gather,
    hash_of,
    one_series,
    with_bars,
)

pytestmark = pytest.mark.thorough

FEW = settings(max_examples=3)
STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
PEERS = Peers({"low": ("S0", "S1", "S2")}, (("S0", "S3"), ("S4", "S3"), ("S3", "S1")))
"""S1 and S2 are held against their sector, S0 against its partner though it has one, S3 and S4 against partners."""
SCENES = (
    Scene(CRYPTO, 60, n_windows=110),
    Scene(STOCKS, 60, n_windows=110),
    Scene(CRYPTO, 300, n_windows=110),
    Scene(STOCKS, 300, n_windows=110),
    Scene(CRYPTO, 5, n_windows=67, missing=0.3),
    Scene(STOCKS, 5, n_windows=67, day_windows=40, missing=0.3),
    Scene(CRYPTO, 60, n_windows=111, missing=0.3, peers=PEERS),
    Scene(STOCKS, 5, n_windows=68, day_windows=40, missing=0.3, peers=PEERS),
    Scene(STOCKS, 60, n_windows=200, day_windows=33),
)
scenes = pytest.mark.parametrize("scene", SCENES, ids=lambda s: f"{s.asset_class}-{s.bar_s}s-{s.n_windows}")
seeds = st.integers(0, 1_000)


def observe(scene: Scene, b: BarBlock) -> Observation:
    """Show a block to fresh features, closing every bar against a made-up market so that all columns are told."""
    state = FeatureState(SeriesShape(scene.asset_class, scene.bar_s, scene.activity))
    state.grow(b.shape[1])
    rows = np.arange(b.shape[1])
    seen = state.observe(rows, b)
    market = np.repeat(1e-3 * np.cos(np.arange(len(b.ts)))[:, None], len(rows), axis=1)
    present = np.isfinite(b.close)
    nothing = np.zeros(len(rows))
    values, why = state.close(rows, Closes(present, nothing > 0.0, seen.move, seen.reach, seen.is_cut, market, nothing))
    for j, column in enumerate((catalog.RESIDUAL, catalog.RESIDUAL_Z, catalog.BETA)):
        seen.x[:, :, column] = values[j]
        seen.reason[:, :, column] = np.where(np.isnan(values[j]), why, 0)
    return seen


def run(scene: Scene, b: BarBlock) -> Run:
    return gather(engine(scene).fold(b))


def test_some_days_have_rescaled_rates() -> None:
    contexts = run(SCENES[-1], block(SCENES[-1])).contexts
    assert contexts is not None
    assert len(np.unique(contexts.scale)) > 2


def test_scenes_hold_anomalies_of_many_kinds() -> None:
    kinds = set()
    for scene in SCENES:
        found = run(scene, block(scene)).anomalies
        assert (found.kind == KINDS.index("market_shock")).any(), scene
        kinds |= {KINDS[k] for k in found.kind}
    assert {"burst_up", "burst_down", "price_move", "correlation_break", "data_fault"} <= kinds


# causal


@scenes
@FEW
@given(seed=seeds, at=st.integers(1, 100))
def test_values_do_not_change_with_later_bars(scene: Scene, seed: int, at: int) -> None:
    b = block(replace(scene, seed=seed))
    other = block(replace(scene, seed=seed + 1))
    later = np.arange(len(b.ts))[:, None] >= at
    changed = replace(b, **{name: np.where(later, getattr(other, name), getattr(b, name)) for name in COLUMNS})
    first, second = observe(scene, b), observe(scene, changed)
    for name in ("x", "reason", "code", "trials", "move", "reach"):
        np.testing.assert_array_equal(getattr(first, name)[:at], getattr(second, name)[:at], err_msg=name)


@scenes
def test_anomalies_do_not_change_with_later_bars(scene: Scene) -> None:
    b = block(scene)
    short = cut(b, scene, [scene.n_windows - 1])[0]
    whole, part = run(scene, b).anomalies, run(scene, short).anomalies
    last = short.ts.max() + b.bar_s * 10**9
    assert_same(whole.take(np.flatnonzero(whole.end <= last)), part)
    assert len(part)


# chunking


@scenes
@FEW
@given(seed=seeds, data=st.data())
def test_any_split_into_blocks_gives_the_same(scene: Scene, seed: int, data: st.DataObject) -> None:
    b = block(replace(scene, seed=seed))
    cuts = data.draw(st.lists(st.integers(1, scene.n_windows), max_size=5))
    whole, split = engine(scene), engine(scene)
    expected = gather(whole.fold(b))
    assert_same_run(gather(d for part in cut(b, scene, cuts) for d in split.fold(part)), expected)
    assert_same_arrays(split.market.snapshot(), whole.market.snapshot())
    assert_same_arrays(by_slot(split.symbols.snapshot()), by_slot(whole.symbols.snapshot()))


@scenes
def test_live_batches_give_what_history_gives(scene: Scene) -> None:
    b = block(scene)
    history, live = engine(scene), Live(scene)
    expected = gather(history.fold(b))
    assert_same_run(gather(live.run(b, groups=2 if scene.bar_s == 60 else 1)), expected)
    assert_same_arrays(live.market.snapshot(), history.market.snapshot())
    assert_same_arrays(by_slot(live.shards[0].snapshot()), by_slot(history.symbols.snapshot()))


def test_rows_without_a_bar_change_nothing() -> None:
    scene = SCENES[0]
    b = block(scene)
    t = np.repeat(np.arange(len(b.ts)), 2)
    empty = np.arange(len(t))[:, None] % 2 == 1
    padded = rows_of(b, t)  # type: ignore[arg-type]
    padded = replace(padded, **{name: np.where(empty, np.nan, getattr(padded, name)) for name in COLUMNS})
    assert_same_run(run(scene, padded), run(scene, b))


@pytest.mark.parametrize("spec", CATALOG, ids=lambda s: s.name)
def test_a_column_does_not_depend_on_other_symbols_or_blocks(spec: catalog.FeatureSpec) -> None:
    scene, f = SCENES[1], catalog.NAMES.index(spec.name)
    b = block(scene)
    seen = observe(scene, b)
    for n in range(scene.n_symbols):
        alone = observe(scene, columns_of(b, np.arange(scene.n_symbols) == n))
        np.testing.assert_array_equal(alone.x[:, 0, f], seen.x[:, n, f])
        np.testing.assert_array_equal(alone.reason[:, 0, f], seen.reason[:, n, f])


# slots


@scenes
@FEW
@given(order=st.permutations(range(5)), seed=seeds)
def test_slot_order_is_irrelevant(scene: Scene, order: list[int], seed: int) -> None:
    b = block(replace(scene, seed=seed))
    names = [f"S{i}" for i in range(scene.n_symbols)]
    permuted = replace(b, ts=b.ts[:, order], **{name: getattr(b, name)[:, order] for name in COLUMNS})
    one = gather(engine(scene, names).fold(b))
    two = gather(engine(scene, [names[i] for i in order]).fold(permuted))
    back = np.array(order)[two.anomalies.slot].astype(np.int32)
    renamed = replace(two.anomalies, slot=back)
    sort = np.lexsort((renamed.slot, renamed.end))
    assert_same(renamed.take(sort), one.anomalies)
    assert [two.episode_ids[i] for i in sort] == one.episode_ids
    assert {k: repr(v) for k, v in two.episodes.items()} == {k: repr(v) for k, v in one.episodes.items()}


# restart


@scenes
@FEW
@given(seed=seeds, at=st.integers(1, 66))
def test_a_restored_engine_goes_on_as_if_never_stopped(scene: Scene, seed: int, at: int) -> None:
    b = block(replace(scene, seed=seed))
    before, after = cut(b, scene, [at])
    whole, stopped, restored = engine(scene), engine(scene), engine(scene)
    list(whole.fold(before))
    expected = gather(whole.fold(after))
    list(stopped.fold(before))
    restored.market.restore(copy.deepcopy(stopped.market.snapshot()))
    restored.symbols.restore(copy.deepcopy(stopped.symbols.snapshot()))
    restored.desk.restore(json.loads(json.dumps(stopped.desk.snapshot(), allow_nan=False)))
    assert_same_run(gather(restored.fold(after)), expected)
    assert_same_arrays(restored.market.snapshot(), whole.market.snapshot())
    assert_same_arrays(restored.symbols.snapshot(), whole.symbols.snapshot())
    assert repr(restored.desk.snapshot()) == repr(whole.desk.snapshot())


def test_a_snapshot_is_a_copy() -> None:
    scene = SCENES[0]
    before, after = cut(block(scene), scene, [70])
    e = engine(scene)
    list(e.fold(before))
    taken = (e.market.snapshot(), e.symbols.snapshot(), e.desk.snapshot())
    kept = copy.deepcopy(taken)
    list(e.fold(after))
    assert_same_arrays(taken[0], kept[0])
    assert_same_arrays(taken[1], kept[1])
    assert repr(taken[2]) == repr(kept[2])


def test_a_snapshot_of_another_layout_is_refused() -> None:
    scene = SCENES[0]
    e = engine(scene)
    list(e.fold(block(scene)))
    arrays = e.symbols.snapshot()
    name = next(k for k in arrays if k.endswith("window.ring"))
    arrays[name] = np.zeros((scene.n_symbols, 3, 5))
    with pytest.raises(ValueError, match=r"expected ring rows of shape \(1, 5\), was \(3, 5\)"):
        engine(scene).symbols.restore(arrays)


# warm-up


@pytest.mark.parametrize("window_s", [60, 300])
@pytest.mark.parametrize("spec", [s for s in CATALOG if s.family != "gap"], ids=lambda s: s.name)
def test_no_value_for_exactly_the_declared_warm_up(spec: catalog.FeatureSpec, window_s: int) -> None:
    rng = np.random.default_rng(1)
    closes = 50.0 * np.exp(np.cumsum(1e-3 * rng.normal(size=150)))
    b = one_series(closes, bar_s=window_s, volume=np.exp(rng.normal(5.0, 1.0, 150)))
    seen = observe(Scene(CRYPTO, window_s), b)
    f = catalog.NAMES.index(spec.name)
    first = spec.windows_before(window_s)
    assert np.isnan(seen.x[:first, 0, f]).all()
    assert (seen.reason[:first, 0, f] != catalog.VALUE).all()
    assert np.isfinite(seen.x[first:, 0, f]).all()
    assert (seen.reason[first:, 0, f] == catalog.VALUE).all()
    assert (seen.reason[: spec.warmup, 0, f] == catalog.WARMING).all()


@pytest.mark.parametrize("name", ["gap", "gap_z"])
def test_the_first_morning_after_the_warm_up_has_a_gap(name: str) -> None:
    f, warmup = catalog.NAMES.index(name), CATALOG[catalog.GAP].warmup
    for day_windows, expected in ((warmup - 1, catalog.WARMING), (warmup, catalog.VALUE)):
        scene = Scene(STOCKS, n_symbols=1, day_windows=day_windows, n_windows=2 * day_windows, missing=0.0)
        seen = observe(scene, block(replace(scene, bursts=0, shocks=0, faults=0)))
        assert seen.reason[day_windows, 0, f] == expected
        assert np.isfinite(seen.x[day_windows, 0, f]) == (expected == catalog.VALUE)
        assert np.isnan(np.delete(seen.x[:, 0, f], day_windows)).all()
        assert (seen.reason[day_windows + 1 :, 0, f][1:] == catalog.UNDEFINED).all()


@scenes
def test_every_missing_value_has_a_reason(scene: Scene) -> None:
    b = block(scene)
    seen = observe(scene, b)
    np.testing.assert_array_equal(np.isnan(seen.x), seen.reason != catalog.VALUE)
    absent = np.isnan(b.close)
    assert (seen.reason[absent] == catalog.ABSENT).all()
    faulty = np.isin(seen.code, (SLIP, FLAT))
    assert (seen.reason[faulty][:, : catalog.CLOSE_FROM] == catalog.UNDEFINED).all()


def test_without_activity_the_input_is_absent() -> None:
    b = one_series(50.0 + np.arange(80.0) % 3)
    b = replace(b, trades=np.full(b.shape, np.nan), volume=np.full(b.shape, np.nan))
    seen = observe(Scene(AssetClass.INDICES), b)
    for f, spec in enumerate(CATALOG):
        if spec.family == "activity":
            assert (seen.reason[:, 0, f] == catalog.ABSENT).all()
        elif spec.family == "returns":
            assert np.isfinite(seen.x[-1, 0, f])


def test_no_activity_has_no_logarithm() -> None:
    b = with_bars(one_series(50.0 + np.arange(80.0) % 3), (70, 0), trades=0.0, volume=0.0)
    seen = observe(Scene(CRYPTO), b)
    assert seen.x[70, 0, catalog.ACTIVITY] == 0.0
    assert seen.reason[70, 0, catalog.ACTIVITY_Z] == catalog.UNDEFINED


# purity


@scenes
def test_inputs_are_left_alone_and_the_same_input_gives_the_same(scene: Scene) -> None:
    b = block(scene)
    kept = copy.deepcopy(b)
    first, second = run(scene, b), run(scene, b)
    assert_same(b, kept)
    assert_same_run(first, second)


def test_deciding_twice_gives_the_same() -> None:
    scene = SCENES[0]
    before, after = cut(block(scene), scene, [100])
    e = engine(scene)
    list(e.fold(before))
    observed = e.symbols.observe(after)
    first = e.symbols.decide(observed)
    assert_same(e.symbols.decide(observed), first)


# shards


class Shards:
    """Several `Symbols` in the place of one: each gets its own series and every context."""

    def __init__(self, scene: Scene, n: int) -> None:
        make = lambda: Symbols(scene.asset_class, scene.bar_s, scene.activity, scene.detection)  # noqa: E731
        self.shards = [make() for _ in range(n)]
        self.primary = self

    def open(self, slot: int, symbol: str) -> None:
        self.shards[self.owner(slot)].open(slot, symbol)

    def owner(self, slot: int) -> int:
        return hash_of(f"S{slot}") % len(self.shards)

    def fold(self, b: BarBlock, ctx: Contexts) -> Anomalies:
        owner = np.array([self.owner(slot) for slot in b.slot])
        return Anomalies.concat(
            [symbols.fold(columns_of(b, owner == k), ctx) for k, symbols in enumerate(self.shards)]
        ).ordered()

    def take_totals(self) -> dict[int, list[float]]:
        parts = [symbols.primary.take_totals() for symbols in self.shards]
        days = {day for part in parts for day in part}
        return {day: [sum(part[day][i] for part in parts if day in part) for i in (0, 1)] for day in days}


@scenes
@pytest.mark.parametrize("n_shards", [2, 7])
def test_shards_give_what_one_gives(scene: Scene, n_shards: int) -> None:
    b = block(scene)
    sharded = engine(scene)
    sharded.symbols = Shards(scene, n_shards)  # type: ignore[assignment]
    assert_same_run(gather(sharded.fold(b)), run(scene, b))


def test_live_shards_give_what_one_gives() -> None:
    scene = SCENES[0]
    b = block(scene)
    assert_same_run(gather(Live(scene, shards=7).run(b)), run(scene, b))


def test_every_column_of_an_anomaly_is_compared() -> None:
    assert {f.name for f in fields(Anomalies)} >= {"kind", "own_kind", "score", "p_value", "rate", "state", "x"}


# a second series of the same symbols


def test_a_second_series_spends_nothing_and_leaves_the_first_alone() -> None:
    scene, seconds = SCENES[0], replace(SCENES[4], missing=0.0, faults=1)
    b, fine = block(scene), block(seconds)
    e, alone = engine(scene), engine(scene)
    shifted = replace(fine, slot=fine.slot + np.int32(scene.n_symbols))
    beside = e.symbols.decide(e.symbols.observe(shifted))
    assert_same_run(gather(e.fold(b)), gather(alone.fold(b)))
    assert (beside.kind == KINDS.index("data_fault")).all()
    restored = engine(scene).symbols
    restored.restore(e.symbols.snapshot())
    assert_same_arrays(restored.snapshot(), e.symbols.snapshot())
    assert set(restored.groups) == {5, 60}
