"""A market shock raises every symbol as one: those with a bar at once, the others at their next bar."""

from typing import NamedTuple

import numpy as np

from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool

REACH_NS = 600 * NS_PER_S
"""A symbol that does not trade in the shock's window is raised at its next bar within ten minutes."""

END, SCORE, P_VALUE, RATE, DIRECTION = range(5)
"""Columns of a shock."""
AT, BEFORE = range(2)
"""Columns of what raised a series last: the shock's end, and the one before this window (its undo record)."""


class Closed(NamedTuple):
    """Closed windows: their shocks [C, 5] (`is_shock` says which are real) and the series [C, N] that had a bar.

    `usable` marks bars that a shock can raise, `revise` [N] the series whose window was closed before.
    """

    shocks: F64
    is_shock: Bool
    present: Bool
    usable: Bool
    revise: Bool


@kernel
def raise_symbols(rows: I64, closed: Closed, newest: F64, raised: F64, out: F64) -> None:
    """Fill `out` [C, N, 5] with the shock that raises each bar, NaN where none does.

    `newest` [5] is the latest shock so far (kept up to date), `raised` [S, 2] what raised each row last. A window
    closed late knows its own shock or an earlier one, never a later.
    """
    for c in range(closed.present.shape[0]):
        own = closed.shocks[c]
        if closed.is_shock[c] and own[END] > newest[END]:
            newest[:] = own
        shock = own if closed.is_shock[c] else newest
        is_live = shock[END] > 0.0 and 0.0 <= own[END] - shock[END] <= REACH_NS
        for n in range(rows.shape[0]):
            if not closed.present[c, n]:
                continue
            r = raised[rows[n]]
            if closed.revise[n]:
                r[AT] = r[BEFORE]
            else:
                r[BEFORE] = r[AT]
            if is_live and closed.usable[c, n] and r[AT] < shock[END]:
                r[AT] = shock[END]
                out[c, n] = shock


def no_shock() -> F64:
    """Give the shock that never was."""
    return np.zeros(5)
