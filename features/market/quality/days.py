"""Tell when a class trades, a row a day, and which windows its bars should fill."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.market.calendar import DAY_S, Sessions, ny_day, ny_offset_s
from features.market.types import I64, NS_PER_S, AssetClass

DAY_NS = DAY_S * NS_PER_S
HOUR_NS = 3_600 * NS_PER_S
BUCKET_S = 1_800
"""Times of day are told apart by the half hour: New York's session opens and closes on one."""
BUCKETS = DAY_S // BUCKET_S

# Opening on the evening before and closing time of a trading day, New York seconds of day; the weeks of
# `features.market.calendar.is_trading` cut into days.
_EVENINGS = {AssetClass.FOREX: (17 * 3_600, 17 * 3_600), AssetClass.FUTURES: (18 * 3_600, 17 * 3_600)}
_CLOSED = ("12-25", "01-01")
"""Days on which neither forex nor futures trade; the exchanges' other holidays are not known here."""


@dataclass(frozen=True, slots=True)
class TradingDays:
    """The spans in which a class should print, in time order; days may touch.

    Attributes
    ----------
    asset_class
        Whose days they are.
    day
        [D] int64, the date each counts as, days since 1970.
    start_ns, end_ns
        [D] int64, first instant of the day's trading and first instant after it, UTC ns.
    """

    asset_class: AssetClass
    day: I64
    start_ns: I64
    end_ns: I64

    def __post_init__(self) -> None:
        if not len(self.day) == len(self.start_ns) == len(self.end_ns):
            raise ValueError(f"expected {len(self.day)} starts and ends, was {len(self.start_ns)}, {len(self.end_ns)}")
        edges = np.stack([self.start_ns, self.end_ns], axis=1).ravel()
        if np.any(np.diff(edges) < 0):
            raise ValueError("expected every day to start after the one before ended, was out of order")

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: slice | NDArray[np.intp]) -> "TradingDays":
        """Give the given days."""
        return TradingDays(self.asset_class, self.day[rows], self.start_ns[rows], self.end_ns[rows])

    def within(self, from_ns: int, to_ns: int) -> "TradingDays":
        """Give the days that meet a half-open span, cut to it."""
        rows = np.flatnonzero((self.start_ns < to_ns) & (self.end_ns > from_ns))
        met = self.take(rows)
        return TradingDays(met.asset_class, met.day, np.maximum(met.start_ns, from_ns), np.minimum(met.end_ns, to_ns))

    def row_of(self, ts_ns: I64) -> I64:
        """Give the row of the day whose trading holds each instant, -1 where none does."""
        if not len(self):
            return np.full(len(ts_ns), -1, np.int64)
        row = np.searchsorted(self.start_ns, ts_ns, side="right") - 1
        return np.where((row >= 0) & (ts_ns < self.end_ns[row.clip(min=0)]), row, -1)

    def merged(self) -> "TradingDays":
        """Join days that touch: a week of forex is one span, and so is all of crypto.

        >>> days = TradingDays(AssetClass.CRYPTO, np.arange(3), np.array([0, 5, 11]), np.array([5, 9, 15]))
        >>> days.merged().start_ns, days.merged().end_ns
        (array([ 0, 11]), array([ 9, 15]))
        """
        first = np.ones(len(self), np.bool_)
        first[1:] = self.start_ns[1:] > self.end_ns[:-1]
        last = np.append(first[1:], True)[: len(self)]
        return TradingDays(self.asset_class, self.day[first], self.start_ns[first], self.end_ns[last])


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows in which a series that never rests has bars, oldest first.

    Attributes
    ----------
    ts
        [E] int64, window starts, UTC ns.
    row
        [E] int64, the row of `TradingDays` each falls into.
    bucket
        [E] int64, its half hour of the local day, 0 to 47.
    """

    ts: I64
    row: I64
    bucket: I64

    def __len__(self) -> int:
        return len(self.ts)

    def within(self, from_ns: int, to_ns: int) -> "Windows":
        """Give the windows that start in a half-open span."""
        part = slice(*np.searchsorted(self.ts, [from_ns, to_ns]).tolist())
        return Windows(self.ts[part], self.row[part], self.bucket[part])


def trading_days(asset_class: AssetClass, sessions: Sessions, from_ns: int, to_ns: int) -> TradingDays:
    """Give the days that meet a half-open span, whole: sessions, UTC days of crypto, New York's days of the others.

    >>> friday = 1_789_738_200 * NS_PER_S  # 2026-09-18 09:30 New York
    >>> none = Sessions(np.empty(0, np.int64), np.empty(0, np.int64))
    >>> days = trading_days(AssetClass.FOREX, none, friday, friday + 4 * DAY_NS)
    >>> days.day - days.day[0], (days.start_ns - friday) / HOUR_NS
    (array([0, 3, 4]), array([-16.5,  55.5,  79.5]))
    """
    if asset_class in _EVENINGS:
        day = _weekdays(from_ns, to_ns)
        day = day[~_is_closed(day)]
        start, end = _evenings(asset_class, day)
    elif asset_class.has_sessions:
        start, end = sessions.open_ns, sessions.close_ns
        day = ny_day(start)
    else:
        day = np.arange(from_ns // DAY_NS, -(-to_ns // DAY_NS))
        start, end = day * DAY_NS, (day + 1) * DAY_NS
    meets = (start < to_ns) & (end > from_ns)
    return TradingDays(asset_class, day[meets], start[meets], end[meets])


def widest_days(asset_class: AssetClass, sessions: Sessions, from_ns: int, to_ns: int) -> TradingDays:
    """Give the parts of a half-open span in which anything of a class may print: bounds, where `trading_days` expects.

    Stocks print in extended hours; of options and indices some in every hour of a session's date; forex and futures
    on holidays too. Outside nothing does. `sessions` hold those of the span's dates, New York's.

    >>> opens = np.array([1_789_738_200]) * NS_PER_S  # 2026-09-18 09:30 New York
    >>> sessions = Sessions(opens, opens + 6 * HOUR_NS + HOUR_NS // 2)
    >>> days = widest_days(AssetClass.STOCKS, sessions, 0, 2 * opens[0])
    >>> int(days.start_ns[0] - opens[0]) / HOUR_NS, int(days.end_ns[0] - opens[0]) / HOUR_NS
    (-5.5, 10.5)
    """
    if asset_class in _EVENINGS:
        day = _weekdays(from_ns, to_ns)
        start, end = _evenings(asset_class, day)
    elif asset_class is AssetClass.STOCKS:
        wide = sessions.extended()
        start, end, day = wide.open_ns, wide.close_ns, ny_day(sessions.open_ns)
    elif asset_class.has_sessions:
        day = ny_day(sessions.open_ns)
        start, end = _ny_instant(day, 0), _ny_instant(day + 1, 0)
    else:
        return trading_days(asset_class, sessions, from_ns, to_ns).within(from_ns, to_ns)
    return TradingDays(asset_class, day, start, end).within(from_ns, to_ns)


def windows(days: TradingDays, bar_s: int, phase_ns: int = 0) -> Windows:
    """Give the windows that meet trading, `phase_ns` beyond whole multiples of the bar length since 1970.

    An hour that trades only from its half on counts, as its bar is there; so does the day of a daily bar.
    """
    first, count = _counts(days, bar_s, phase_ns)
    row = np.repeat(np.arange(len(days)), count)
    nth = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    ts = first[row] + nth * (bar_s * NS_PER_S)
    if bar_s * NS_PER_S > HOUR_NS:  # neighbouring days may share a window
        ts, at = np.unique(ts, return_index=True)
        row = row[at]
    return Windows(ts, row, buckets(days.asset_class, ts))


def count_windows(days: TradingDays, bar_s: int, phase_ns: int = 0) -> I64:
    """Give how many windows meet each day, [D], without making them.

    >>> count_windows(TradingDays(AssetClass.CRYPTO, np.arange(1), np.array([0]), np.array([DAY_NS])), 60)
    array([1440])
    """
    if bar_s * NS_PER_S > HOUR_NS:
        return np.bincount(windows(days, bar_s, phase_ns).row, minlength=len(days))
    return _counts(days, bar_s, phase_ns)[1]


def _counts(days: TradingDays, bar_s: int, phase_ns: int) -> tuple[I64, I64]:
    """Give each day's first window and how many there are."""
    step = bar_s * NS_PER_S
    first = (days.start_ns - phase_ns) // step * step + phase_ns
    return first, -(-(days.end_ns - first) // step)


def buckets(asset_class: AssetClass, ts_ns: I64) -> I64:
    """Give the half hour, 0 to 47, of the local day: New York's for classes with sessions, else UTC's.

    >>> buckets(AssetClass.STOCKS, np.array([1_789_738_200 * NS_PER_S])), buckets(AssetClass.CRYPTO, np.array([0]))
    (array([19]), array([0]))
    """
    return seconds_of_day(asset_class, ts_ns) // BUCKET_S


def seconds_of_day(asset_class: AssetClass, ts_ns: I64) -> I64:
    """Give the second of the local day."""
    second = ts_ns // NS_PER_S
    if asset_class.has_sessions and len(second):
        second = second + ny_offset_s(ts_ns)
    return second % DAY_S


def _weekdays(from_ns: int, to_ns: int) -> I64:
    """Give New York's Mondays to Fridays of a span and of a day after it, whose trading may begin within."""
    first, last = (int(d) for d in ny_day(np.array([from_ns, to_ns + DAY_NS])))
    day = np.arange(first, last + 1)
    return day[(day + 3) % 7 < 5]


def _evenings(asset_class: AssetClass, day: I64) -> tuple[I64, I64]:
    """Give the start, on the evening before, and the end of each day's trading."""
    opens, closes = _EVENINGS[asset_class]
    return _ny_instant(day - 1, opens), _ny_instant(day, closes)


def _is_closed(day: I64) -> NDArray[np.bool_]:
    dates = np.datetime_as_string(day.astype("datetime64[D]"))
    return np.array([text[5:] in _CLOSED for text in dates.tolist()], np.bool_)


def _ny_instant(day: I64, second: int) -> I64:
    """Give the instant of an afternoon's second of New York days (clocks change in the night)."""
    local = day * DAY_S + second
    return (local - ny_offset_s((local + 5 * 3_600) * NS_PER_S)) * NS_PER_S
