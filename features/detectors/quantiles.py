"""Turn a fitted detector's score into a p-value by the scores it gave on held-out rows."""

import math
from dataclasses import dataclass

import numpy as np

from features.market.types import F64

LEVELS = (0.9, 0.75, 0.5, 0.25, *(10.0 ** (-k / 2.0) for k in range(2, 17)))
"""Probabilities of the knots: quartiles, then two a decade."""
MIN_EXCEEDING = 10
"""Held-out scores beyond the last knot: fewer do not place it."""
SLOPE_KNOTS = 2
"""The tail beyond the last knot goes on with the slope of the last so many steps, a decade."""

LOG_LEAST = math.log(1e-300)
"""p stays above 0."""


@dataclass(frozen=True, slots=True)
class QuantileTail:
    """Knots of the survival function: `p` of the held-out scores were above `score`.

    Between the knots log p is linear in the score; beyond the last it falls on with the slope of the last decade.

    >>> QuantileTail((0.3, 0.4, 0.5, 0.6), (1.0, 0.1, 0.01, 0.001)).p_value(np.array([0.2, 0.4, 0.55, 0.7, np.nan]))
    array([1.00e+00, 1.00e-01, 3.16e-03, 1.00e-04,      nan])
    """

    score: tuple[float, ...]
    p: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.score) != len(self.p) or len(self.p) <= SLOPE_KNOTS:
            n = (len(self.score), len(self.p))
            raise ValueError(f"expected a p for each score and at least {SLOPE_KNOTS + 1}, was {n[0]} and {n[1]}")
        if not all(map(math.isfinite, self.score)) or not (np.diff(self.score) > 0.0).all():
            raise ValueError(f"expected finite scores that rise, was {self.score}")
        if self.p[0] != 1.0 or not self.p[-1] > 0.0 or not (np.diff(self.p) < 0.0).all():
            raise ValueError(f"expected p that falls from 1 and stays above 0, was {self.p}")

    def p_value(self, score: F64) -> F64:
        """Give p of scores of any shape; NaN stays NaN, p is never 0 and falls as the score rises."""
        knots, log_p = np.array(self.score), np.log(self.p)
        log_at = np.interp(score, knots, log_p)
        slope = (log_p[-1] - log_p[-1 - SLOPE_KNOTS]) / (knots[-1] - knots[-1 - SLOPE_KNOTS])
        furthest = (LOG_LEAST - log_p[-1]) / slope
        beyond = np.clip(np.asarray(score) - knots[-1], 0.0, furthest) * slope
        out: F64 = np.exp(log_at + beyond)
        return out


def quantile_tail(score: F64) -> QuantileTail:
    """Give the knots of scores [N] of normal rows, as deep as `MIN_EXCEEDING` of them reach.

    >>> tail = quantile_tail(np.linspace(0.0, 1.0, 100_001))
    >>> tail.p_value(np.array([0.5, 0.99, 0.999]))
    array([0.5  , 0.01 , 0.001])
    """
    known = np.sort(score[np.isfinite(score)])
    deep = [p for p in LEVELS if p * len(known) >= MIN_EXCEEDING]
    if len(deep) < SLOPE_KNOTS + 1:
        raise ValueError(f"expected at least {4 * MIN_EXCEEDING} scores to calibrate on, was {len(known)}")
    at = np.concatenate([known[:1], np.quantile(known, [1.0 - p for p in deep], method="linear")])
    rises = np.concatenate([[True], np.diff(at) > 0.0])  # few distinct scores give the same knot twice
    p = np.array([1.0, *deep])[rises]
    return QuantileTail(tuple(at[rises].tolist()), tuple(p.tolist()))
