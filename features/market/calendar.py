"""Tell New York time and market sessions with integers alone, so that kernels can.

The US rule since 2007 (Energy Policy Act of 2005): daylight time from the second Sunday of March 02:00 to the
first Sunday of November 02:00, local. Instants before 2007 are outside the rule: some days of their springs
and autumns are an hour wrong.
"""

from dataclasses import dataclass

import numpy as np

from features.jit import kernel
from features.market.types import I64, NS_PER_S, AssetClass, Bool

DAY_S = 86_400
_HOUR_S = 3_600
_MINUTE_S = 60
# Extended hours are 04:00-20:00 New York on a full day (09:30-16:00 regular); an early close keeps the 4 h.
_PRE_MARKET_NS = 5 * _HOUR_S * NS_PER_S + 30 * _MINUTE_S * NS_PER_S
_POST_MARKET_NS = 4 * _HOUR_S * NS_PER_S
_SUNDAY, _FRIDAY, _SATURDAY = 0, 5, 6
_FX_TURN_S = 17 * _HOUR_S  # forex opens Sunday and closes Friday at 17:00 New York
_FUTURES_BREAK_S = (17 * _HOUR_S, 18 * _HOUR_S)  # CME's daily maintenance hour, 16:00-17:00 Chicago


@kernel
def utc_year(ts_ns: int) -> int:
    """Give the year of an instant in UTC (Hinnant 2013, `civil_from_days`).

    >>> utc_year(1_789_738_200_000_000_000)
    2026
    """
    z = ts_ns // (DAY_S * NS_PER_S) + 719_468
    era = z // 146_097
    day_of_era = z - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    starts_in_march = year_of_era + era * 400
    return starts_in_march + 1 if day_of_year >= 306 else starts_in_march  # 306: 1 January counted from 1 March


@kernel
def _march_first(year: int) -> int:
    """Give the day number (days since 1970-01-01) of 1 March."""
    return 365 * year + year // 4 - year // 100 + year // 400 - 719_468


@kernel
def ny_offset(ts_ns: int) -> int:
    """Give New York's offset from UTC at one instant, seconds.

    >>> ny_offset(1_789_738_200_000_000_000)  # September
    -14400
    """
    year = utc_year(ts_ns)
    march = _march_first(year)
    november = march + 245
    # Day 0 of 1970 was a Thursday, so day number + 4 is 0 modulo 7 on Sundays.
    starts = march + (-(march + 4)) % 7 + 7
    ends = november + (-(november + 4)) % 7
    second = ts_ns // NS_PER_S
    if starts * DAY_S + 7 * _HOUR_S <= second < ends * DAY_S + 6 * _HOUR_S:
        return -4 * _HOUR_S
    return -5 * _HOUR_S


@kernel
def ny_seconds(ts_ns: int) -> tuple[int, int]:
    """Give the New York day number (days since 1970-01-01) and the second of that day.

    >>> ny_seconds(1_789_738_200_000_000_000)  # 2026-09-18 09:30
    (20714, 34200)
    """
    local = ts_ns // NS_PER_S + ny_offset(ts_ns)
    return local // DAY_S, local % DAY_S


@kernel
def ny_offset_s(ts_ns: I64) -> I64:
    """Give New York's offset from UTC, seconds, at every instant of ``[N]``."""
    out = np.empty(ts_ns.shape[0], np.int64)
    for i in range(ts_ns.shape[0]):
        out[i] = ny_offset(ts_ns[i])
    return out


def ny_day(ts_ns: I64) -> I64:
    """Give the New York day number of every instant of ``[N]``."""
    local: I64 = ts_ns // NS_PER_S + ny_offset_s(ts_ns)
    return local // DAY_S


def minute_of_day(ts_ns: I64) -> I64:
    """Give the minute of the New York day, 0 to 1,439, of every instant of ``[N]``.

    >>> int(minute_of_day(np.array([1_789_738_200_000_000_000]))[0])  # 09:30
    570
    """
    local: I64 = ts_ns // NS_PER_S + ny_offset_s(ts_ns)
    return local % DAY_S // _MINUTE_S


