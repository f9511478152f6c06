"""Find clocks that are off: trading that lies whole hours before or after the hours its class keeps."""

from dataclasses import dataclass

import numpy as np

from features.market.quality.days import HOUR_NS, TradingDays
from features.market.types import F64, I64, NS_PER_S, Bool

FURTHEST_H = 11
"""Further off, one session's bars would lie nearer to the next."""
LEAST_BARS = 20
"""Fewer in the shifted hours say nothing."""
LEAST_NEW_BARS = 5
BUSY = 0.9
"""Volumes are held against the ninth decile of the day's: what is usual of a day may be its quiet hours."""
BUSIER = 3.0
"""How many times busier the hours that only the shifted clock has must be than those that only the right one has."""
FULL = 0.6
"""And how busy beside the whole shifted session: hours before and after it are far below."""


@dataclass(frozen=True, slots=True)
class Slips:
    """Spans of trading whose bars lie whole hours off, those in a row by the same hours joined.

    Attributes
    ----------
    from_ns, to_ns
        [K] int64, from the first day's start of trading to the last one's end, UTC ns.
    hours
        [K] int64, how much later than they should the bars are stamped; negative: earlier.
    n_spans
        [K] int64, how many trading days (of forex: weeks) that are.
    """

    from_ns: I64
    to_ns: I64
    hours: I64
    n_spans: I64

    def __len__(self) -> int:
        return len(self.hours)


def slips(ts: I64, volume: F64, days: TradingDays, bar_s: int) -> Slips:
    """Find days whose trading keeps other hours than their calendar, by a whole number of them.

    Where a clock slipped by k hours, the first k hours of the day are empty (or as quiet as before the open), and the
    k hours after its end busy. Both are asked of each day alone, for the k that holds the most trading; a late start,
    an early end or much trading after hours give one of them only. A class that never closes has no such hours.

    Parameters
    ----------
    ts
        [T] int64, starts of the bars that printed, oldest first, UTC ns.
    volume
        [T] float64; NaN where the class has none: then bars are counted.
    days
        Its trading days, whole ones.
    bar_s
        Length of the bars, seconds; a day's bar says nothing.
    """
    spans = days.merged()
    none = np.empty(0, np.int64)
    if len(ts) < LEAST_BARS or bar_s * NS_PER_S > HOUR_NS or np.any(spans.end_ns - spans.start_ns > 8 * 24 * HOUR_NS):
        return Slips(none, none, none, none)
    life = spans.within(int(ts[0]) - FURTHEST_H * HOUR_NS, int(ts[-1]) + FURTHEST_H * HOUR_NS)
    whole = spans.take(np.flatnonzero(np.isin(spans.day, life.day)))
    hours = _hours_off(ts, _activity(ts, volume, whole), whole, bar_s)
    return _joined(hours, whole)


def _activity(ts: I64, volume: F64, spans: TradingDays) -> F64:
    """Give each bar's weight: its volume beside its span's busy ones, damped; 1 where no volume is known."""
    known = np.nan_to_num(volume, nan=0.0)
    if not (known > 0).any():
        return np.ones(len(ts))
    edges = np.searchsorted(ts, np.append(spans.start_ns - FURTHEST_H * HOUR_NS, np.iinfo(np.int64).max))
    weight = np.zeros(len(ts))
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = known[first:last]
        traded = part[part > 0]
        if len(traded):
            weight[first:last] = np.log1p(part / np.quantile(traded, BUSY))
    return weight


def _hours_off(ts: I64, weight: F64, spans: TradingDays, bar_s: int) -> I64:
    """Give the hours each span is off, 0 where it is not or nothing can be said."""
    total = np.concatenate([[0.0], np.cumsum(weight)])
    shift = np.arange(-FURTHEST_H, FURTHEST_H + 1)[:, None] * HOUR_NS
    start, end = spans.start_ns + shift, spans.end_ns + shift  # [K, D]
    busy = _between(ts, total, start, end)
    here = busy[FURTHEST_H]
    shared = _between(ts, total, np.maximum(start, spans.start_ns), np.minimum(end, spans.end_ns))
    counts = np.arange(len(ts) + 1.0)
    new_bars = _between(ts, counts, start, end) - _between(
        ts, counts, np.maximum(start, spans.start_ns), np.minimum(end, spans.end_ns)
    )
    best = np.argmax(busy, axis=0)
    at = (best, np.arange(len(spans)))
    gained, lost = busy[at] - shared[at], here - shared[at]
    # Windows the best shift has and the right clock has not.
    n_new = np.minimum(np.abs(shift[best, 0]), spans.end_ns - spans.start_ns) / (bar_s * NS_PER_S)
    n_all = (spans.end_ns - spans.start_ns) / (bar_s * NS_PER_S)
    with np.errstate(invalid="ignore", divide="ignore"):
        is_full = gained / n_new >= FULL * busy[at] / n_all
    n_bars = _between(ts, counts, start, end)[at]
    is_off = is_full & (gained >= BUSIER * lost) & (n_bars >= LEAST_BARS) & (new_bars[at] >= LEAST_NEW_BARS)
    hours = np.where(is_off, best - FURTHEST_H, 0)
    return _whole_days(_bridged(hours, gained > lost), here > 0)


def _whole_days(hours: I64, has_bars: Bool) -> I64:
    """Let the first and the last day be off only as their neighbours are: what begins or ends there cuts them short.

    >>> _whole_days(np.array([1, 1, 0, -9, 0]), np.array([1, 1, 1, 0, 0], np.bool_))
    array([1, 1, 0, 0, 0])
    """
    seen = np.flatnonzero(has_bars | (hours != 0))
    if len(seen) < 2:
        return hours
    ends = seen[[0, -1]]
    out = hours.copy()
    out[ends] = np.where(hours[ends] == hours[seen[[1, -2]]], hours[ends], 0)
    return out


def _bridged(hours: I64, is_doubtful: Bool) -> I64:
    """Let a doubtful day between two that are off by the same be off too.

    >>> _bridged(np.array([1, 0, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 0, 1], np.bool_))
    array([1, 1, 1, 0, 1, 0])
    """
    said = np.flatnonzero((hours != 0) | ~is_doubtful)
    if not len(said):
        return hours
    before = said[(np.searchsorted(said, np.arange(len(hours)), side="right") - 1).clip(min=0)]
    after = said[np.searchsorted(said, np.arange(len(hours))).clip(max=len(said) - 1)]
    at = np.arange(len(hours))
    is_between = (at > said[0]) & (at < said[-1]) & (hours[before] == hours[after])
    return np.where(is_between, hours[before], hours)


def _between(ts: I64, total: F64, start: I64, end: I64) -> F64:
    """Give the sum over the bars of each half-open span, 0 where it is empty."""
    out: F64 = total[np.searchsorted(ts, np.maximum(end, start))] - total[np.searchsorted(ts, start)]
    return out


def _joined(hours: I64, spans: TradingDays) -> Slips:
    """Join spans in a row that are off by the same."""
    first = np.flatnonzero(np.diff(hours, prepend=0) != 0)
    last = np.append(first[1:], len(hours)) - 1
    off = hours[first] != 0
    first, last = first[off], last[off]
    return Slips(spans.start_ns[first], spans.end_ns[last], hours[first], last - first + 1)
