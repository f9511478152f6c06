"""Say whether markets are open, and which holidays are to come."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from features.market.calendar import ny_offset, ny_seconds
from features.market.types import NS_PER_S, AssetClass
from features.synthetic.holidays import is_half_day, is_holiday
from features.synthetic.hours import is_regular, weekday

_EPOCH = date(1970, 1, 1)
_UPCOMING_DAYS = 365
_EXCHANGES = ("NYSE", "NASDAQ")
# The month says which: no month has two holidays but January, whose second is a Monday in its middle.
_NAMES = {1: "New Years Day", 2: "Washington's Birthday", 3: "Good Friday", 4: "Good Friday", 5: "Memorial Day",
          6: "Juneteenth", 7: "Independence Day", 9: "Labor Day", 11: "Thanksgiving", 12: "Christmas"}  # fmt: skip


def market_status(now_ns: int) -> dict[str, Any]:
    """Say what is open."""
    day, second = ny_seconds(now_ns)
    is_open = is_regular(AssetClass.STOCKS, now_ns)
    is_session_day = weekday(day) < 5 and not is_holiday(day)
    is_early = is_session_day and 4 * 3_600 <= second < 9.5 * 3_600
    # An early close keeps its four hours after it.
    late_until = 17 * 3_600 if is_half_day(day) else 20 * 3_600
    is_late = is_session_day and not is_open and 13 * 3_600 <= second < late_until
    market = "open" if is_open else "extended-hours" if is_early or is_late else "closed"
    zone = timezone(timedelta(seconds=ny_offset(now_ns)))
    indices = "open" if is_open else "closed"
    fx = "open" if is_regular(AssetClass.FOREX, now_ns) else "closed"
    return {
        "market": market,
        "earlyHours": is_early,
        "afterHours": is_late,
        "serverTime": datetime.fromtimestamp(now_ns // NS_PER_S, zone).isoformat(),
        "exchanges": {"nyse": market, "nasdaq": market, "otc": market if is_open else "closed"},
        "currencies": {"crypto": "open", "fx": fx},
        "indicesGroups": {"s_and_p": indices, "nasdaq": indices, "dow_jones": indices},
    }


def class_status(asset_class: AssetClass, now_ns: int) -> str:
    """Say what a class does, in the words of its snapshots.

    >>> class_status(AssetClass.STOCKS, 1_789_738_200 * NS_PER_S), class_status(AssetClass.CRYPTO, 0)
    ('open', 'open')
    """
    found = market_status(now_ns)
    if asset_class is AssetClass.STOCKS and (found["earlyHours"] or found["afterHours"]):
        return "early_trading" if found["earlyHours"] else "late_trading"
    return "open" if is_regular(asset_class, now_ns) else "closed"


def upcoming(now_ns: int) -> list[dict[str, str]]:
    """Give the holidays and half days of a year, one row per exchange."""
    today, _ = ny_seconds(now_ns)
    rows = []
    for day in range(today, today + _UPCOMING_DAYS):
        if weekday(day) >= 5 or not (is_holiday(day) or is_half_day(day)):
            continue
        when = _EPOCH + timedelta(days=day)
        found = {"date": when.isoformat(), "name": _name(when), "status": "closed"}
        if is_half_day(day):
            found |= {"status": "early-close", "open": _at(day, 570), "close": _at(day, 780)}
        # The vendor has no early closes of OTC.
        exchanges = _EXCHANGES if is_half_day(day) else (*_EXCHANGES, "OTC")
        rows += [{"exchange": exchange, **found} for exchange in exchanges]
    return rows


def _name(when: date) -> str:
    return "Martin Luther King, Jr. Day" if when.month == 1 and when.day > 3 else _NAMES[when.month]


def _at(day: int, minute: int) -> str:
    noon_ns = (day * 86_400 + 17 * 3_600) * NS_PER_S
    seconds = day * 86_400 + minute * 60 - ny_offset(noon_ns)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
