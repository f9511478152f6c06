"""How far a window moved against its series' own volatility at that time of day.

Moves go from the last close before the window to its high and its low: a spike that came back still happened.
"""

import math

import numpy as np

from features.families.profile import Profile
from features.families.table import Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64
from features.stats import WARMUP, scale_step

FLOOR_RETURN = 1e-4
"""Smallest return rms believed, about a tick."""

COUNT, VAR, SPREAD = range(3)


@kernel
def _fold(rows, present, ok, revise, learn, ref, high, low, close, minute, frac, vol, state, undo, out):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(ok.shape[0]):
            if not present[t, n]:
                continue
            if revise[n]:
                s[:] = u
            else:
                u[:] = s
            if not ok[t, n]:
                continue
            m = minute[t, n]
            factor = vol[m]
            w = frac[t, n]
            if w > 0.0:
                after = vol[(m + 1) % vol.shape[0]]
                factor = math.sqrt((1.0 - w) * factor * factor + w * after * after)
            r = math.log(close[t, n] / ref[t, n])
            out[0, t, n] = r
            if s[COUNT] >= WARMUP:
                sd = factor * max(math.sqrt(s[VAR]), FLOOR_RETURN)
                out[1, t, n] = math.log(high[t, n] / ref[t, n]) / sd
                out[2, t, n] = -math.log(low[t, n] / ref[t, n]) / sd
                out[3, t, n] = r / sd
                out[4, t, n] = sd
            if learn[t, n]:
                s[COUNT], s[VAR], s[SPREAD] = scale_step(
                    s[COUNT], s[VAR], s[SPREAD], r / factor, FLOOR_RETURN
                )


class ReturnsFamily:
    """Holds the return norms of many series."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.table = Table(3)

    def fold(self, rows: I64, w: Windows) -> F64:
        """Give [5, T, N]: log return, z of the high, z of the low, z of the close, sd expected; NaN while warming."""
        out = np.full((5, *w.ok.shape), np.nan)
        _fold(rows, w.present, w.ok, w.revise, w.learn, w.ref, w.high, w.low, w.close, w.minute, w.frac, self.profile.vol,
              self.table.state, self.table.undo, out)  # fmt: skip
        return out
