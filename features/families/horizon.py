"""The move over a longer horizon, inside the session: from the last close at least that long ago."""

import math
from typing import NamedTuple

import numpy as np

from features.families.table import Cells, Table
from features.families.window import Windows
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool

REF, REF_AT, SINCE, IS_CUT = range(4)


class _Moves(NamedTuple):
    """What is folded: `reset` [T, N] marks a session's first bar; the rest as `Windows` and `BarBlock` say."""

    present: Bool
    ok: Bool
    revise: Bool
    reset: Bool
    after_hole: Bool
    open: F64
    close: F64
    end: I64
    window_ns: int
    horizon_ns: int


@kernel
def _leave(s: F64, r: F64, limit: int, window_ns: int) -> None:
    """Move the reference to the newest close kept that is not after `limit`.

    Closes lie in the ring by their windows, so the search goes back from the limit's window and mostly ends at once;
    only where a series was silent for longer than the ring can older closes be anywhere.
    """
    k = r.shape[0]
    window = (limit - 1) // window_ns
    for back in range(k):
        start = (window - back) * window_ns
        if start + window_ns <= s[REF_AT]:
            return
        j = (window - back) % k
        if r[j, 0] <= limit and r[j, 0] > start:
            if r[j, 0] > s[REF_AT]:
                s[REF_AT] = r[j, 0]
                s[REF] = r[j, 1]
            return
    for j in range(k):
        if r[j, 0] <= limit and r[j, 0] > s[REF_AT]:
            s[REF_AT] = r[j, 0]
            s[REF] = r[j, 1]


@kernel
def _fold(rows: I64, m: _Moves, table: Cells, out: F64) -> None:
    state, undo, ring, cell = table
    k = ring.shape[1]
    for n in range(rows.shape[0]):
        s, u, r, kept = state[rows[n]], undo[rows[n]], ring[rows[n]], cell[rows[n]]
        for t in range(m.ok.shape[0]):
            if not m.present[t, n]:
                continue
            end = m.end[t, n]
            at = ((end - 1) // m.window_ns) % k
            if m.revise[n]:
                s[:] = u
                r[at] = kept
            else:
                u[:] = s
                kept[:] = r[at]
            if not m.ok[t, n]:
                continue
            if s[REF_AT] == 0.0 or m.reset[t, n] or m.after_hole[t, n]:
                s[REF] = math.log(m.open[t, n])
                s[REF_AT] = end - m.window_ns
                s[SINCE] = s[REF_AT]
                s[IS_CUT] = 1.0 if m.after_hole[t, n] else 0.0
            _leave(s, r, end - m.horizon_ns, m.window_ns)
            r[at, 0] = end
            r[at, 1] = math.log(m.close[t, n])
            out[0, t, n] = r[at, 1] - s[REF]
            out[1, t, n] = min(1.0, (end - s[SINCE]) / m.horizon_ns)
            out[2, t, n] = s[IS_CUT]


class HorizonFamily:
    """Holds the closes of the trailing horizon of many series, the last of each window."""

    def __init__(self, window_s: int, horizon_s: int) -> None:
        self.window_ns = window_s * NS_PER_S
        self.horizon_ns = max(horizon_s, window_s) * NS_PER_S
        # one more than the horizon holds: a window's last close must outlive the first bars of the same window later
        self.table = Table(4, ring=(self.horizon_ns // self.window_ns + 1, 2))

    def fold(self, rows: I64, w: Windows, reset: Bool, open_: F64, close: F64) -> F64:
        """Give [3, T, N]: the log move, the part of the horizon it has reached (0..1), 1 where a hole cut it short.

        `reset` [T, N] marks the first bar of a session or of a lasting new price level.
        """
        out = np.full((3, *w.ok.shape), np.nan)
        moves = _Moves(
            w.present, w.ok, w.revise, reset, w.after_hole, open_, close, w.end, self.window_ns, self.horizon_ns
        )
        _fold(rows, moves, self.table.cells, out)
        return out
