"""What a symbol turns over in a day: what the universe's least dollar volume is held against."""

import numpy as np

from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64

DAY, TODAY, YESTERDAY = range(3)


@kernel
def _fold(rows: I64, w: Windows, close: F64, volume: F64, table: Cells, out: F64) -> None:
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
            if w.day[t, n] != s[DAY]:
                s[YESTERDAY] = s[TODAY]
                s[TODAY] = 0.0
                s[DAY] = w.day[t, n]
            out[t, n] = max(s[TODAY], s[YESTERDAY])
            dollars = close[t, n] * volume[t, n]
            if not np.isnan(dollars):
                s[TODAY] += dollars


class TurnoverFamily:
    """Sums price times volume per day, of many series."""

    def __init__(self) -> None:
        self.table = Table(3)

    def fold(self, rows: I64, w: Windows, close: F64, volume: F64) -> F64:
        """Give [T, N] the day's turnover known before the bar: today's so far, or the last day's if larger."""
        out = np.zeros(w.ok.shape)
        _fold(rows, w, close, volume, self.table.cells, out)
        return out
