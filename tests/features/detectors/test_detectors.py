"""What must hold of every detector: pure, not ready without its columns, p falls as the score rises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalog import CATALOG
from features.decisions.config import DetectionConfig
from features.detectors.base import Detector

DETECTORS = DetectionConfig().detectors()
detectors = pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.kind)


@detectors
@settings(max_examples=3)
@given(seed=st.integers(0, 1_000))
def test_a_detector_is_a_pure_function_of_its_columns(detector: Detector, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 5.0, (40, len(CATALOG)))
    x[rng.random(x.shape) < 0.1] = np.nan
    kept = x.copy()
    score = detector.score(x)
    np.testing.assert_array_equal(detector.score(x), score)
    np.testing.assert_array_equal(x, kept)
    other = rng.normal(0.0, 5.0, x.shape)
    other[:, detector.columns] = x[:, detector.columns]
    np.testing.assert_array_equal(detector.score(other), score)
    np.testing.assert_array_equal(detector.score(x[3]), score[3])
    assert set(np.unique(detector.direction(kept)[~np.isnan(score)])) <= {-1.0, 0.0, 1.0}


@detectors
def test_a_detector_is_not_ready_without_its_columns(detector: Detector) -> None:
    x = np.full((1, len(CATALOG)), np.nan)
    assert np.isnan(detector.score(x)).all()
    assert np.isnan(detector.tail.p_value(detector.score(x))).all()


@detectors
def test_p_falls_as_the_score_rises_and_is_never_0(detector: Detector) -> None:
    score = np.linspace(-5.0, 500.0, 2_000)
    p = detector.tail.p_value(score)
    assert (np.diff(p[score > 0]) < 0).all()
    assert (p > 0).all()
    assert (p <= 1).all()
    for expected in (0.5, 0.01, 1e-4, 1e-9):
        assert detector.tail.p_value(np.array([detector.tail.score_at(expected)]))[0] == pytest.approx(expected)


@detectors
def test_a_reading_says_what_was_seen(detector: Detector) -> None:
    x = np.ones(len(CATALOG))
    assert any(c.isdigit() for c in detector.reading(x, "the market's"))
