"""The move over a longer horizon, inside the session: from the last close at least that long ago."""

import math

import numpy as np

from features.families.table import Table
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool

REF, REF_AT, SINCE, DAY = range(4)


@kernel
def _fold(rows, present, ok, revise, reset, open_, close, end, window_ns, horizon_ns, table, out):  # type: ignore[no-untyped-def]
    state, undo, ring, cell = table
    k = ring.shape[1]
    for n in range(rows.shape[0]):
        s, u, r, kept = state[rows[n]], undo[rows[n]], ring[rows[n]], cell[rows[n]]
        for t in range(ok.shape[0]):
            if not present[t, n]:
                continue
            at = ((end[t, n] - 1) // window_ns) % k
            if revise[n]:
                s[:] = u
                r[at] = kept
            else:
                u[:] = s
                kept[:] = r[at]
            if not ok[t, n]:
                continue
            if s[REF_AT] == 0.0 or reset[t, n]:
                s[REF] = math.log(open_[t, n])
                s[REF_AT] = end[t, n] - window_ns
                s[SINCE] = s[REF_AT]
            limit = end[t, n] - horizon_ns
            for j in range(k):
                if r[j, 0] <= limit and r[j, 0] > s[REF_AT]:
                    s[REF_AT] = r[j, 0]
                    s[REF] = r[j, 1]
            r[at, 0] = end[t, n]
            r[at, 1] = math.log(close[t, n])
            out[0, t, n] = r[at, 1] - s[REF]
            out[1, t, n] = min(1.0, (end[t, n] - s[SINCE]) / horizon_ns)


class HorizonFamily:
    """Holds the closes of the trailing horizon of many series, one per window."""

    def __init__(self, window_s: int, horizon_s: int) -> None:
        self.window_ns = window_s * NS_PER_S
        self.horizon_ns = max(horizon_s, window_s) * NS_PER_S
        self.table = Table(3, ring=(self.horizon_ns // self.window_ns, 2))

    def fold(
        self, rows: I64, present: Bool, ok: Bool, revise: Bool, reset: Bool, open_: F64, close: F64, end: I64
    ) -> F64:
        """Give [2, T, N]: the log move and the part of the horizon the session has reached (0..1)."""
        out = np.full((2, *ok.shape), np.nan)
        tb = self.table
        _fold(rows, present, ok, revise, reset, open_, close, end, self.window_ns, self.horizon_ns,
              (tb.state, tb.undo, tb.ring, tb.cell), out)  # fmt: skip
        return out
