"""What a symbol did that its reference did not: the hour's move minus beta times the reference's, over its own norm.

The reference is the market, a sector or one other symbol; what was learnt of one says nothing of another.
"""

import math
from typing import NamedTuple

import numpy as np

from features.catalog import ABSENT, HOLE, MIN_REACH_S, UNDEFINED, WARMING
from features.families.table import Cells, Table
from features.jit import kernel
from features.market.types import F64, I64, U8, Bool
from features.stats import WARMUP, clip, learning_rate, scale_step

FLOOR_RESIDUAL = 2e-4
"""Smallest rms of the residual believed: pairs of one base move together to 1e-5."""
BETA_PRIOR = 240.0
"""Windows that the prior beta of 1 counts for."""
RESIDUAL_CLIP_SD = 5.0
"""The residual wanders: clipped at 3 its norm stays too small, and a stock's own news become a daily event."""
BETA_ALPHA = 1.0 - 2.0 ** (-1.0 / 5_000.0)
"""Beta forgets with a half-life of 5,000 windows: the hourly moves overlap, so a day holds two dozen."""
MIN_REACH = MIN_REACH_S / 3_600.0
"""Part of the horizon a session must have run before its move says anything."""

COUNT, VAR, SPREAD, SXX, SXY, KEY = range(6)


class Closes(NamedTuple):
    """Closed windows: `present`, `move`, `reach` and `is_cut` [T, N], `revise` [N].

    `reference` [T, N] is the move each is held against, NaN where unknown, and `key` [N] says whose that is.
    """

    present: Bool
    revise: Bool
    move: F64
    reach: F64
    is_cut: Bool
    reference: F64
    key: F64


@kernel
def _beta(s: F64) -> float:
    """Give the slope on the reference, shrunk to 1 where the history is short."""
    if not s[SXX] > 0.0:
        return 1.0
    seen = min(s[COUNT], 1.0 / BETA_ALPHA)
    beta: float = (seen * s[SXY] / s[SXX] + BETA_PRIOR) / (seen + BETA_PRIOR)
    return beta


@kernel
def _fold(rows: I64, c: Closes, table: Cells, out: F64, why: U8) -> None:
    state, undo, _, _ = table
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(c.present.shape[0]):
            if not c.present[t, n]:
                continue
            if s[KEY] != c.key[n]:
                s[:] = 0.0
                s[KEY] = c.key[n]
                u[:] = s
            if c.revise[n]:
                s[:] = u
            else:
                u[:] = s
            x, y, part = c.reference[t, n], c.move[t, n], c.reach[t, n]
            why[t, n] = ABSENT if np.isnan(x) else WARMING if s[COUNT] < WARMUP else UNDEFINED
            if np.isnan(x) or np.isnan(y) or not part >= MIN_REACH:
                if part < MIN_REACH and c.is_cut[t, n]:
                    why[t, n] = HOLE
                continue
            beta = _beta(s)
            residual = y - beta * x
            unit = residual / math.sqrt(part)
            out[0, t, n] = residual
            if s[COUNT] >= WARMUP:
                sd = max(math.sqrt(s[VAR]), FLOOR_RESIDUAL)
                out[1, t, n] = unit / sd
                out[2, t, n] = beta
                y = beta * x + clip(residual, 3.0 * sd * math.sqrt(part))
            s[COUNT], s[VAR], s[SPREAD] = scale_step(
                s[COUNT], s[VAR], s[SPREAD], unit, FLOOR_RESIDUAL, RESIDUAL_CLIP_SD, BETA_ALPHA
            )
            a = learning_rate(s[COUNT], 0.0, 0.0, BETA_ALPHA)
            s[SXX] += a * (x * x - s[SXX])
            s[SXY] += a * (x * y - s[SXY])


class CrossSectionFamily:
    """Holds beta and the residual's norm of many series; folds one value per closed window."""

    def __init__(self) -> None:
        self.table = Table(6)

    def fold(self, rows: I64, closes: Closes, why: U8) -> F64:
        """Give [3, T, N]: residual, its z, beta; `why` [T, N] gets the reason where they are NaN."""
        out = np.full((3, *closes.present.shape), np.nan)
        _fold(rows, closes, self.table.cells, out, why)
        return out
