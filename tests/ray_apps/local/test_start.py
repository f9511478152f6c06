"""Where a synthetic tape starts, and that its history is the same in every run."""

import asyncio
from datetime import date

import pytest

from features.market.types import AssetClass
from ray_apps.local.start import MINUTE_NS, last_session, start_of
from ray_apps.store.backfills import Span
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import migrate
from tests.support.past import walk
from tests.support.postgres import query

pytestmark = pytest.mark.integration
TODAY = date(2026, 11, 24)
FIRST = last_session(TODAY) // MINUTE_NS * MINUTE_NS
DAY_NS = 86_400 * 10**9


def store(dsn: str, from_ns: int, n_minutes: int) -> None:
    async def main() -> None:
        writer = HistoryWriter(dsn, AssetClass.STOCKS)
        bars = walk(1, from_ns, n_minutes, missing=0)
        await writer.write([Stretch("A", 60, Span(from_ns, from_ns + n_minutes * MINUTE_NS), bars)], 2**62)
        await writer.close()

    asyncio.run(main())


def watch(dsn: str, end_ns: int) -> None:
    """Leave what a window leaves that was closed live."""
    query(dsn, "INSERT INTO contexts VALUES ('stocks', 60, to_timestamp(%s), '')", end_ns / 10**9)


def test_the_burst_of_the_first_run_is_in_the_history_of_each(blank_dsn: str) -> None:
    migrate(blank_dsn)
    first = asyncio.run(start_of(blank_dsn, TODAY))
    assert (first.is_first, first.ns, first.burst_ns) == (True, last_session(TODAY), FIRST + MINUTE_NS)
    store(blank_dsn, FIRST, 20)
    for k in range(1, 21):
        watch(blank_dsn, FIRST + k * MINUTE_NS)
    again = asyncio.run(start_of(blank_dsn, date(2027, 1, 5)))
    assert (again.is_first, again.ns, again.first_ns) == (False, FIRST + 20 * MINUTE_NS, FIRST)
    assert again.burst_iso == first.burst_iso == "2026-11-23T15:32:00Z"
    store(blank_dsn, FIRST - 3 * DAY_NS, 5)  # a backfill moves the oldest bar, not the start
    assert asyncio.run(start_of(blank_dsn)).burst_ns == first.burst_ns


def test_what_begins_otherwise_has_no_burst(blank_dsn: str) -> None:
    migrate(blank_dsn)
    store(blank_dsn, FIRST, 20)
    assert asyncio.run(start_of(blank_dsn)).burst_iso is None  # nobody watched it
    watch(blank_dsn, FIRST + 2 * MINUTE_NS)
    assert asyncio.run(start_of(blank_dsn)).burst_ns is None
