"""What a symbol did that its market did not: the hour's move minus beta times the market's, over its own norm."""

import math

import numpy as np

from features.families.table import Table
from features.jit import kernel
from features.market.types import F64, I64, Bool
from features.stats import WARMUP, clip, learning_rate, scale_step

FLOOR_RESIDUAL = 2e-4
"""Smallest rms of the residual believed: pairs of one base move together to 1e-5."""
BETA_PRIOR = 240.0
"""Windows that the prior beta of 1 counts for."""
BETA_ALPHA = 1.0 - 2.0 ** (-1.0 / 5_000.0)
"""Beta forgets with a half-life of 5,000 windows: the hourly moves overlap, so a day holds two dozen."""
MIN_REACH = 0.05
"""Part of the horizon a session must have run before its move says anything."""

COUNT, VAR, SPREAD, SXX, SXY = range(5)


@kernel
def _fold(rows, present, ok, revise, move, reach, market, state, undo, out):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(ok.shape[0]):
            if not present[t, n]:
                continue
            if revise[n]:
                s[:] = u
            else:
                u[:] = s
            x, part = market[t], reach[t, n]
            if not ok[t, n] or np.isnan(x) or not part >= MIN_REACH:
                continue
            seen = min(s[COUNT], 1.0 / BETA_ALPHA)
            beta = 1.0
            if s[SXX] > 0.0:
                beta = (seen * s[SXY] / s[SXX] + BETA_PRIOR) / (seen + BETA_PRIOR)
            residual = move[t, n] - beta * x
            unit = residual / math.sqrt(part)
            out[0, t, n] = residual
            y = move[t, n]
            if s[COUNT] >= WARMUP:
                sd = max(math.sqrt(s[VAR]), FLOOR_RESIDUAL)
                out[1, t, n] = unit / sd
                out[2, t, n] = beta
                y = beta * x + clip(residual, 3.0 * sd * math.sqrt(part))
            s[COUNT], s[VAR], s[SPREAD] = scale_step(s[COUNT], s[VAR], s[SPREAD], unit, FLOOR_RESIDUAL)
            a = learning_rate(s[COUNT], 0.0, 0.0, BETA_ALPHA)
            s[SXX] += a * (x * x - s[SXX])
            s[SXY] += a * (x * y - s[SXY])


class CrossSectionFamily:
    """Holds beta and the residual's norm of many series; folds one value per closed window."""

    def __init__(self) -> None:
        self.table = Table(5)

    def fold(
        self, rows: I64, present: Bool, ok: Bool, revise: Bool, move: F64, reach: F64, market: F64
    ) -> F64:
        """Give [3, T, N]: residual, its z, beta; `market` [T] is the market's move over the same horizon."""
        out = np.full((3, *ok.shape), np.nan)
        _fold(rows, present, ok, revise, move, reach, market, self.table.state, self.table.undo, out)
        return out
