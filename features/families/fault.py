"""Bars that the feed got wrong: decimal slips and a stuck price. A rule, so no p-value; never learned from."""

import math
from typing import NamedTuple

import numpy as np

from features.block import BarBlock
from features.families.table import Cells, Table
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, U8, Bool

OK, SLIP, FLAT, LEVEL, ABSENT = range(5)
"""Codes of a bar: usable, a price off by 10x or more, a stuck feed, the first bar of a lasting new level, no bar."""
SLIP_RATIO = 9.5
"""A misplaced decimal point is 10x; a little less, since the price also moved."""
SLIP_ACCEPT = 5
"""So many bars in a row at the far price are no slip but a new level (a reverse split, a redenomination)."""
FLAT_LOG_P = math.log(1e-7)
FLAT_MIN_RUN = 10
FLAT_PRINTS = 0.95
"""Only a name that prints in so many of its windows can be stuck; a quiet one is just quiet."""
MEMORY = 1.0 / 500.0

CLOSE, SLIPS, RUN, P_FLAT, PRINTS, COUNT, END = range(7)


class _Bars(NamedTuple):
    """Columns of bars [T, N] and `revise` [N]; absent bars are NaN in `close`."""

    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    revise: Bool
    bar_ns: int


@kernel
def _is_stuck(s: F64) -> bool:
    """Say whether a run of bars that never left the last close is too long for a name that prints every minute."""
    settled = 1.0 - math.exp(-s[COUNT] * MEMORY)
    if s[COUNT] <= 1.0 / MEMORY or s[PRINTS] <= FLAT_PRINTS * settled or s[RUN] < FLAT_MIN_RUN:
        return False
    return bool(s[RUN] * math.log(max(s[P_FLAT], 0.05)) < FLAT_LOG_P)


@kernel
def _fold(rows: I64, bars: _Bars, table: Cells, code: U8) -> None:
    state, undo, _, _ = table
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(bars.ts.shape[0]):
            c = bars.close[t, n]
            if not np.isfinite(c):
                code[t, n] = ABSENT
                continue
            if bars.revise[n]:
                s[:] = u
            else:
                u[:] = s
            last, high, low = s[CLOSE], bars.high[t, n], bars.low[t, n]
            code[t, n] = OK
            if last > 0.0 and (high > last * SLIP_RATIO or low * SLIP_RATIO < last):
                s[SLIPS] += 1.0
                if s[SLIPS] < SLIP_ACCEPT:
                    code[t, n] = SLIP
                    continue
                code[t, n] = LEVEL
            s[SLIPS] = 0.0
            is_flat = bars.open[t, n] == last and high == last and low == last and c == last
            missed = (bars.ts[t, n] - s[END]) / bars.bar_ns if s[COUNT] > 0.0 else 0.0
            s[PRINTS] += MEMORY * ((1.0 if missed < 0.5 else 0.0) - s[PRINTS])
            s[COUNT] += 1.0
            s[RUN] = s[RUN] + 1.0 if is_flat and missed < 0.5 else 0.0
            if _is_stuck(s):
                code[t, n] = FLAT
            else:
                s[P_FLAT] += MEMORY * ((1.0 if is_flat else 0.0) - s[P_FLAT])
            s[CLOSE] = c
            s[END] = bars.ts[t, n] + bars.bar_ns


class FaultFamily:
    """Judges each bar fit to use before any norm sees it."""

    def __init__(self) -> None:
        self.table = Table(7)

    def fold(self, rows: I64, block: BarBlock, revise: Bool) -> U8:
        """Give the code [T, N] of every bar."""
        code = np.zeros(block.shape, dtype=np.uint8)
        bars = _Bars(block.ts, block.open, block.high, block.low, block.close, revise, block.bar_s * NS_PER_S)
        _fold(rows, bars, self.table.cells, code)
        return code
