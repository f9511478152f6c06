"""The trailing window every bar is judged on: W = max(bar, 60 s) ending with the bar.

A 5-second bar then meets the norms of a minute, which learn once per W; judged bar by bar, one busy minute would
count twelve times. Moves are measured against the last close before W, inside the session.
"""

from typing import NamedTuple

import numpy as np

from features.block import BarBlock
from features.families.fault import ABSENT, LEVEL, OK
from features.families.table import Cells, Table
from features.jit import kernel
from features.market.calendar import ny_seconds
from features.market.types import F64, I64, NS_PER_S, U8, AssetClass, Bool

DAY_NS = 86_400 * NS_PER_S

# columns of the state
REF, REF_AT, SINCE, LEARNED, DAY, LAST_CLOSE, LAST_END, MISSING_TO = range(8)
WIDTH = 8
# columns of the ring
END, ACT, HIGH, LOW, CLOSE = range(5)
# rows of the outputs
F_ACTIVITY, F_REF, F_HIGH, F_LOW, F_CLOSE, F_PREV_CLOSE, F_FRAC = range(7)
I_END, I_DAY, I_MINUTE = range(3)
B_LEARN, B_NEW_DAY, B_AFTER_HOLE = range(3)


class Windows(NamedTuple):
    """What the families read, all [T, N]; `end`, `day`, `minute` say something where `present`, the rest where `ok`.

    `present` marks every bar, `ok` those fit to use, `revise` [N] the series whose single bar is a revision.

    `activity` is the window's sum of the activity column and `ref` the close it moved from. `prev_close` is the last
    close of the day before on the first bar of a session, else NaN. `minute` is the minute of day the window starts
    in (New York for classes with sessions, else UTC), `frac` how far into that minute (0..1), `day` the day's number.
    `learn` marks the bars that norms learn from: the first of each W. `after_hole` marks a series' first bar after a
    hole in the feed: what it moved from is not known.
    """

    present: Bool
    ok: Bool
    revise: Bool
    activity: F64
    ref: F64
    high: F64
    low: F64
    close: F64
    prev_close: F64
    frac: F64
    end: I64
    day: I64
    minute: I64
    learn: Bool
    new_day: Bool
    after_hole: Bool


@kernel
def clock(start: int, window_start: int, sessions: bool) -> tuple[int, int]:
    """Give the day number of `start` and the second of day of `window_start`: New York for sessions, else UTC."""
    if sessions:
        day, _ = ny_seconds(start)
        _, second = ny_seconds(window_start)
        return day, second
    return start // DAY_NS, (window_start % DAY_NS) // NS_PER_S


@kernel
def _leave(s: F64, r: F64, limit: int) -> None:
    """Move the reference to the newest close that left the window at `limit`."""
    for j in range(r.shape[0]):
        if r[j, END] <= limit and r[j, END] > s[REF_AT]:
            s[REF] = r[j, CLOSE]
            s[REF_AT] = r[j, END]


@kernel
def _ends_hole(s: F64, start: int) -> bool:
    """Say whether a bar is the first after a hole that may have taken bars of its series; the hole is then done."""
    if s[MISSING_TO] == 0.0 or start < s[MISSING_TO]:
        return False
    missed: bool = 0.0 < s[LAST_END] < s[MISSING_TO]
    s[MISSING_TO] = 0.0
    return missed


class _Bars(NamedTuple):
    """Columns of bars [T, N] with `code` [T, N], `revise` [N], and how time is cut."""

    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    activity: F64
    code: U8
    revise: Bool
    bar_ns: int
    window_ns: int
    sessions: bool


class _Out(NamedTuple):
    """What the kernel fills: floats, integers and booleans, each [columns, T, N]."""

    f: F64
    i: I64
    b: Bool


@kernel
def _trailing(r: F64, since: int, high: float, low: float) -> tuple[float, float, float]:
    """Give activity, high and low of the bars that ended after `since`; `high` and `low` are the newest bar's."""
    total = 0.0
    for j in range(r.shape[0]):
        if r[j, END] > since:
            total += r[j, ACT]
            high = max(high, r[j, HIGH])
            low = min(low, r[j, LOW])
    return total, high, low


