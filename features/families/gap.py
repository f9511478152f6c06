"""The overnight move: from the last close of one session to the first open of the next, one trial a morning."""

import math
from typing import NamedTuple

import numpy as np

from features.catalog import HOLE, UNDEFINED, WARMING
from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, U8
from features.stats import clip

DAILY_SHARE = 0.8
"""Prior rms of the gap over the rms of a session's move."""
PRIOR_MORNINGS = 20.0
"""How many mornings the prior counts for."""
MEMORY_MORNINGS = 60.0
FLOOR_GAP = 1e-3

COUNT, VAR = range(2)


class _Mornings(NamedTuple):
    """What a morning is judged by: opens [T, N], the return rms of a window [T, N], windows of a session."""

    open: F64
    unit_sd: F64
    session_windows: float


@kernel
def _fold(rows: I64, w: Windows, at: _Mornings, table: Cells, out: F64, why: U8) -> None:
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
            sd = at.unit_sd[t, n]
            why[t, n] = WARMING if np.isnan(sd) else HOLE if w.after_hole[t, n] else UNDEFINED
            if np.isnan(w.prev_close[t, n]) or np.isnan(sd):
                continue
            g = math.log(at.open[t, n] / w.prev_close[t, n])
            out[0, t, n] = g
            prior = DAILY_SHARE * sd * math.sqrt(at.session_windows)
            var = (PRIOR_MORNINGS * prior * prior + s[COUNT] * s[VAR]) / (PRIOR_MORNINGS + s[COUNT])
            scale = max(math.sqrt(var), FLOOR_GAP)
            out[1, t, n] = g / scale
            s[COUNT] = min(s[COUNT] + 1.0, MEMORY_MORNINGS)
            d = clip(g, 3.0 * scale)
            s[VAR] += (d * d - s[VAR]) / s[COUNT]


class GapFamily:
    """Holds the overnight norms of many series."""

    def __init__(self, session_windows: float) -> None:
        self.session_windows = session_windows
        self.table = Table(2)

    def fold(self, rows: I64, w: Windows, open_: F64, unit_sd: F64, why: U8) -> F64:
        """Give [2, T, N]: log gap and its z on a session's first bar, NaN elsewhere.

        `unit_sd` [T, N] is the return rms of a window in the middle of a session (time of day taken out); `why`
        [T, N] gets the reason where they are NaN.
        """
        out = np.full((2, *w.ok.shape), np.nan)
        _fold(rows, w, _Mornings(open_, unit_sd, self.session_windows), self.table.cells, out, why)
        return out
