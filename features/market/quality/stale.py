"""Find prices that stand still: runs of bars that repeat the one before, too long for the series' habits."""

import numpy as np

from features.market.bars import BarColumns
from features.market.quality.habit import improbable_runs, n_runs, shares, usual
from features.market.types import I64, Bool

USUAL = 0.75
"""How often a time of day repeats its bars on three days of four bounds what is thought normal."""
LEAST_REPEATS = 5
LEAST_SHARE = 0.05
"""No price is thought to move in more than 19 windows of 20 (as `features.families.fault` has it)."""


def stale_runs(bars: BarColumns, row: I64, bucket: I64) -> I64:
    """Give the runs of bars whose four prices repeat, as rows of (first, after last), into ``[T]``.

    A thin name, or one of few cents, repeats its price every day; the run must be improbable given how often the
    series repeats itself at that time of day. Runs end with the trading day.

    Parameters
    ----------
    bars
        [T] bars that printed, oldest first.
    row, bucket
        [T] int64, the trading day (-1 outside of it: not judged) and half hour of each.
    """
    judged = np.flatnonzero(row >= 0)
    if len(judged) <= LEAST_REPEATS:
        return np.empty((0, 2), np.int64)
    day, half_hour = row[judged] - row[judged[0]], bucket[judged]
    repeats = _repeats(bars, judged) & (np.diff(day, prepend=day[0] - 1) == 0)
    breaks = np.diff(day, prepend=day[0]) != 0
    p = usual(shares(day, half_hour, int(day[-1]) + 1, repeats), USUAL)
    begins = (n_runs(repeats, breaks) + 1) / (len(judged) + 2)
    log_p = np.log(np.maximum(np.where(np.isnan(p), 1.0, p), max(begins, LEAST_SHARE)).clip(max=1.0))
    found = improbable_runs(repeats, breaks, log_p[half_hour], float(len(judged)), LEAST_REPEATS)
    # The bar that is repeated belongs to its run.
    return np.stack([judged[found[:, 0] - 1], judged[found[:, 1] - 1] + 1], axis=1)


def _repeats(bars: BarColumns, judged: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Bool:
    same = np.zeros(len(judged), np.bool_)
    same[1:] = True
    for name in ("open", "high", "low", "close"):
        price = getattr(bars, name)[judged]
        same[1:] &= price[1:] == price[:-1]
    return same