@kernel
def _fold(rows: I64, bars: _Bars, table: Cells, out: _Out) -> None:
    state, undo, ring, cell = table
    f, i, b = out
    bar_ns, window_ns, sessions = bars.bar_ns, bars.window_ns, bars.sessions
    k = ring.shape[1]
    for n in range(rows.shape[0]):
        s, u, r, kept = state[rows[n]], undo[rows[n]], ring[rows[n]], cell[rows[n]]
        for t in range(bars.ts.shape[0]):
            code = bars.code[t, n]
            if code == ABSENT:
                continue
            start = bars.ts[t, n]
            end = start + bar_ns
            at = (start // bar_ns) % k
            if bars.revise[n]:
                s[:] = u
                r[at] = kept
            else:
                u[:] = s
                kept[:] = r[at]
            day, second = clock(start, min(start, end - window_ns), sessions)
            i[I_END, t, n], i[I_DAY, t, n], i[I_MINUTE, t, n] = end, day, second // 60
            if code != OK and code != LEVEL:
                continue
            fresh = s[LAST_END] == 0.0
            new_day = day != s[DAY] and not fresh
            after_hole = _ends_hole(s, start)
            if new_day and sessions and code != LEVEL and not after_hole:
                f[F_PREV_CLOSE, t, n] = s[LAST_CLOSE]
            if fresh or code == LEVEL or (new_day and sessions) or after_hole:
                s[REF] = bars.open[t, n]
                s[REF_AT] = start
                s[SINCE] = start
            s[DAY] = day
            _leave(s, r, end - window_ns)
            high, low, close = bars.high[t, n], bars.low[t, n], bars.close[t, n]
            r[at, END], r[at, ACT], r[at, HIGH], r[at, LOW], r[at, CLOSE] = end, bars.activity[t, n], high, low, close
            total, high, low = _trailing(r, max(end - window_ns, s[SINCE]), high, low)
            window = (end - 1) // window_ns
            b[B_LEARN, t, n] = window > s[LEARNED]
            b[B_NEW_DAY, t, n], b[B_AFTER_HOLE, t, n] = new_day, after_hole
            s[LEARNED] = window
            f[F_ACTIVITY, t, n], f[F_REF, t, n] = total, s[REF]
            f[F_HIGH, t, n], f[F_LOW, t, n], f[F_CLOSE, t, n] = high, low, close
            f[F_FRAC, t, n] = (second % 60) / 60.0
            s[LAST_CLOSE] = close
            s[LAST_END] = end


class WindowFamily:
    """Holds the trailing windows of many series of one bar length."""

    def __init__(self, asset_class: AssetClass, bar_s: int) -> None:
        self.window_s = max(bar_s, 60)
        if self.window_s % bar_s:
            raise ValueError(f"expected a bar length that divides 60 s or exceeds it, was {bar_s} s")
        self.bar_s = bar_s
        self.sessions = asset_class.has_sessions
        self.table = Table(WIDTH, ring=(self.window_s // bar_s, 5))

    def fold(self, rows: I64, block: BarBlock, activity: F64, code: U8, revise: Bool) -> Windows:
        """Fold a block whose bars have the fault codes `code` [T, N]."""
        t, n = block.shape
        f = np.full((7, t, n), np.nan)
        i = np.zeros((3, t, n), dtype=np.int64)
        b = np.zeros((3, t, n), dtype=np.bool_)
        bars = _Bars(block.ts, block.open, block.high, block.low, block.close, activity, code, revise,
                     self.bar_s * NS_PER_S, self.window_s * NS_PER_S, self.sessions)  # fmt: skip
        _fold(rows, bars, self.table.cells, _Out(f, i, b))
        return Windows(code != ABSENT, (code == OK) | (code == LEVEL), revise, *f, *i, *b)

    def miss(self, to_ns: int) -> None:
        """Learn of a hole that ends at `to_ns`: bars from before it may still come, or be revised."""
        for kept in (self.table.state, self.table.undo):
            np.maximum(kept[:, MISSING_TO], to_ns, out=kept[:, MISSING_TO])
