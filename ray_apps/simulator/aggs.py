"""Answer questions about history: bars of any timespan, paged as the vendor pages them."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from features.market.calendar import ny_offset, ny_offset_s
from features.market.types import I64, NS_PER_MS, NS_PER_S, AssetClass
from features.synthetic.hours import MINUTE_NS, NEW_YORK
from ray_apps.simulator.clock import clamp
from ray_apps.simulator.sources import DAY_NS, Bars, Source, empty, join

TIMESPANS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_UNIT_S = {"second": 1, "minute": 60, "hour": 3_600}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_EPOCH = date(1970, 1, 1)
_FIRST_YEAR, _LAST_YEAR = 1_700, 2_200
"""Windows begin and end between them: their ns fit into 64 bits."""
_LAST_DAY = (date(_LAST_YEAR, 1, 1) - _EPOCH).days
_NEW_YORK_DAYS = (*NEW_YORK, AssetClass.FUTURES)
_HOUR_NS = 3_600 * NS_PER_S
_EARLY_NS = {AssetClass.FUTURES: 6 * _HOUR_NS, AssetClass.INDICES: -_HOUR_NS}
"""A session of futures begins at 17:00 in Chicago of the day before its date, a day of indices at midnight there."""
MAX_LIMIT, DEFAULT_LIMIT = 50_000, 5_000


class BadRequest(ValueError):
    """The request is written wrongly; the text is the vendor's."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question: windows of `multiplier` timespans that start in [from_ns, to_ns]."""

    row: int
    multiplier: int
    timespan: str
    from_ns: int
    to_ns: int
    ascending: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """Bars, how many base bars were read for them, and whether there are more."""

    bars: Bars
    base_count: int
    has_more: bool


def parse_time(text: str, name: str, source: Source, is_end: bool) -> int:
    """Read YYYY-MM-DD (a whole day of the class) or Unix ms; gives UTC ns, of a date's end the last ms.

    What lies beyond the clock's first and last year becomes those: no bar is there.
    """
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            day = (date.fromisoformat(text) - _EPOCH).days
        except ValueError:
            raise BadRequest(_unparsed(name)) from None
        day = clamp(day * DAY_NS) // DAY_NS
        return day_start(source, day + 1) - NS_PER_MS if is_end else day_start(source, day)
    if re.fullmatch(r"-?\d{1,15}", text):
        return clamp(int(text) * NS_PER_MS)
    raise BadRequest(_unparsed(name))


def _unparsed(name: str) -> str:
    return f"Could not parse the time parameter: '{name}'. Use YYYY-MM-DD or Unix MS Timestamps"


