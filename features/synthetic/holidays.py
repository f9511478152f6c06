"""Tell the US stock market's holidays and half days by rule, since 2020."""

from datetime import date, timedelta
from functools import lru_cache

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6
# Days of mourning no rule gives.
_MOURNING = (date(2025, 1, 9),)


def is_holiday(day: int) -> bool:
    """Say whether a weekday (days since 1970, New York) has no session.

    >>> is_holiday((date(2026, 11, 26) - date(1970, 1, 1)).days)
    True
    """
    return day in _year(date.fromordinal(day + _EPOCH_ORDINAL).year)[0]


def is_half_day(day: int) -> bool:
    """Say whether the session of a day ends at 13:00.

    >>> is_half_day((date(2026, 11, 27) - date(1970, 1, 1)).days)
    True
    """
    return day in _year(date.fromordinal(day + _EPOCH_ORDINAL).year)[1]


@lru_cache(maxsize=64)
def _year(year: int) -> tuple[frozenset[int], frozenset[int]]:
    thanksgiving = _nth(year, 11, _THURSDAY, 4)
    holidays = {
        _nth(year, 1, _MONDAY, 3),
        _nth(year, 2, _MONDAY, 3),
        _easter(year) - timedelta(days=2),
        _nth(year, 6, _MONDAY, 1) - timedelta(days=7),
        _observed(date(year, 7, 4)),
        _nth(year, 9, _MONDAY, 1),
        thanksgiving,
        _observed(date(year, 12, 25)),
        *(day for day in _MOURNING if day.year == year),
    }
    # Memorial Day is May's last Monday: June's first less a week. New Year's on a Saturday is not observed.
    if date(year, 1, 1).weekday() != _SATURDAY:
        holidays.add(_observed(date(year, 1, 1)))
    if year >= 2022:
        holidays.add(_observed(date(year, 6, 19)))
    halves = {thanksgiving + timedelta(days=1), date(year, 12, 24), date(year, 7, 3)}
    halves = {day for day in halves if day.weekday() < _SATURDAY and day not in holidays}
    return frozenset(map(_number, holidays)), frozenset(map(_number, halves))


def _number(day: date) -> int:
    return day.toordinal() - _EPOCH_ORDINAL


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _observed(day: date) -> date:
    if day.weekday() == _SATURDAY:
        return day - timedelta(days=1)
    return day + timedelta(days=1) if day.weekday() == _SUNDAY else day


def _easter(year: int) -> date:
    """Give Easter Sunday (the anonymous Gregorian algorithm, Meeus 1991)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    n = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * n) // 451
    month, day = divmod(h + n - 7 * m + 114, 31)
    return date(year, month, day + 1)
