"""How busy a window was against its series' own norm at that time of day."""

import math

import numpy as np

from features.families.profile import Profile
from features.families.table import Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64
from features.stats import WARMUP, level_step

FLOOR_LOG = 0.3
"""Smallest sd of log activity believed: in thin coins half the minutes hold one trade and the spread is 0."""
VOLUME_GAIN = 2.0
"""Log volume has about twice the spread of log trades; doubled, its z finds the same events."""

COUNT, MEAN, VAR, SPREAD = range(4)


@kernel
def _fold(
    rows, present, ok, revise, learn, activity, minute, frac, level, width, gain, state, undo, z, expected
):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(ok.shape[0]):
            if not present[t, n]:
                continue
            if revise[n]:
                s[:] = u
            else:
                u[:] = s
            a = activity[t, n]
            if not (ok[t, n] and a > 0.0):
                continue
            m = minute[t, n]
            base, factor = level[m], width[m]
            w = frac[t, n]
            if w > 0.0:
                after = (m + 1) % level.shape[0]
                base = math.log((1.0 - w) * math.exp(base) + w * math.exp(level[after]))
                factor = (1.0 - w) * factor + w * width[after]
            x = math.log(a) - base
            if s[COUNT] >= WARMUP:
                sd = max(math.sqrt(s[VAR]), FLOOR_LOG)
                z[t, n] = gain * (x - s[MEAN]) / (sd * factor)
                expected[t, n] = math.exp(s[MEAN] + base)
            if learn[t, n]:
                # a quiet hour spreads wider by `factor`; the norm keeps the regular session's spread
                v = s[MEAN] + (x - s[MEAN]) / factor if s[COUNT] >= WARMUP else x
                s[COUNT], s[MEAN], s[VAR], s[SPREAD] = level_step(
                    s[COUNT], s[MEAN], s[VAR], s[SPREAD], v, FLOOR_LOG
                )


class ActivityFamily:
    """Holds the activity norms of many series."""

    def __init__(self, profile: Profile, *, is_volume: bool) -> None:
        self.profile = profile
        self.gain = VOLUME_GAIN if is_volume else 1.0
        self.table = Table(4)

    def fold(self, rows: I64, w: Windows) -> tuple[F64, F64]:
        """Give (z [T, N], expected activity [T, N]); NaN while warming or where the venue gave no activity."""
        z = np.full(w.ok.shape, np.nan)
        expected = np.full(w.ok.shape, np.nan)
        p = self.profile
        _fold(rows, w.present, w.ok, w.revise, w.learn, w.activity, w.minute, w.frac, p.level, p.spread, self.gain,
              self.table.state, self.table.undo, z, expected)  # fmt: skip
        return z, expected
