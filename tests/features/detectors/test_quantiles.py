"""p-values from held-out scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.detectors.quantiles import QuantileTail, quantile_tail


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_t"])
def test_p_is_uniform_on_rows_it_has_not_seen(draw: str) -> None:
    rng = np.random.default_rng(3)
    make = {"normal": rng.normal, "exponential": rng.exponential, "standard_t": lambda size: rng.standard_t(5, size)}[
        draw
    ]
    tail = quantile_tail(make(size=200_000))
    p = tail.p_value(make(size=400_000))
    for level in (0.5, 0.1, 1e-2, 1e-3):
        assert (p <= level).mean() == pytest.approx(level, rel=0.15)


def test_beyond_the_last_knot_an_exponential_tail_goes_on() -> None:
    rng = np.random.default_rng(4)
    tail = quantile_tail(rng.exponential(size=100_000))
    deep = np.array([12.0, 14.0])
    np.testing.assert_allclose(np.log(tail.p_value(deep)), -deep, atol=1.5)


def test_equal_scores_share_a_knot() -> None:
    tail = quantile_tail(np.repeat([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 200))
    assert (np.diff(tail.score) > 0).all()
    with pytest.raises(ValueError, match="expected a p for each score and at least 3"):
        quantile_tail(np.full(1_000, 0.5))


def test_nan_scores_do_not_count() -> None:
    score = np.linspace(0.0, 1.0, 1_000)
    assert quantile_tail(np.concatenate([score, np.full(99, np.nan)])) == quantile_tail(score)


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 40 scores to calibrate on, was 5"):
        quantile_tail(np.arange(5.0))


@pytest.mark.parametrize(
    ("score", "p"),
    [
        ((0.1, 0.2, 0.3), (1.0, 0.5)),
        ((0.1, 0.3, 0.2), (1.0, 0.5, 0.1)),
        ((0.1, 0.2, float("nan")), (1.0, 0.5, 0.1)),
        ((0.1, 0.2, 0.3), (0.9, 0.5, 0.1)),
        ((0.1, 0.2, 0.3), (1.0, 0.5, 0.0)),
        ((0.1, 0.2, 0.3), (1.0, 0.1, 0.5)),
    ],
)
def test_what_is_no_tail_is_refused(score: tuple[float, ...], p: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        QuantileTail(score, p)


@given(arrays(float, st.integers(0, 50), elements=st.floats()))
def test_any_score_has_a_p_or_none(score: np.ndarray) -> None:
    p = QuantileTail((0.3, 0.4, 0.5), (1.0, 0.1, 0.01)).p_value(score)
    np.testing.assert_array_equal(np.isnan(p), np.isnan(score))
    assert ((p > 0) & (p <= 1))[~np.isnan(p)].all()
