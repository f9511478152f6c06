"""How far a window moved against its series' own volatility at that time of day.

Moves go from the last close before the window to its high and its low: a spike that came back still happened. The norm
learns the farther of the two, what the detectors then judge.
"""

import math

import numpy as np

from features.catalog import WARMING
from features.families.profile import Profile
from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, U8
from features.stats import WARMUP, scale_step

FLOOR_RETURN = 1e-4
"""Smallest return rms believed, about a tick."""

COUNT, VAR, SPREAD = range(3)


@kernel
def _factor(vol: F64, minute: int, frac: float) -> float:
    """Give the factor of the return rms of a window that starts `frac` into a minute."""
    factor: float = vol[minute]
    if frac > 0.0:
        after = vol[(minute + 1) % vol.shape[0]]
        factor = math.sqrt((1.0 - frac) * factor * factor + frac * after * after)
    return factor


@kernel
def _fold(rows: I64, w: Windows, vol: F64, table: Cells, out: F64, why: U8) -> None:
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
            factor = _factor(vol, w.minute[t, n], w.frac[t, n])
            ref = w.ref[t, n]
            r = math.log(w.close[t, n] / ref)
            up, down = math.log(w.high[t, n] / ref), -math.log(w.low[t, n] / ref)
            out[0, t, n] = r
            if s[COUNT] >= WARMUP:
                sd = factor * max(math.sqrt(s[VAR]), FLOOR_RETURN)
                out[1, t, n] = up / sd
                out[2, t, n] = down / sd
                out[3, t, n] = r / sd
                out[4, t, n] = sd
            else:
                why[t, n] = WARMING
            if w.learn[t, n]:
                reach = max(up, down) / factor
                s[COUNT], s[VAR], s[SPREAD] = scale_step(s[COUNT], s[VAR], s[SPREAD], reach, FLOOR_RETURN)


class ReturnsFamily:
    """Holds the return norms of many series."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.table = Table(3)

    def fold(self, rows: I64, w: Windows, why: U8) -> F64:
        """Give [5, T, N]: log return, z of the high, of the low, of the close, sd expected.

        `why` [T, N] gets the reason where they are NaN.
        """
        out = np.full((5, *w.ok.shape), np.nan)
        _fold(rows, w, self.profile.vol, self.table.cells, out, why)
        return out
