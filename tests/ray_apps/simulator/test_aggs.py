import asyncio
from datetime import datetime

import numpy as np
import pytest

from features.market.types import AssetClass
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.simulator import aggs
from ray_apps.simulator.synthetic import SyntheticSource
from tests.ray_apps.simulator.client import instant

SOURCES = {c: SyntheticSource(InjectedTape(Tape(TapeConfig(c, 2)))) for c in AssetClass}
STOCKS, CRYPTO = SOURCES[AssetClass.STOCKS], SOURCES[AssetClass.CRYPTO]


@pytest.mark.parametrize(
    ("multiplier", "timespan", "at", "start", "following"),
    [
        (5, "minute", "2026-09-15T15:03", "2026-09-15T15:00", "2026-09-15T15:05"),
        (1, "hour", "2026-09-15T15:03", "2026-09-15T15:00", "2026-09-15T16:00"),
        (1, "day", "2026-09-15T15:03", "2026-09-15T04:00", "2026-09-16T04:00"),
        (1, "day", "2026-11-01T15:03", "2026-11-01T04:00", "2026-11-02T05:00"),
        (1, "day", "2026-03-08T15:03", "2026-03-08T05:00", "2026-03-09T04:00"),
        (1, "week", "2026-09-15T15:03", "2026-09-13T04:00", "2026-09-20T04:00"),
        (1, "month", "2026-12-15T15:03", "2026-12-01T05:00", "2027-01-01T05:00"),
        (1, "quarter", "2026-09-15T15:03", "2026-07-01T04:00", "2026-10-01T04:00"),
        (1, "year", "2026-09-15T15:03", "2026-01-01T05:00", "2027-01-01T05:00"),
    ],
)
def test_windows_begin_where_the_vendors_do(
    multiplier: int, timespan: str, at: str, start: str, following: str
) -> None:
    found = int(aggs.window_starts(STOCKS, np.array([instant(at)]), multiplier, timespan)[0])
    assert found == instant(start)
    assert aggs.next_window(STOCKS, found, multiplier, timespan) == instant(following)


@pytest.mark.parametrize("timespan", aggs.TIMESPANS)
def test_the_longest_windows_hold_their_time(timespan: str) -> None:
    at = instant("2026-09-15T15:03")
    start = aggs.window_start(STOCKS, at, 100_000, timespan)
    assert start <= at < aggs.next_window(STOCKS, start, 100_000, timespan)


@pytest.mark.parametrize(
    ("asset_class", "start", "end"),
    [
        (AssetClass.STOCKS, "2026-09-15T04:00", "2026-09-15T20:00"),
        (AssetClass.OPTIONS, "2026-09-15T04:00", "2026-09-15T20:00"),
        (AssetClass.INDICES, "2026-09-15T05:00", "2026-09-15T20:00"),  # midnight in Chicago
        (AssetClass.CRYPTO, "2026-09-15T00:00", "2026-09-15T23:59:59.999"),
        (AssetClass.FOREX, "2026-09-15T00:00", "2026-09-15T23:59:59.999"),
        (AssetClass.FUTURES, "2026-09-14T22:00", "2026-09-15T21:00"),  # 17:00 in Chicago
    ],
)
def test_days_begin_and_end_where_their_class_does(asset_class: AssetClass, start: str, end: str) -> None:
    source = SOURCES[asset_class]
    assert aggs.window_start(source, instant("2026-09-15T15:03"), 1, "day") == instant(start)
    day = aggs.day_number(source, instant("2026-09-15T15:03"))
    assert aggs.day_close(source, day) // 10**6 == round(datetime.fromisoformat(end + "+00:00").timestamp() * 1_000)


def test_a_date_covers_its_whole_day() -> None:
    assert aggs.parse_time("2026-09-15", "from", STOCKS, is_end=False) == instant("2026-09-15T04:00")
    assert aggs.parse_time("2026-09-15", "to", STOCKS, is_end=True) == instant("2026-09-16T04:00") - 10**6
    assert aggs.parse_time("1789484400000", "to", STOCKS, is_end=True) == 1_789_484_400_000 * 10**6


def test_a_window_the_limit_cuts_starts_the_next_page() -> None:
    start, end = instant("2026-09-15T15:00"), instant("2026-09-15T15:29")
    query = aggs.Query(0, 5, "minute", start, end, ascending=True, limit=12)
    page = asyncio.run(aggs.read(CRYPTO, query, known_ns=instant("2026-09-16T00:00")))
    assert page.has_more
    assert page.bars.ts.tolist() == [start, start + 300 * 10**9]
    down = aggs.Query(0, 5, "minute", start, end, ascending=False, limit=12)
    page = asyncio.run(aggs.read(CRYPTO, down, known_ns=instant("2026-09-16T00:00")))
    assert page.bars.ts.tolist() == [start + 1_500 * 10**9, start + 1_200 * 10**9]


@pytest.mark.parametrize("text", ["%", "bm8", "////"])
def test_a_strange_cursor_is_a_bad_request(text: str) -> None:
    with pytest.raises(aggs.BadRequest, match="cursor"):
        aggs.read_cursor(text)
