"""Norms learn always and a little: an anomaly cannot become the norm, a lasting change can."""

import numpy as np
import pytest

from features.decisions.config import DetectionConfig, DetectorRule
from features.families import activity, returns
from features.market.types import AssetClass
from features.state import FeatureState, SeriesShape
from tests.support.builders import Scene, engine, gather, one_series, with_bars

SETTLED = 2_000
"""Windows after which the learning rate has reached that of the half-life."""


def closes(n: int, seed: int = 0) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(1e-3 * np.random.default_rng(seed).normal(size=n)))


def volumes(n: int, seed: int = 1) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(5.0, 0.6, n))


def learnt(family: str, b) -> np.ndarray:
    state = FeatureState(SeriesShape(AssetClass.CRYPTO, 60, "volume"))
    state.grow(1)
    state.observe(np.array([0]), b)
    return state.tables[family].state[0]


@pytest.mark.parametrize("times", [100.0, 1e9])
def test_one_bar_of_100_times_moves_the_mean_by_at_most_21_ten_thousandths_of_a_sd(times: float) -> None:
    b = one_series(closes(SETTLED + 1), volume=volumes(SETTLED + 1))
    bare = learnt("activity", one_series(closes(SETTLED), volume=volumes(SETTLED)))
    after = learnt("activity", with_bars(b, (SETTLED, 0), volume=times * 150.0))
    sd = np.sqrt(bare[activity.VAR])
    moved = (after[activity.MEAN] - bare[activity.MEAN]) / sd
    assert 0.0020 < moved <= 0.0021


def test_one_crash_moves_the_return_rms_by_less_than_one_percent() -> None:
    c = closes(SETTLED + 1)
    before = learnt("returns", one_series(c[:SETTLED]))
    c[SETTLED] = c[SETTLED - 1] * 0.5
    after = learnt("returns", one_series(c))
    assert after[returns.VAR] / before[returns.VAR] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("asset_class", [AssetClass.CRYPTO, AssetClass.STOCKS])
def test_a_permanent_shift_of_volume_starts_no_episode_after_390_bars(asset_class: AssetClass) -> None:
    scene = Scene(asset_class, n_symbols=1)
    n, later = SETTLED, 1_500
    v = volumes(n + later)
    v[n:] *= 5.0
    b = one_series(closes(n + later), volume=v)
    config = DetectionConfig(rules={"volume_spike": DetectorRule(share=0.03)})
    episodes = gather(engine(scene, config=config).fold(b)).episodes.values()
    known = b.ts[n + 390, 0]
    assert [e for e in episodes if e.opened > known] == []


def test_a_lasting_change_becomes_the_norm() -> None:
    v = volumes(8_000)
    v[2_000:] *= 5.0
    first = learnt("activity", one_series(closes(2_000), volume=v[:2_000]))[activity.MEAN]
    last = learnt("activity", one_series(closes(8_000), volume=v))[activity.MEAN]
    assert last - first == pytest.approx(np.log(5.0), rel=0.1)
