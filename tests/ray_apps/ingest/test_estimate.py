"""What a backfill takes at most: never less than a market prints, and less with every call that was made."""

import asyncio
from datetime import date

import pytest

from features.market.types import AssetClass
from ray_apps.commands.backfill_screen import _left_of, state
from ray_apps.ingest.backfill import Backfill, Order, Tally
from ray_apps.ingest.estimate import Bounds, calls_left
from ray_apps.ingest.history import History
from ray_apps.ingest.tiers import Tier
from ray_apps.store.backfills import Span
from tests.ray_apps.simulator.client import instant
from tests.support import past
from tests.support.histories import DAY, MINUTE, day_number, histories

MONDAY = date(2026, 9, 14)
FROM = day_number(MONDAY) * DAY
WEEK = Span(FROM, FROM + 7 * DAY)


@pytest.mark.parametrize("asset_class", list(AssetClass))
@pytest.mark.parametrize("first", [MONDAY, date(2025, 12, 22)], ids=["a week", "Christmas"])
def test_no_tape_has_more_bars_than_the_bound(asset_class: AssetClass, first: date) -> None:
    start = day_number(first) * DAY
    found = histories(asset_class, 3, 7, first)
    # a day's rows may reach beyond its UTC midnight
    span = Span(start - DAY, start + 8 * DAY)
    bounds = Bounds(asset_class, 60, span)
    assert max(map(len, found.values())) > 500
    for bars in found.values():
        assert len(bars) <= bounds.bars(span)
        for day in range(start - DAY, start + 8 * DAY, DAY):
            here = bars.take((bars.ts >= day) & (bars.ts < day + DAY))
            assert len(here) <= bounds.bars(Span(day, day + DAY))


def test_the_bounds_are_those_of_the_calendar() -> None:
    stocks = Bounds(AssetClass.STOCKS, 60, WEEK)
    assert [stocks.bars(Span(t, t + DAY)) for t in range(FROM, WEEK.to_ns, DAY)] == [960] * 5 + [0, 0]
    assert stocks.bars(Span(FROM + 8 * 60 * MINUTE, FROM + 8 * 60 * MINUTE + 30 * MINUTE)) == 30
    labor_day = instant("2026-09-07T00:00")
    holiday = Span(labor_day, labor_day + DAY)
    assert Bounds(AssetClass.STOCKS, 60, holiday).bars(holiday) == 0
    assert Bounds(AssetClass.STOCKS, 86_400, WEEK).bars(WEEK) == 5
    assert Bounds(AssetClass.FOREX, 3_600, WEEK).bars(WEEK) == 5 * 24
    assert Bounds(AssetClass.CRYPTO, 1, WEEK).bars(WEEK) == 7 * 86_400


def test_a_full_page_may_be_followed_by_another() -> None:
    whole = Span(FROM, FROM + 50_000 * MINUTE)
    assert Bounds(AssetClass.CRYPTO, 60, whole).calls(whole) == 2
    less = Span(FROM, FROM + 49_999 * MINUTE)
    assert Bounds(AssetClass.CRYPTO, 60, whole).calls(less) == 1
    assert Bounds(AssetClass.CRYPTO, 3_600, whole).calls(Span(FROM, FROM + 49_980 * MINUTE)) == 2


def test_what_is_left_of_a_counted_plan_counts_down() -> None:
    names = [f"C{i:02d}-USD" for i in range(20)]

    async def main() -> list[str]:
        history = History(past.plan("http://127.0.0.1:1", tier=Tier.BASIC))
        try:
            running = Backfill(history, Order(names, 60, WEEK, WEEK.to_ns))
            left, said = _left_of(running), []
            for tally in running.tallies:
                said.append(state(running, left()).split("left ")[1])
                tally.todo_ns = 0 if tally is running.tallies[10] else WEEK.to_ns - WEEK.from_ns
                tally.is_over = True
            return [*said, state(running, left()).split("left ")[1]]
        finally:
            await history.close()

    said = asyncio.run(main())
    assert said[:2] == ["0:04:00", "0:03:48"]  # five a minute
    assert said == sorted(said, reverse=True)
    assert said[-1] == "0:00:00"


def test_of_a_long_span_the_pages_to_come_are_left() -> None:
    half = (WEEK.to_ns - WEEK.from_ns) // 2
    begun, short, todo = Tally("A", todo_ns=2 * half, done_ns=half), Tally("B", todo_ns=half // 8), Tally("C")
    assert calls_left([begun, short, todo, Tally("D", is_over=True)], 8, WEEK) == 4 + 1 + 8
