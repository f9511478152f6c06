"""How busy a window was against its series' own norm at that time of day."""

import math

import numpy as np

from features.catalog import ABSENT, UNDEFINED, WARMING
from features.families.profile import Profile
from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, U8
from features.stats import WARMUP, level_step

FLOOR_LOG = 0.3
"""Smallest sd of log activity believed: in thin coins half the minutes hold one trade and the spread is 0."""
VOLUME_GAIN = 2.0
"""Log volume has about twice the spread of log trades; doubled, its z finds the same events."""

COUNT, MEAN, VAR, SPREAD = range(4)


@kernel
def _expected(p: Profile, minute: int, frac: float) -> tuple[float, float]:
    """Give the level of log activity and the factor of its spread of a window that starts `frac` into a minute."""
    if not frac > 0.0:
        return p.level[minute], p.spread[minute]
    after = (minute + 1) % p.level.shape[0]
    level = math.log((1.0 - frac) * math.exp(p.level[minute]) + frac * math.exp(p.level[after]))
    return level, (1.0 - frac) * p.spread[minute] + frac * p.spread[after]


@kernel
def _fold(rows: I64, w: Windows, p: Profile, gain: float, table: Cells, out: F64, why: U8) -> None:
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
            a = w.activity[t, n]
            if w.ok[t, n]:
                why[t, n] = ABSENT if np.isnan(a) else WARMING if s[COUNT] < WARMUP else UNDEFINED
            if not (w.ok[t, n] and a > 0.0):
                continue
            base, factor = _expected(p, w.minute[t, n], w.frac[t, n])
            x = math.log(a) - base
            if s[COUNT] >= WARMUP:
                sd = max(math.sqrt(s[VAR]), FLOOR_LOG)
                out[0, t, n] = gain * (x - s[MEAN]) / (sd * factor)
                out[1, t, n] = math.exp(s[MEAN] + base)
            if w.learn[t, n]:
                # a quiet hour spreads wider by `factor`; the norm keeps the regular session's spread
                v = s[MEAN] + (x - s[MEAN]) / factor if s[COUNT] >= WARMUP else x
                s[COUNT], s[MEAN], s[VAR], s[SPREAD] = level_step(s[COUNT], s[MEAN], s[VAR], s[SPREAD], v, FLOOR_LOG)


class ActivityFamily:
    """Holds the activity norms of many series."""

    def __init__(self, profile: Profile, *, is_volume: bool) -> None:
        self.profile = profile
        self.gain = VOLUME_GAIN if is_volume else 1.0
        self.table = Table(4)

    def fold(self, rows: I64, w: Windows, why: U8) -> F64:
        """Give [2, T, N]: z and the activity expected; `why` [T, N] gets the reason where they are NaN."""
        out = np.full((2, *w.ok.shape), np.nan)
        _fold(rows, w, self.profile, self.gain, self.table.cells, out, why)
        return out
