"""How many independent looks a day a series gives: what turns a p-value into a rate of false alerts per day.

Known before the bar: the mean of the last five sessions, or the trailing 24 hours of a market that never closes.
"""

import numpy as np

from features.families.table import Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S

SESSIONS = 5
HOURS = 24
HOUR_NS = 3_600 * NS_PER_S

FIRST, CURRENT, COUNT, BUCKETS = 0, 1, 2, 3


@kernel
def _fold_sessions(rows, present, ok, revise, learn, new_day, prior, state, undo, out):  # type: ignore[no-untyped-def]
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
            if new_day[t, n]:
                s[BUCKETS + int(s[FIRST]) % SESSIONS] = s[CURRENT]
                s[FIRST] += 1.0
                s[CURRENT] = 0.0
            known = min(int(s[FIRST]), SESSIONS)
            total = 0.0
            for j in range(known):
                total += s[BUCKETS + j]
            out[t, n] = total / known if known > 0 else prior
            if learn[t, n]:
                s[CURRENT] += 1.0


@kernel
def _fold_hours(rows, present, ok, revise, learn, end, prior, state, undo, out):  # type: ignore[no-untyped-def]
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
            hour = float((end[t, n] - 1) // HOUR_NS)
            if s[FIRST] == 0.0:
                s[FIRST] = hour
                s[CURRENT] = hour
            behind = hour - s[CURRENT]
            for j in range(min(behind, float(HOURS))):
                s[BUCKETS + int(hour - j) % HOURS] = 0.0
            s[CURRENT] = hour
            total = 0.0
            for j in range(HOURS):
                total += s[BUCKETS + j]
            age = hour - s[FIRST]
            out[t, n] = (
                max(total, 1.0) if age >= HOURS else max(total * HOURS / age, 1.0) if age >= 1.0 else prior
            )
            if learn[t, n]:
                s[BUCKETS + int(hour) % HOURS] += 1.0


class TrialsFamily:
    """Counts the active windows of many series."""

    def __init__(self, *, sessions: bool, session_windows: float) -> None:
        self.sessions = sessions
        self.prior = session_windows
        self.table = Table(BUCKETS + (SESSIONS if sessions else HOURS))

    def fold(self, rows: I64, w: Windows) -> F64:
        """Give the trials a day [T, N], NaN where there is no bar."""
        out = np.full(w.ok.shape, np.nan)
        tb = self.table
        if self.sessions:
            _fold_sessions(
                rows, w.present, w.ok, w.revise, w.learn, w.new_day, self.prior, tb.state, tb.undo, out
            )
        else:
            _fold_hours(rows, w.present, w.ok, w.revise, w.learn, w.end, self.prior, tb.state, tb.undo, out)
        return out
