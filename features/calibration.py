"""Turn a detector's raw score into the probability of a score this high when all is normal.

One frozen tail per kind, pooled over all symbols: a tail learnt per symbol learns the symbol's own small events and
stops calling them. Return tails follow one power law everywhere (Gabaix et al. 2003, "A theory of power-law
distributions in financial market fluctuations": the cubic law).
"""

import math
from dataclasses import dataclass

import numpy as np

from features.jit import kernel
from features.market.types import F64

KNEE_P = 0.01
"""The probability at which a tail's power law takes over from its body."""
SMALLEST_P = 1e-300
"""A light tail would reach 0."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What p does beyond the knee, where it is .01; below the knee log p falls linearly from 0 at score 0.

    A power law, p = .01 (score / knee)^-exponent; where `is_light` an exponential of the same slope at the knee,
    p = .01 exp(-exponent (score / knee - 1)).
    """

    knee: float
    exponent: float
    is_light: bool = False

    def p_value(self, score: F64) -> F64:
        """Give p of scores of any shape; NaN stays NaN, p is never 0 and falls as the score rises.

        >>> Tail(2.9, 3.2).p_value(np.array([0.0, 2.9, 29.0]))
        array([1.00e+00, 1.00e-02, 6.31e-06])
        >>> Tail(2.0, 7.0, is_light=True).p_value(np.array([2.0, 4.0]))
        array([1.00e-02, 9.12e-06])
        """
        out = np.empty(np.shape(score))
        _p_values(np.ravel(score), self.knee, self.exponent, self.is_light, out.reshape(-1))
        return out

    def score_at(self, p: float) -> float:
        """Give the score of a given p, the inverse of `p_value`.

        >>> round(Tail(2.9, 3.2).score_at(1e-4), 2), round(Tail(2.0, 7.0, is_light=True).score_at(1e-4), 2)
        (12.23, 3.32)
        """
        if p >= KNEE_P:
            return self.knee * math.log(p) / math.log(KNEE_P)
        depth = math.log(KNEE_P / p) / self.exponent
        return self.knee * (1.0 + depth if self.is_light else math.exp(depth))


@kernel
def tail_p(score: float, knee: float, exponent: float, is_light: bool = False) -> float:
    """Give p of one score."""
    if np.isnan(score):
        return math.nan
    if score <= knee:
        return math.pow(KNEE_P, max(score, 0.0) / knee)
    p = math.exp(-exponent * (score / knee - 1.0)) if is_light else math.pow(score / knee, -exponent)
    return max(KNEE_P * p, SMALLEST_P * (1.0 + 1.0 / score))


@kernel
def _p_values(score: F64, knee: float, exponent: float, is_light: bool, out: F64) -> None:
    for i in range(score.shape[0]):
        out[i] = tail_p(score[i], knee, exponent, is_light)
