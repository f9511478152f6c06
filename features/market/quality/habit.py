"""Tell runs that a series' own habits make improbable: what a thin name does every day is no fault."""

import numpy as np

from features.jit import kernel
from features.market.quality.days import BUCKETS
from features.market.types import F64, I64, Bool

MIN_DAYS = 5
"""Fewer days say nothing about a time of day: all times are then held against one norm."""
FALSE_RUNS = 0.01
"""Runs a clean series may give by chance in its whole history."""
CLUSTERING = 0.5
"""Part of the windows of a run that count as independent: quiet minutes come together."""


def shares(row: I64, bucket: I64, n_rows: int, flag: Bool) -> F64:
    """Give the part of each day's half hour that has the flag, [D, 48]; NaN where nothing was seen of it."""
    cell = row * BUCKETS + bucket
    n = np.bincount(cell, minlength=n_rows * BUCKETS)
    k = np.bincount(cell[flag], minlength=n_rows * BUCKETS)
    with np.errstate(invalid="ignore"):
        return np.asarray(k / np.where(n > 0, n, np.nan), np.float64).reshape(n_rows, BUCKETS)


def usual(share: F64, quantile: float) -> F64:
    """Give each half hour's quantile over the days, [48]; NaN where there is none.

    Of fewer than `MIN_DAYS` days it is that of all cells, the same for each half hour; of one day the median, since a
    hole may be half of it.

    >>> usual(np.tile(np.arange(48) / 48, (8, 1)), 0.25)[:3]
    array([0.    , 0.0208, 0.0417])
    """
    seen = ~np.isnan(share)
    out = np.full(share.shape[1], np.nan)
    if not seen.any():
        return out
    n_days = int(seen.any(axis=1).sum())
    if n_days < MIN_DAYS:
        out[seen.any(axis=0)] = np.quantile(share[seen], quantile if n_days > 1 else 0.5)
        return out
    for b in np.flatnonzero(seen.any(axis=0)):
        out[b] = np.quantile(share[seen[:, b], b], quantile)
    return out


@kernel
def improbable_runs(flag: Bool, starts: Bool, log_p: F64, chances: float, least: int) -> I64:
    """Give the runs of flags too improbable to be chance, as rows of (from, to), half-open, into ``[E]``.

    A run is one whose probability, times the number of places it could have begun, is below `FALSE_RUNS`; its windows
    count by `CLUSTERING`. One of fewer than `least` windows is none.

    Parameters
    ----------
    flag
        [E] what makes a run.
    starts
        [E] where a run cannot go on from the window before.
    log_p
        [E] log probability of the flag in each window.
    chances
        How many runs could have begun.

    Examples
    --------
    >>> flag = np.array([0, 1, 1, 1, 1, 0, 1], np.bool_)
    >>> improbable_runs(flag, np.zeros(7, np.bool_), np.full(7, np.log(0.01)), 10.0, 1)
    array([[1, 5]])
    """
    found = np.empty((flag.shape[0], 2), np.int64)
    n, first, total = 0, -1, 0.0
    for i in range(flag.shape[0] + 1):
        goes_on = i < flag.shape[0] and flag[i] and not (starts[i] and first >= 0)
        if first >= 0 and not goes_on:
            if i - first >= least and np.log(chances) + CLUSTERING * total < np.log(FALSE_RUNS):
                found[n, 0], found[n, 1] = first, i
                n += 1
            first, total = -1, 0.0
        if i < flag.shape[0] and flag[i]:
            if first < 0:
                first = i
            total += log_p[i]
    return found[:n].copy()


def n_runs(flag: Bool, starts: Bool) -> int:
    """Count runs of flags.

    >>> n_runs(np.array([1, 1, 0, 1], np.bool_), np.zeros(4, np.bool_))
    2
    """
    begins = flag.copy()
    begins[1:] &= ~flag[:-1] | starts[1:]
    return int(begins.sum())
