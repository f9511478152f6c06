"""Every family against plain loops over all bars so far, to 1e-9 relative (sums run in another order)."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import catalog
from features.block import BarBlock
from features.families.cross_section import Closes, CrossSectionFamily
from features.families.horizon import HorizonFamily
from features.families.profile import profile
from features.market.types import AssetClass
from features.state import FeatureState, Observation, SeriesShape
from features.stats import level_step, scale_step
from tests.support import naive
from tests.support.builders import DAY_NS, MONDAY_NS, Scene, block, one_series

pytestmark = pytest.mark.thorough

STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
RTOL = 1e-9
S = naive.S
SPRING_NS = 1_741_496_400 * S  # 2025-03-09 00:00 New York; the clock springs at 02:00
AUTUMN_NS = 1_762_056_000 * S  # 2025-11-02 00:00 New York; the clock falls back at 02:00
rng = np.random.default_rng(3)


def walk(n: int) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(1e-3 * rng.standard_t(4, n)))


def holes(closes: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(len(closes)) < share, np.nan, closes)


def nan_activity(b: BarBlock) -> BarBlock:
    at = rng.random(b.shape) < 0.2
    return replace(b, volume=np.where(at, np.nan, b.volume), trades=np.where(at, np.nan, b.trades))


def scene_of(asset_class: AssetClass, bar_s: int, n: int, **more) -> BarBlock:
    return block(Scene(asset_class, bar_s, n_symbols=1, n_windows=n, bursts=3, shocks=1, faults=0, **more))


CASES: dict[str, tuple[AssetClass, BarBlock]] = {
    "coins": (CRYPTO, scene_of(CRYPTO, 60, 250)),
    "coins in 5 s": (CRYPTO, scene_of(CRYPTO, 5, 70, missing=0.5)),
    "coins in 20 s": (CRYPTO, scene_of(CRYPTO, 20, 90, missing=0.2)),
    "coins in 5 min": (CRYPTO, scene_of(CRYPTO, 300, 400, missing=0.2)),
    "coins in 1 h": (CRYPTO, scene_of(CRYPTO, 3_600, 150)),
    "days": (STOCKS, scene_of(STOCKS, 60, 250, day_windows=30)),
    "days in 5 s": (STOCKS, scene_of(STOCKS, 5, 70, day_windows=20, missing=0.5)),
    "days in 5 min": (STOCKS, scene_of(STOCKS, 300, 250, day_windows=40)),
    "constant": (CRYPTO, one_series(np.full(150, 50.0))),
    "constant day": (STOCKS, one_series(np.full(150, 50.0))),
    "one bar": (CRYPTO, one_series([50.0])),
    "one stock bar": (STOCKS, one_series([50.0])),
    "one bar of 5 s": (CRYPTO, one_series([50.0], bar_s=5)),
    "two bars a day apart": (STOCKS, one_series([50.0, *[np.nan] * 1_439, 51.0])),
    "a hole of hours": (CRYPTO, one_series([*walk(90), *[np.nan] * 200, *walk(60)])),
    "a hole of hours in 5 s": (CRYPTO, one_series([*walk(800), *[np.nan] * 1_000, *walk(60)], bar_s=5)),
    "a hole of days": (CRYPTO, one_series([*walk(90), *[np.nan] * 4_000, *walk(60)])),
    "spring": (STOCKS, one_series(holes(walk(240), 0.1), start_ns=SPRING_NS)),
    "autumn": (STOCKS, one_series(holes(walk(240), 0.1), start_ns=AUTUMN_NS)),
    "autumn in 20 s": (STOCKS, one_series(holes(walk(400), 0.1), start_ns=AUTUMN_NS + 3_600 * S, bar_s=20)),
    "through midnight": (STOCKS, one_series(walk(150), start_ns=MONDAY_NS // DAY_NS * DAY_NS + 3 * 3_600 * S)),
    "coins through midnight": (CRYPTO, one_series(walk(150), start_ns=MONDAY_NS // DAY_NS * DAY_NS - 3_600 * S)),
    "no activity": (CRYPTO, replace(one_series(walk(100)), volume=np.full((100, 1), np.nan))),
    "activity at times": (CRYPTO, nan_activity(one_series(walk(200)))),
    "activity at times in 5 s": (CRYPTO, nan_activity(one_series(walk(900), bar_s=5))),
    "nothing done at times": (CRYPTO, one_series(walk(200), volume=np.where(rng.random(200) < 0.3, 0.0, 9.0))),
}
cases = pytest.mark.parametrize("name", CASES)


@functools.cache
class Told:
    """What the families and the loops say of one case, on its bars alone."""

    def __init__(self, name: str) -> None:
        asset_class, self.block = CASES[name]
        self.shape = SeriesShape(asset_class, self.block.bar_s, asset_class.activity)
        self.sessions = asset_class.has_sessions
        state = FeatureState(self.shape)
        state.grow(1)
        self.here = np.isfinite(self.block.close[:, 0])
        self.seen: Observation = state.observe(np.array([0]), self.block)
        assert not self.seen.code[self.here].any()
        self.bars = naive.bars_of(self.block, 0, self.shape.activity, self.sessions)
        self.windows = naive.windows(self.bars, self.block.bar_s, self.sessions)
        self.profile = profile(asset_class, self.shape.window_s)

    def column(self, c: int) -> np.ndarray:
        return self.seen.x[self.here, 0, c]

    def of_windows(self, name: str) -> np.ndarray:
        return getattr(self.seen.windows, name)[self.here, 0]

    def returns(self) -> list[dict[str, float]]:
        return naive.returns(self.windows, self.profile)


def same(ours, theirs) -> None:
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=RTOL, atol=1e-12)


@settings(max_examples=10)
@given(st.lists(st.floats(-1e3, 1e3), max_size=120), st.sampled_from([1e-4, 0.3]))
def test_level_step(values: list[float], floor: float) -> None:
    state = (0.0, 0.0, 0.0, 0.0)
    known = naive.level_norms(values, floor)
    for i, x in enumerate(values):
        if i >= 60:
            mean, sd = known[i]
            assert state[1] == pytest.approx(mean, rel=RTOL, abs=1e-9)
            assert max(np.sqrt(state[2]), floor) == pytest.approx(sd, rel=RTOL, abs=1e-9)
        state = level_step(*state, x, floor)
    assert state[0] == len(values)


@settings(max_examples=10)
@given(st.lists(st.floats(-1e3, 1e3), max_size=120), st.sampled_from([1e-4, 0.3]))
def test_scale_step(values: list[float], floor: float) -> None:
    state = (0.0, 0.0, 0.0)
    known = naive.scale_norms(values, floor)
    for i, x in enumerate(values):
        if i >= 60:
            assert max(np.sqrt(state[1]), floor) == pytest.approx(known[i], rel=RTOL, abs=1e-9)
        state = scale_step(*state, x, floor)


@cases
def test_window(name: str) -> None:
    told = Told(name)
    for field in ("activity", "ref", "high", "low", "close", "prev_close", "learn", "new_day", "minute", "frac"):
        same(told.of_windows(field), [getattr(w, field) for w in told.windows])


@cases
def test_returns(name: str) -> None:
    told = Told(name)
    expected = told.returns()
    for column in ("move", "up_z", "down_z", "move_z", "return_sd"):
        same(told.column(catalog.NAMES.index(column)), [r[column] for r in expected])


@cases
def test_activity(name: str) -> None:
    told = Told(name)
    expected = naive.activity(told.windows, told.profile, 2.0 if told.shape.activity == "volume" else 1.0)
    same(told.column(catalog.ACTIVITY_Z), [z for z, _ in expected])
    ratio = [w.activity / e for w, (_, e) in zip(told.windows, expected, strict=True)]
    same(told.column(catalog.ACTIVITY_RATIO), ratio)
    same(told.column(catalog.ACTIVITY), [w.activity for w in told.windows])


@cases
def test_volatility(name: str) -> None:
    told = Told(name)
    same(told.column(catalog.VOLATILITY_RATIO), naive.volatility(told.windows, [r["move_z"] for r in told.returns()]))


@cases
def test_gap(name: str) -> None:
    told = Told(name)
    vol = told.profile.vol[[w.minute for w in told.windows]]
    unit = [r["return_sd"] / v for r, v in zip(told.returns(), vol, strict=True)]
    expected = naive.gaps(told.bars, told.windows, unit, told.shape.session_windows)
    same(told.column(catalog.GAP), [g for g, _ in expected])
    same(told.column(catalog.GAP_Z), [z for _, z in expected])


@cases
def test_trials(name: str) -> None:
    told = Told(name)
    expected = naive.trials(told.bars, told.windows, told.sessions, told.shape.session_windows)
    same(told.seen.trials[told.here, 0], expected)


@cases
def test_hour(name: str) -> None:
    told = Told(name)
    expected = naive.horizon(told.bars, told.shape.window_s, 3_600, told.sessions)
    same(told.seen.move[told.here, 0], [m for m, _ in expected])
    same(told.seen.reach[told.here, 0], [r for _, r in expected])


@cases
def test_five_minutes(name: str) -> None:
    told = Told(name)
    family = HorizonFamily(told.shape.window_s, 300)
    family.table.grow(1)
    w = told.seen.windows
    ours = family.fold(np.array([0]), w, w.new_day & told.sessions, told.block.open, told.block.close)
    expected = naive.horizon(told.bars, told.shape.window_s, 300, told.sessions)
    same(ours[:2, told.here, 0].T, expected)


@settings(max_examples=6)
@given(st.integers(0, 1_000), st.sampled_from([0.0, 0.1]))
def test_cross_section(seed: int, unknown: float) -> None:
    draw = np.random.default_rng(seed)
    n = 160
    market = 1e-3 * draw.normal(size=n) * (draw.random(n) > 0.05)
    move = 1.5 * market + 1e-3 * draw.standard_t(3, n)
    reach = np.minimum(1.0, (np.arange(n) % 50 + 1) / 30.0)
    market[draw.random(n) < unknown] = np.nan
    move[draw.random(n) < unknown] = np.nan
    family = CrossSectionFamily()
    family.table.grow(1)
    here = np.ones((n, 1), dtype=bool)
    closes = Closes(here, np.zeros(1, dtype=bool), move[:, None], reach[:, None], ~here, market[:, None], np.zeros(1))
    ours = family.fold(np.array([0]), closes, np.zeros((n, 1), dtype=np.uint8))
    same(ours[:, :, 0].T, naive.cross_section(move.tolist(), reach.tolist(), market.tolist()))


@pytest.mark.parametrize("revise", [False, True])
def test_another_reference_is_learnt_from_nothing(revise: bool) -> None:
    n = 160
    here, reach = np.ones((n, 1), dtype=bool), np.ones((n, 1))
    move, reference = 1e-3 * rng.normal(size=(2, n, 1))

    def closes(rows: slice, key: float, revise: bool = False) -> Closes:
        parts = (here[rows], np.array([revise]), move[rows], reach[rows], ~here[rows], reference[rows])
        return Closes(*parts, np.array([key]))

    told = []
    for past in (slice(0, 70), slice(0, 0)):
        family = CrossSectionFamily()
        family.table.grow(1)
        for c in (closes(past, 7.0), closes(slice(70, 71), 8.0, revise), closes(slice(71, n), 8.0)):
            told.append(family.fold(np.array([0]), c, np.zeros(c.move.shape, dtype=np.uint8)))
        told.append(family.table.state)
    assert np.isfinite(told[0][1, 60:]).all()
    for ours, theirs in zip(told[1:4], told[5:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_flat_market_leaves_beta_at_one() -> None:
    family = CrossSectionFamily()
    family.table.grow(1)
    move = 1e-3 * rng.normal(size=(80, 1))
    flat = np.zeros((80, 1))
    closes = Closes(flat == 0.0, np.zeros(1, bool), move, np.ones((80, 1)), flat != 0.0, flat, np.zeros(1))
    ours = family.fold(np.array([0]), closes, np.zeros((80, 1), dtype=np.uint8))
    same(ours[0, :, 0], move[:, 0])
    assert (ours[2, 60:, 0] == 1.0).all()
