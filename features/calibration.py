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


@dataclass(frozen=True, slots=True)
class Tail:
    """p = .01 (score / knee)^-exponent beyond the knee; below it log p falls linearly from 1 at score 0."""

    knee: float
    exponent: float

    def p_value(self, score: F64) -> F64:
        """Give p of scores of any shape; NaN stays NaN, p is never 0 and falls as the score rises.

        >>> Tail(2.9, 3.2).p_value(np.array([0.0, 2.9, 29.0]))
        array([1.00e+00, 1.00e-02, 6.31e-06])
        """
        out = np.empty(np.shape(score))
        _p_values(np.ravel(score), self.knee, self.exponent, out.reshape(-1))
        return out

    def score_at(self, p: float) -> float:
        """Give the score of a given p, the inverse of `p_value`.

        >>> round(Tail(2.9, 3.2).score_at(1e-4), 2)
        12.23
        """
        if p >= KNEE_P:
            return self.knee * math.log(p) / math.log(KNEE_P)
        return float(self.knee * (p / KNEE_P) ** (-1.0 / self.exponent))


@kernel
def tail_p(score: float, knee: float, exponent: float) -> float:
    """Give p of one score."""
    if np.isnan(score):
        return math.nan
    if score > knee:
        return max(KNEE_P * math.pow(score / knee, -exponent), 1e-300)
    return math.pow(KNEE_P, max(score, 0.0) / knee)


@kernel
def _p_values(score: F64, knee: float, exponent: float, out: F64) -> None:
    for i in range(score.shape[0]):
        out[i] = tail_p(score[i], knee, exponent)
