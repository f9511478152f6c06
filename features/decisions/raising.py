"""A market shock raises every symbol as one: those with a bar at once, the others at their next bar."""

import numpy as np

from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool

REACH_NS = 600 * NS_PER_S
"""A symbol that does not trade in the shock's window is raised at its next bar within ten minutes."""

END, SCORE, P_VALUE, RATE, DIRECTION = range(5)
"""Columns of a shock."""


@kernel
def raise_symbols(
    rows: I64, present: Bool, shocks: F64, is_shock: Bool, end: I64, newest: F64, raised: F64, out: F64
) -> None:  # noqa: E501
    """Fill `out` [C, N, 5] with the shock that raises each bar [C, N], NaN where none does.

    `shocks` [C, 5] are the windows' own, `newest` [5] the latest shock so far (kept up to date), `raised` [S] the end
    of the last shock that raised each row.
    """
    for c in range(present.shape[0]):
        if is_shock[c]:
            newest[:] = shocks[c]
        if newest[END] == 0.0 or end[c] - newest[END] > REACH_NS:
            continue
        for n in range(rows.shape[0]):
            if present[c, n] and raised[rows[n]] < newest[END]:
                raised[rows[n]] = newest[END]
                out[c, n] = newest


def no_shock() -> F64:
    """Give the shock that never was."""
    return np.zeros(5)
