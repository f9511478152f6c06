"""Find bars that do not belong where they stand: prices away from both sides, volumes beyond the time of day's."""

from dataclasses import dataclass

import numpy as np

from features.jit import kernel
from features.market.bars import BarColumns
from features.market.types import F64, I64

NEIGHBOURS = 9
"""Bars looked at on each side: a run of four wrong ones leaves the medians where they were."""
LEAST_NEIGHBOURS = 3
PRICE_SCALES = 25.0
"""How many usual moves a price must lie away from both sides; real crashes and their returns stay below."""
LEAST_MOVE = 2e-3
"""A usual move is thought no smaller: a tick of a cheap name is no outlier."""
VOLUME_SD = 10.0
"""On real minutes of stocks none is beyond it, on made-up ones with their heavy tails 1 in 40,000."""
LEAST_VOLUME_SD = 0.5
"""Of log volume; where most trades repeat a size, its median deviation is 0."""
LEAST_SEEN = 10
"""Fewer values have no usual one."""
MAD_TO_SD = 1.4826
"""sd of a normal over its median absolute deviation."""


@dataclass(frozen=True, slots=True)
class Outliers:
    """Bars that stand out, by row, and by how much.

    Attributes
    ----------
    row
        [K] int64, rows of the bars given.
    size
        [K] float64, of a price: log distance from the nearer side, signed; of a volume: its ratio to the usual one.
    score
        [K] float64, of a price: that distance in usual moves; of a volume: robust standard deviations.
    """

    row: I64
    size: F64
    score: F64

    def __len__(self) -> int:
        return len(self.row)


def price_outliers(bars: BarColumns) -> Outliers:
    """Give the bars whose high or low lies away from the bars before and those after, in the same direction.

    A move that lasts is none, however large: it is news, or a split. The distance is from the nearer of the medians
    of the closes before and after (the neighbourhood rule of Brownlees and Gallo 2006, section 3.1, with Hampel's
    median in place of their trimmed mean); the usual move is the larger of the median true ranges (Wilder 1978) of the
    same neighbours and of the whole series.

    Parameters
    ----------
    bars
        [T] bars with sound prices, oldest first.

    Examples
    --------
    >>> close = np.full(30, 100.0)
    >>> close[15] = 1000.0
    >>> found = price_outliers(BarColumns(np.arange(30), *[close] * 7))
    >>> found.row, found.size
    (array([15]), array([2.3026]))
    """
    if len(bars) <= 2 * LEAST_NEIGHBOURS:
        return Outliers(np.empty(0, np.int64), np.empty(0), np.empty(0))
    ranges = _true_ranges(bars)
    moved = ranges[ranges > 0]  # where most bars stand still, a median of all would be 0
    usual = max(float(np.median(moved)) if len(moved) >= LEAST_SEEN else 0.0, LEAST_MOVE / PRICE_SCALES)
    size, score = _distances(bars.high, bars.low, bars.close, ranges, usual)
    row = np.flatnonzero(score >= PRICE_SCALES)
    return Outliers(row, size[row], score[row])


def volume_outliers(volume: F64, time_of_day: I64, half_hour: I64) -> Outliers:
    """Give the bars whose volume is far above what the series has at that time of day.

    The modified z-score of Iglewicz and Hoaglin (1993): log volume against the median over the days of the same minute
    (of the whole series, where it was seen fewer than `LEAST_SEEN` times) and the median absolute deviation from it in
    the half hour. The bound is `VOLUME_SD`, not their 3.5: volumes have heavy tails, and news is no fault.

    Parameters
    ----------
    volume
        [T] float64, NaN where the venue did not say.
    time_of_day, half_hour
        [T] int64, 0 or more, small: which volumes share a median, and which of these a deviation.
    """
    traded = np.flatnonzero(volume > 0)
    if not len(traded):
        return Outliers(np.empty(0, np.int64), np.empty(0), np.empty(0))
    x = np.log(volume[traded])
    center, n_seen = _medians(x, time_of_day[traded])
    away = x - np.where(n_seen >= LEAST_SEEN, center, np.median(x))
    spread, n_seen = _medians(np.abs(away), half_hour[traded])
    usual = np.where(n_seen >= LEAST_SEEN, spread, np.median(np.abs(away)))
    score = away / np.maximum(usual * MAD_TO_SD, LEAST_VOLUME_SD)
    found = np.flatnonzero(score >= VOLUME_SD)
    return Outliers(traded[found], np.exp(away[found]), score[found])


def _true_ranges(bars: BarColumns) -> F64:
    """Give each bar's log range, from the close before it where that lies outside."""
    last = np.concatenate([bars.open[:1], bars.close[:-1]])
    out: F64 = np.log(np.maximum(bars.high, last) / np.minimum(bars.low, last))
    return out


@kernel
def _distances(high: F64, low: F64, close: F64, ranges: F64, least: float) -> tuple[F64, F64]:
    """Give each bar's signed log distance from the nearer side's median, and that over the usual move."""
    n = close.shape[0]
    size, score = np.zeros(n), np.zeros(n)
    near = np.empty(2 * NEIGHBOURS)
    enough = np.exp(least * PRICE_SCALES)
    for i in range(LEAST_NEIGHBOURS, n - LEAST_NEIGHBOURS):
        first = max(i - NEIGHBOURS, 0)
        above, below = 0, 0
        for j in range(first, i):
            above += high[i] < close[j] * enough
            below += low[i] * enough > close[j]
        if 2 * min(above, below) > i - first:  # so the median before is as near: no need to look for it
            continue
        before = np.median(close[first:i])
        after = np.median(close[i + 1 : min(i + 1 + NEIGHBOURS, n)])
        top, bottom = max(before, after), min(before, after)
        if high[i] < top * enough and low[i] * enough > bottom:
            continue
        up, down = np.log(high[i] / top), np.log(bottom / low[i])
        k = 0
        for j in range(first, min(i + 1 + NEIGHBOURS, n)):
            if j != i:
                near[k] = ranges[j]
                k += 1
        scale = max(np.median(near[:k]), least)
        size[i] = up if up >= down else -down
        score[i] = max(up, down) / scale
    return size, score


def _medians(x: F64, group: I64) -> tuple[F64, I64]:
    """Give each value the median of its group, and how many are in it."""
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.diff(first, append=len(x))
    median, n = np.empty(len(x)), np.empty(len(x), np.int64)
    median[order] = np.repeat(_medians_between(x[order], np.append(first, len(x))), counts)
    n[order] = np.repeat(counts, counts)
    return median, n


@kernel
def _medians_between(x: F64, edges: I64) -> F64:
    """Give the median of each run between edges."""
    out = np.empty(edges.shape[0] - 1)
    for k in range(out.shape[0]):
        out[k] = np.median(x[edges[k] : edges[k + 1]])
    return out
