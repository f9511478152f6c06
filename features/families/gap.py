"""The overnight move: from the last close of one session to the first open of the next, one trial a morning."""

import math

import numpy as np

from features.families.table import Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64
from features.stats import clip

DAILY_SHARE = 0.8
"""Prior rms of the gap over the rms of a session's move."""
PRIOR_MORNINGS = 20.0
"""How many mornings the prior counts for."""
MEMORY_MORNINGS = 60.0
FLOOR_GAP = 1e-3

COUNT, VAR = range(2)


@kernel
def _fold(rows, present, ok, revise, prev_close, open_, sd, session_windows, state, undo, out):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(ok.shape[0]):
            if not present[t, n]:
                continue
            if revise[n]:
                s[:] = u
            else:
                u[:] = s
            if not ok[t, n] or np.isnan(prev_close[t, n]) or np.isnan(sd[t, n]):
                continue
            g = math.log(open_[t, n] / prev_close[t, n])
            out[0, t, n] = g
            prior = DAILY_SHARE * sd[t, n] * math.sqrt(session_windows)
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

    def fold(self, rows: I64, w: Windows, open_: F64, unit_sd: F64) -> F64:
        """Give [2, T, N]: log gap and its z on a session's first bar, NaN elsewhere.

        `unit_sd` [T, N] is the return rms of a window in the middle of a session (time of day taken out).
        """
        out = np.full((2, *w.ok.shape), np.nan)
        _fold(rows, w.present, w.ok, w.revise, w.prev_close, open_, unit_sd, self.session_windows,
              self.table.state, self.table.undo, out)  # fmt: skip
        return out
