"""How many independent looks a day a series gives: what turns a p-value into a rate of false alerts per day.

Known before the bar: the mean of the last five sessions, or the trailing 24 hours of a market that never closes.
"""

import numpy as np

from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S

SESSIONS = 5
HOURS = 24
HOUR_NS = 3_600 * NS_PER_S

FIRST, CURRENT, COUNT, BUCKETS = 0, 1, 2, 3


@kernel
def _fold_sessions(rows: I64, w: Windows, prior: float, table: Cells, out: F64) -> None:
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
            if w.new_day[t, n]:
                s[BUCKETS + int(s[FIRST]) % SESSIONS] = s[CURRENT]
                s[FIRST] += 1.0
                s[CURRENT] = 0.0
            known = min(int(s[FIRST]), SESSIONS)
            total = 0.0
            for j in range(known):
                total += s[BUCKETS + j]
            out[t, n] = total / known if known > 0 else prior
            if w.learn[t, n]:
                s[CURRENT] += 1.0


@kernel
def _trailing_day(s: F64, hour: int, prior: float) -> float:
    """Turn the buckets to `hour` and give the active windows of 24 hours."""
    if s[FIRST] == 0.0:
        s[FIRST] = hour
        s[CURRENT] = hour
    for j in range(min(hour - int(s[CURRENT]), HOURS)):
        s[BUCKETS + (hour - j) % HOURS] = 0.0
    s[CURRENT] = hour
    total = 0.0
    for j in range(HOURS):
        total += s[BUCKETS + j]
    age = hour - int(s[FIRST])
    if age < 1:
        return prior
    return max(total * HOURS / min(age, HOURS), 1.0)


@kernel
def _fold_hours(rows: I64, w: Windows, prior: float, table: Cells, out: F64) -> None:
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
            hour = (w.end[t, n] - 1) // HOUR_NS
            out[t, n] = _trailing_day(s, hour, prior)
            if w.learn[t, n]:
                s[BUCKETS + hour % HOURS] += 1.0


class TrialsFamily:
    """Counts the active windows of many series."""

    def __init__(self, *, sessions: bool, session_windows: float) -> None:
        self.sessions = sessions
        self.prior = session_windows
        self.table = Table(BUCKETS + (SESSIONS if sessions else HOURS))

    def fold(self, rows: I64, w: Windows) -> F64:
        """Give the trials a day [T, N], NaN where there is no bar."""
        out = np.full(w.ok.shape, np.nan)
        fold = _fold_sessions if self.sessions else _fold_hours
        fold(rows, w, self.prior, self.table.cells, out)
        return out