@dataclass(frozen=True, slots=True)
class Sessions:
    """Regular trading sessions in time order; extended hours follow from them.

    Attributes
    ----------
    open_ns, close_ns
        [D] int64, first instant of the session and first instant after it, UTC ns.

    Examples
    --------
    >>> s = Sessions(np.array([1_789_738_200]) * NS_PER_S, np.array([1_789_761_600]) * NS_PER_S)
    >>> ts = np.array([1_789_738_199, 1_789_738_200, 1_789_761_600, 1_789_800_000]) * NS_PER_S
    >>> s.is_open(ts), s.is_extended(ts)
    (array([False,  True, False, False]), array([ True,  True,  True, False]))
    >>> s.day_index(ts)
    array([ 0,  0,  0, -1])
    """

    open_ns: I64
    close_ns: I64

    def __post_init__(self) -> None:
        if self.open_ns.shape != self.close_ns.shape:
            raise ValueError(f"expected {len(self.open_ns)} closes, was {len(self.close_ns)}")
        edges = np.stack([self.open_ns, self.close_ns], axis=1).ravel()
        if np.any(np.diff(edges) <= 0):
            raise ValueError("expected every session to open after the one before closed, was out of order")

    def __len__(self) -> int:
        return len(self.open_ns)

    def extended(self) -> "Sessions":
        """Give the extended hours of the same days."""
        return Sessions(self.open_ns - _PRE_MARKET_NS, self.close_ns + _POST_MARKET_NS)

    def is_open(self, ts_ns: I64) -> Bool:
        """Say of every instant whether it lies in regular hours."""
        return _inside(ts_ns, self.open_ns, self.close_ns)

    def is_extended(self, ts_ns: I64) -> Bool:
        """Say of every instant whether it lies in extended hours (which hold the regular ones)."""
        return _inside(ts_ns, self.open_ns - _PRE_MARKET_NS, self.close_ns + _POST_MARKET_NS)

    def day_index(self, ts_ns: I64) -> I64:
        """Give the row of the session held on each instant's New York date, -1 where there is none."""
        days = ny_day(self.open_ns)
        wanted = ny_day(ts_ns)
        if not len(days):
            return np.full(len(wanted), -1, np.int64)
        row = np.searchsorted(days, wanted).clip(max=len(days) - 1)
        return np.where(days[row] == wanted, row, -1)


def is_trading(asset_class: AssetClass, sessions: Sessions, ts_ns: int) -> bool:
    """Say whether the class should print at an instant; holidays matter to stocks, options and indices only.

    >>> none = Sessions(np.empty(0, np.int64), np.empty(0, np.int64))
    >>> saturday = 1_789_846_200 * NS_PER_S
    >>> is_trading(AssetClass.CRYPTO, none, saturday), is_trading(AssetClass.FOREX, none, saturday)
    (True, False)
    """
    if asset_class is AssetClass.CRYPTO:
        return True
    if asset_class in (AssetClass.FOREX, AssetClass.FUTURES):
        return _in_week(asset_class, ts_ns)
    instant = np.array([ts_ns], np.int64)
    inside = sessions.is_extended if asset_class is AssetClass.STOCKS else sessions.is_open
    return bool(inside(instant)[0])


def is_regular(asset_class: AssetClass, sessions: Sessions, ts_ns: int) -> bool:
    """Say whether an instant lies in the hours in which most of the class prints: of stocks the regular ones."""
    if asset_class is AssetClass.STOCKS:
        return bool(sessions.is_open(np.array([ts_ns], np.int64))[0])
    return is_trading(asset_class, sessions, ts_ns)


def _in_week(asset_class: AssetClass, ts_ns: int) -> bool:
    """Say whether an instant lies in the trading week of forex or futures."""
    day, second = ny_seconds(ts_ns)
    weekday = (day + 4) % 7
    closes, opens = _FUTURES_BREAK_S if asset_class is AssetClass.FUTURES else (_FX_TURN_S, _FX_TURN_S)
    if weekday == _SATURDAY:
        return False
    if weekday == _SUNDAY:
        return bool(second >= opens)
    if weekday == _FRIDAY:
        return bool(second < closes)
    return bool(second < closes or second >= opens)


def _inside(ts_ns: I64, starts: I64, ends: I64) -> Bool:
    """Say of every instant whether it lies in one of the half-open, ordered spans."""
    if not len(starts):
        return np.zeros(len(ts_ns), np.bool_)
    row = np.searchsorted(starts, ts_ns, side="right") - 1
    inside: Bool = (row >= 0) & (ts_ns < ends[row.clip(min=0)])
    return inside
