"""A plan without a stream: each day's bars come by REST once the day is over, on the path of all bars."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from features.market.bars import BarColumns
from features.market.polygon import Limits
from features.market.pushed import parse_pushed
from features.market.types import NS_PER_S, AssetClass, SlotTable
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.daily import Daily
from ray_apps.ingest.events import EventKind, FatalFeedError, FeedEvent
from ray_apps.ingest.history import History
from ray_apps.ingest.tiers import Tier
from ray_apps.store.migrate import migrate
from tests.ray_apps.simulator.client import instant, running
from tests.support.eventually import eventually
from tests.support.live import live, plans
from tests.support.past import plan, walk, write_folder
from tests.support.postgres import query

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]
DAY = 86_400 * NS_PER_S
TODAY = instant("2026-09-15T00:00")
NAMES = ("BTC-USD", "ETH-USD")


def past(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, BarColumns]:
    """Give three days of bars and half of today's, and write them where the simulator finds them."""
    series = {name: walk(i, TODAY - 3 * DAY, 3 * 1_440 + 720) for i, name in enumerate(names)}
    write_folder(folder, series)
    return series


def stored(dsn: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    sql = "SELECT symbol, ts, close FROM bars JOIN series ON series.id = series_id ORDER BY 1, 2"
    for symbol, ts, close in query(dsn, sql):
        found.setdefault(symbol, []).append((int(ts.timestamp()) * NS_PER_S, close))
    return found


def test_a_first_start_folds_the_days_before_and_yesterday_goes_through_the_feed(
    blank_dsn: str, tmp_path: Path
) -> None:
    """Of the seven days only those that are over are asked for, today's never; a second start brings the next one."""
    migrate(blank_dsn)
    series = past(tmp_path / "past")

    async def main(now_ns: int) -> int:
        async with running(source=str(tmp_path / "past"), start_ns=now_ns) as sim:
            history = plan(sim.rest, blank_dsn, Tier.BASIC)
            base, shards = plans(AssetClass.CRYPTO, "", blank_dsn, tmp_path, history=history)
            feed = FeedConfig(
                AssetClass.CRYPTO, sim.rest, "sim-basic", names=NAMES, speed=float("inf"), too_old_s=float("inf")
            )
            async with live(replace(base, feed=feed), shards) as up:
                await eventually(lambda: up.service.status == "live", 150)
                assert "yesterday" in up.service.push(b"{}").refusal
                assert not up.task.done()
            return up.service.tail.n_bars

    assert asyncio.run(main(TODAY - DAY // 2)) == 0
    query(blank_dsn, "DELETE FROM call_budgets RETURNING 1")  # a minute has passed
    yesterday = sum(int((b.ts >= TODAY - DAY).sum() - (b.ts >= TODAY).sum()) for b in series.values())
    assert asyncio.run(main(TODAY + DAY // 2)) == yesterday
    wanted = {n: [(t, c) for t, c in zip(b.ts.tolist(), b.close.tolist(), strict=True) if t < TODAY]
              for n, b in series.items()}  # fmt: skip
    assert stored(blank_dsn) == wanted
    assert query(blank_dsn, "SELECT * FROM gaps") == []


class Heard:
    """What a daily source gave and told."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.events: list[FeedEvent] = []

    def source(self, history: History, since_ns: int, names: tuple[str, ...] = NAMES) -> Daily:
        async def since() -> int:
            return since_ns

        async def drained(timeout_s: float) -> bool:
            return True

        def take(data: bytes, session: int) -> None:
            self.taken.append(data)

        return Daily(history, names, 60, since, take, drained, self.events.append, poll_s=0.1)


def test_the_days_missed_come_in_order_of_time(blank_dsn: str, tmp_path: Path) -> None:
    migrate(blank_dsn)
    past(tmp_path / "past")
    heard = Heard()

    async def main() -> None:
        async with running(source=str(tmp_path / "past"), start_ns=TODAY + DAY // 2) as sim:
            daily = heard.source(History(plan(sim.rest, blank_dsn, Tier.BASIC)), TODAY - DAY)
            keeping = asyncio.create_task(daily.keep())
            await eventually(lambda: daily.is_connected, 60)
            daily.stop()
            await keeping

    asyncio.run(main())
    table = SlotTable(AssetClass.CRYPTO)
    parsed = [parse_pushed(data, table, 0, 0, Limits()) for data in heard.taken]
    ends = [int(b.ts_end[0]) for p in parsed for b in p.batches]
    assert ends == sorted(ends)
    assert all((b.ts_end == b.ts_end[0]).all() for p in parsed for b in p.batches)
    assert (ends[0], ends[-1]) == (TODAY - DAY + 60 * NS_PER_S, TODAY)
    assert not any(p.errors for p in parsed)
    assert [e.kind for e in heard.events] == [EventKind.SUBSCRIBED]


def test_a_vendor_that_is_away_is_asked_again_and_one_that_refuses_the_key_ends_it(blank_dsn: str) -> None:
    migrate(blank_dsn)
    heard = Heard()

    async def away() -> None:
        made = plan("http://127.0.0.1:1", blank_dsn, Tier.BASIC, tries=1)
        daily = heard.source(History(made), TODAY - DAY)
        keeping = asyncio.create_task(daily.keep())
        await eventually(lambda: len(heard.events) >= 2, 30)
        daily.stop()
        await keeping
        assert {e.kind for e in heard.events} == {EventKind.DISCONNECTED}
        assert not daily.is_connected

    asyncio.run(away())
    heard.events.clear()

    async def refused() -> None:
        async with running() as sim:
            daily = heard.source(History(plan(sim.rest, blank_dsn, Tier.BASIC, api_key="sim-nobody")), TODAY - DAY)
            with pytest.raises(FatalFeedError):
                await daily.keep()

    asyncio.run(refused())
    assert [e.kind for e in heard.events] == [EventKind.FATAL]
