"""Bars that the feed got wrong: decimal slips and a stuck price. A rule, so no p-value; never learned from."""

import math

import numpy as np

from features.block import BarBlock
from features.families.table import Table
from features.jit import kernel
from features.market.types import I64, U8, Bool

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


@kernel
def _fold(rows, present, revise, ts, prices, bar_ns, state, undo, code):  # type: ignore[no-untyped-def]
    open_, high_, low_, close_ = prices
    for n in range(rows.shape[0]):
        s, u = state[rows[n]], undo[rows[n]]
        for t in range(ts.shape[0]):
            if not present[t, n]:
                code[t, n] = ABSENT
                continue
            if revise[n]:
                s[:] = u
            else:
                u[:] = s
            last = s[CLOSE]
            c = close_[t, n]
            code[t, n] = OK
            if last > 0.0 and (high_[t, n] > last * SLIP_RATIO or low_[t, n] * SLIP_RATIO < last):
                s[SLIPS] += 1.0
                if s[SLIPS] < SLIP_ACCEPT:
                    code[t, n] = SLIP
                    continue
                code[t, n] = LEVEL
            s[SLIPS] = 0.0
            is_flat = open_[t, n] == last and high_[t, n] == last and low_[t, n] == last and c == last
            missed = (ts[t, n] - s[END]) / bar_ns if s[COUNT] > 0.0 else 0.0
            s[PRINTS] += MEMORY * ((1.0 if missed < 0.5 else 0.0) - s[PRINTS])
            s[COUNT] += 1.0
            s[RUN] = s[RUN] + 1.0 if is_flat and missed < 0.5 else 0.0
            p = max(s[P_FLAT], 0.05)
            if s[COUNT] > 1.0 / MEMORY and s[PRINTS] > FLAT_PRINTS * (1.0 - math.exp(-s[COUNT] * MEMORY)):
                if s[RUN] >= FLAT_MIN_RUN and s[RUN] * math.log(p) < FLAT_LOG_P:
                    code[t, n] = FLAT
            if code[t, n] != FLAT:
                s[P_FLAT] += MEMORY * ((1.0 if is_flat else 0.0) - s[P_FLAT])
            s[CLOSE] = c
            s[END] = ts[t, n] + bar_ns


class FaultFamily:
    """Judges each bar fit to use before any norm sees it."""

    def __init__(self) -> None:
        self.table = Table(7)

    def fold(self, rows: I64, block: BarBlock, revise: Bool) -> U8:
        """Give the code [T, N] of every bar."""
        code = np.zeros(block.shape, dtype=np.uint8)
        prices = (block.open, block.high, block.low, block.close)
        present = np.isfinite(block.close)
        _fold(rows, present, revise, block.ts, prices, block.bar_s * 1_000_000_000, self.table.state,
              self.table.undo, code)  # fmt: skip
        return code
