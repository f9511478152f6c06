"""What must hold of every fitted detector, those shipped among them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalog import ACTIVITY_Z, CATALOG, MOVE_Z, UP_Z, VOLATILITY_RATIO
from features.detectors.artifact import dump, load
from features.detectors.base import FittedDetector
from tests.support.forests import forest

SHIPPED = sorted((Path(__file__).parents[3] / "ray_apps" / "scoring").glob("*.npz"))
FITTED = [forest(), *(load(p.read_bytes()) for p in SHIPPED)]
fitted = pytest.mark.parametrize("detector", FITTED, ids=["small", *(p.stem for p in SHIPPED)])


@fitted
@settings(max_examples=5)
@given(seed=st.integers(0, 1_000))
def test_it_is_a_pure_function_of_its_columns(detector: FittedDetector, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 5.0, (40, len(CATALOG)))
    x[rng.random(x.shape) < 0.1] = np.nan
    kept, arrays = x.copy(), {name: a.copy() for name, a in detector.arrays.items()}
    score = detector.score(x)
    np.testing.assert_array_equal(detector.score(x), score)
    np.testing.assert_array_equal(x, kept)
    for name, array in detector.arrays.items():
        np.testing.assert_array_equal(array, arrays[name])
    other = rng.normal(0.0, 5.0, x.shape)
    other[:, detector.columns] = x[:, detector.columns]
    np.testing.assert_array_equal(detector.score(other), score)
    np.testing.assert_array_equal(detector.score(x[3]), score[3])
    order = rng.permutation(len(x))
    np.testing.assert_array_equal(detector.score(x[order]), score[order])


@fitted
def test_it_is_not_ready_without_each_of_its_columns(detector: FittedDetector) -> None:
    for column in detector.columns:
        x = np.zeros((1, len(CATALOG)))
        x[0, column] = np.nan
        assert np.isnan(detector.score(x)).all()
        assert np.isnan(detector.card.calibration.p_value(detector.score(x))).all()


@fitted
def test_p_falls_as_the_score_rises_and_is_never_0(detector: FittedDetector) -> None:
    tail = detector.card.calibration
    p = tail.p_value(np.linspace(tail.score[0], 1.0, 500))
    assert (np.diff(p) < 0.0).all()
    assert p[0] == 1.0
    assert (tail.p_value(np.array([-np.inf, 0.0, 5.0, 1e9])) > 0.0).all()


@fitted
def test_it_takes_arrays_it_may_not_write(detector: FittedDetector) -> None:
    x = np.zeros((3, len(CATALOG)))
    x.flags.writeable = False
    assert np.isfinite(detector.score(x)).all()


@fitted
def test_it_survives_its_artifact(detector: FittedDetector) -> None:
    x = np.random.default_rng(0).normal(0.0, 5.0, (500, len(CATALOG)))
    np.testing.assert_array_equal(load(dump(detector)).score(x), detector.score(x))


@pytest.mark.parametrize("detector", FITTED[1:], ids=[p.stem for p in SHIPPED])
def test_a_bigger_move_is_less_likely(detector: FittedDetector) -> None:
    x = np.zeros((5, len(CATALOG)))
    x[:, VOLATILITY_RATIO] = 1.0
    x[:, ACTIVITY_Z] = x[:, UP_Z] = x[:, MOVE_Z] = [1.0, 4.0, 8.0, 16.0, 40.0]
    p = detector.card.calibration.p_value(detector.score(x))
    assert p[0] > 0.05
    assert (np.diff(p) <= 0.0).all()
    assert p[-1] < 1e-2  # an isolation forest saturates at the farthest it was shown
