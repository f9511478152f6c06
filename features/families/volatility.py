"""Short against long realised volatility: a market that woke up, not one that jumped once."""

import math

import numpy as np

from features.catalog import UNDEFINED, WARMING
from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, U8

HALFLIFE_SHORT = 10.0
"""Windows; ten minutes of minutes."""
ALPHA_SHORT = 1.0 - 2.0 ** (-1.0 / HALFLIFE_SHORT)
CLIP_Z = 5.0
"""One jump counts as five sd at most: it is `price_move`'s to call."""
WARMUP_SHORT = 60.0

COUNT, MEAN_SQUARE = range(2)


@kernel
def _fold(rows: I64, w: Windows, z: F64, table: Cells, out: F64, why: U8) -> None:
    state, undo, _, _ = table
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(w.ok.shape[0]):
            if not w.present[t, n]:
                continue
            if w.revise[n]:
                s[:] = u
            else:
                u[:] = s
            if not w.ok[t, n]:
                continue
            why[t, n] = WARMING if s[COUNT] < WARMUP_SHORT else UNDEFINED
            if not w.learn[t, n] or np.isnan(z[t, n]):
                continue
            x = min(abs(z[t, n]), CLIP_Z)
            if s[COUNT] == 0.0:
                s[MEAN_SQUARE] = 1.0
            s[COUNT] += 1.0
            s[MEAN_SQUARE] += ALPHA_SHORT * (x * x - s[MEAN_SQUARE])
            if s[COUNT] > WARMUP_SHORT:
                out[t, n] = math.sqrt(s[MEAN_SQUARE])


class VolatilityFamily:
    """Holds the short volatility of many series, in units of the long one."""

    def __init__(self) -> None:
        self.table = Table(2)

    def fold(self, rows: I64, w: Windows, move_z: F64, why: U8) -> F64:
        """Give the ratio [T, N] of short to long return rms at the windows' first bars; NaN elsewhere.

        `why` [T, N] gets the reason where it is NaN.
        """
        out = np.full(w.ok.shape, np.nan)
        _fold(rows, w, move_z, self.table.cells, out, why)
        return out