def day_start(source: Source, day: int) -> int:
    """Give the start of a day (days since 1970): midnight of its class's zone, of futures the evening before."""
    ns = day * DAY_NS
    if source.asset_class not in _NEW_YORK_DAYS:
        return ns
    # 04:30 UTC is about midnight in New York, and before its clocks change at 06:00 or 07:00 UTC.
    return ns - ny_offset(ns + DAY_NS * 3 // 16) * NS_PER_S - _early(source)


def day_numbers(source: Source, ts: I64) -> I64:
    """Give the day (days since 1970) of each time, in the class's own zone."""
    local = ts + ny_offset_s(ts) * NS_PER_S + _early(source) if source.asset_class in _NEW_YORK_DAYS else ts
    days_: I64 = local // DAY_NS
    return days_


def day_number(source: Source, ts_ns: int) -> int:
    """Give the day of one time."""
    return int(day_numbers(source, np.array([ts_ns]))[0])


def day_close(source: Source, day: int) -> int:
    """Give the time the vendor stamps a finished day with: the session's end, else the day's last millisecond."""
    if source.asset_class not in _NEW_YORK_DAYS:
        return day_start(source, day + 1) - NS_PER_MS
    hour = 17 if source.asset_class is AssetClass.FUTURES else 16
    return day_start(source, day) + _early(source) + hour * _HOUR_NS


def _early(source: Source) -> int:
    """Give how long before midnight in New York a day begins, ns."""
    return _EARLY_NS.get(source.asset_class, 0)


def window_starts(source: Source, ts: I64, multiplier: int, timespan: str) -> I64:
    """Give the start of the window each time falls into."""
    if timespan in _UNIT_S:
        step = multiplier * _UNIT_S[timespan] * NS_PER_S
        starts: I64 = ts // step * step
        return starts
    numbers, inverse = np.unique(day_numbers(source, ts), return_inverse=True)
    firsts = np.array([day_start(source, _first_day(int(n), multiplier, timespan)) for n in numbers], np.int64)
    return firsts[inverse]


def window_start(source: Source, ts_ns: int, multiplier: int, timespan: str) -> int:
    """Give the start of the window one time falls into."""
    return int(window_starts(source, np.array([ts_ns]), multiplier, timespan)[0])


def _first_day(day: int, multiplier: int, timespan: str) -> int:
    if timespan == "day":
        return day // multiplier * multiplier
    if timespan == "week":
        # Weeks begin on Sunday; 1969-12-28 was one.
        week = (day + 4) // 7
        return week // multiplier * multiplier * 7 - 4
    when = _EPOCH + timedelta(days=day)
    step = _MONTHS[timespan] * multiplier
    return _month_start((when.year * 12 + when.month - 1) // step * step)


def next_window(source: Source, start_ns: int, multiplier: int, timespan: str) -> int:
    """Give the start of the window after the one that starts here."""
    if timespan in _UNIT_S:
        return start_ns + multiplier * _UNIT_S[timespan] * NS_PER_S
    day = day_number(source, start_ns)
    if timespan in ("day", "week"):
        return day_start(source, min(day + multiplier * (7 if timespan == "week" else 1), _LAST_DAY))
    when = _EPOCH + timedelta(days=day)
    month = when.year * 12 + when.month - 1 + _MONTHS[timespan] * multiplier
    return day_start(source, _month_start(month))


def _month_start(month: int) -> int:
    """Give the first day of a month counted from the year 0; one whose ns would not fit becomes one that does."""
    month = min(max(month, _FIRST_YEAR * 12), _LAST_YEAR * 12)
    return (date(month // 12, month % 12 + 1, 1) - _EPOCH).days


async def read(source: Source, query: Query, known_ns: int, partial: bool = False) -> Page:
    """Read a page: at most `limit` base bars, of which those that are over by `known_ns` count.

    With `partial` the running minute counts too, as far as its seconds are over. A window the limit cuts is left
    out and starts the next page. Lets other tasks run between days.
    """
    from_ns = window_start(source, query.from_ns, query.multiplier, query.timespan)
    last = window_start(source, query.to_ns, query.multiplier, query.timespan)
    to_ns = next_window(source, last, query.multiplier, query.timespan)
    parts: list[Bars] = []
    count = 0
    running = _running(source, query, from_ns, to_ns, known_ns) if partial else empty()
    async for piece in _base(source, query, from_ns, min(to_ns, known_ns), running):
        parts.append(piece)
        count += len(piece)
        if count > query.limit:
            break
    base = join(parts if query.ascending else parts[::-1])
    has_more = count > query.limit
    if has_more:
        base = base.take(slice(0, query.limit) if query.ascending else slice(count - query.limit, None))
    starts = window_starts(source, base.ts, query.multiplier, query.timespan)
    if has_more:
        whole = _whole(starts, query, base)
        base, starts = base.take(whole), starts[whole]
    bars = collapse(base, starts)
    return Page(bars if query.ascending else bars.take(slice(None, None, -1)), len(base), has_more)


def _whole(starts: I64, query: Query, base: Bars) -> NDArray[np.bool_]:
    """Say which base bars belong to windows the limit did not cut; all where there is but one window."""
    cut = starts[-1 if query.ascending else 0]
    whole = starts != cut
    single = query.multiplier == 1 and query.timespan in ("second", "minute", "day")
    return np.ones(len(base), np.bool_) if single or not whole.any() else whole


async def _base(source: Source, query: Query, start_ns: int, end_ns: int, running: Bars) -> AsyncIterator[Bars]:
    """Give the base bars of a query day by day, in its order of days: seconds, minutes or days."""
    shortest, longest = min(source.lengths_s), max(source.lengths_s)
    bar_s = shortest if query.timespan == "second" else longest
    daily = query.timespan not in _UNIT_S
    for a, b in days(source, start_ns, end_ns, reverse=not query.ascending):
        found = source.history(query.row, bar_s, a, b - bar_s * NS_PER_S + 1 if b == end_ns else b)
        if b == end_ns and len(running):
            found = join([found, running])
        if daily and len(found):
            found = _day_bar(source, found)
        if len(found):
            yield found
        await asyncio.sleep(0)


def _running(source: Source, query: Query, start_ns: int, end_ns: int, known_ns: int) -> Bars:
    """Give the minute that is not over yet, made of the seconds that are."""
    minute = known_ns // MINUTE_NS * MINUTE_NS
    if query.timespan == "second" or source.lengths_s != (60, 1) or not start_ns <= minute < min(known_ns, end_ns):
        return empty()
    seconds = source.history(query.row, 1, minute, known_ns - NS_PER_S + 1)
    return collapse(seconds, np.full(len(seconds), minute)) if len(seconds) else seconds


def _day_bar(source: Source, found: Bars) -> Bars:
    """Give a day's bar: volume of all its hours, prices of the regular ones where there are any."""
    whole = collapse(found, window_starts(source, found.ts, 1, "day"))
    inside = found.take(np.array([source.regular(t) for t in found.ts.tolist()], np.bool_))
    if not len(inside):
        return whole
    prices = collapse(inside, window_starts(source, inside.ts, 1, "day"))
    return replace(whole, open=prices.open, high=prices.high, low=prices.low, close=prices.close)


def days(source: Source, start_ns: int, end_ns: int, reverse: bool) -> Iterator[tuple[int, int]]:
    """Cut a span into days of the class, so that long histories can be made bit by bit.

    What lies before the source's first bar is left out.
    """
    start_ns = max(start_ns, source.first_ns)
    if end_ns <= start_ns:
        return
    first, last = day_numbers(source, np.array([start_ns, end_ns - 1])).tolist()
    for day in range(last, first - 1, -1) if reverse else range(first, last + 1):
        yield max(start_ns, day_start(source, day)), min(end_ns, day_start(source, day + 1))


def collapse(base: Bars, starts: I64) -> Bars:
    """Give one bar per window from base bars in order of time."""
    if not len(base) or bool(np.all(np.diff(starts) > 0)):
        return Bars(base.row, starts, base.open, base.high, base.low, base.close, *_activity(base))
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
    last = np.append(first[1:], len(starts)) - 1
    volume = np.add.reduceat(base.volume, first)
    notional = np.add.reduceat(base.vwap * base.volume, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.asarray(np.round(notional / volume, 4), dtype=np.float64)
    high, low = np.maximum.reduceat(base.high, first), np.minimum.reduceat(base.low, first)
    return Bars(
        base.row[first],
        starts[first],
        base.open[first],
        high,
        low,
        base.close[last],
        np.asarray(np.round(volume, 8), dtype=np.float64),
        np.minimum(np.maximum(vwap, low), high),
        np.add.reduceat(base.trades, first),
    )


def _activity(bars: Bars) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return bars.volume, bars.vwap, bars.trades


def cursor(limit: int, ascending: bool) -> str:
    """Encode what a next page must know.

    >>> cursor(2, ascending=True)
    'bGltaXQ9MiZzb3J0PWFzYw'
    """
    text = f"limit={limit}&sort={'asc' if ascending else 'desc'}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> dict[str, str]:
    """Decode a cursor; BadRequest if it is none of ours."""
    if not text:
        return {}
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        return dict(pair.split("=", 1) for pair in plain.split("&"))
    except ValueError:
        raise BadRequest("Could not parse the 'cursor' parameter") from None


def today_start(source: Source, now_ns: int) -> int:
    """Give the start of the class's current day."""
    return day_start(source, day_number(source, now_ns))
