"""Find stretches whose bars are longer than the series': their starts keep to a coarser grid."""

import numpy as np

from features.jit import kernel
from features.market.types import I64, NS_PER_S

LEAST_BARS = 30
"""Thin minutes lie all on even ones by chance once in 2**30 such stretches."""


def longer_bars(ts: I64, bar_s: int) -> I64:
    """Give the stretches as rows of (first bar, after last bar, length in seconds), [K, 3].

    Five-minute bars put behind minutes look like minutes that print one time in five, and no habit tells them apart.

    Parameters
    ----------
    ts
        [T] int64, starts of the bars, oldest first, whole bar lengths apart, UTC ns.
    bar_s
        What is thought their length, seconds.

    Examples
    --------
    >>> minutes = np.concatenate([np.arange(100), 100 + 5 * np.arange(40)])
    >>> longer_bars(minutes * 60 * NS_PER_S, 60)
    array([[100, 140, 300]])
    """
    found: I64 = _coarser(np.diff(ts) // (bar_s * NS_PER_S), LEAST_BARS) * np.array([1, 1, bar_s])
    return found


@kernel
def _coarser(steps: I64, least: int) -> I64:
    """Give the runs of steps that share a divisor, as bars, with the smallest step of each."""
    found = np.empty((steps.shape[0] // least + 1, 3), np.int64)
    n, first = 0, 0
    while first < steps.shape[0]:
        divisor, end, smallest = steps[first], first, steps[first]
        while end < steps.shape[0]:
            shared, rest = divisor, steps[end]
            while rest > 0:
                shared, rest = rest, shared % rest
            if shared == 1:
                break
            divisor, smallest, end = shared, min(smallest, steps[end]), end + 1
        if end - first + 1 >= least:
            found[n, 0], found[n, 1], found[n, 2] = first, end + 1, smallest
            n += 1
            first = end
        else:
            first += 1
    return found[:n]
