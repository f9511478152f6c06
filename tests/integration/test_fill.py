"""A hole in the stream is filled by history: bars and anomalies are those of a calm run, or the hole is seen."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.ingest import mending
from ray_apps.ingest.plan import HistoryPlan, WarmPlan
from ray_apps.ingest.tiers import Tier, entitlement
from ray_apps.local.postgres import LocalPostgres
from ray_apps.shards.messages import Peaks
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.server import simulator
from ray_apps.store.migrate import migrate
from tests.support.eventually import eventually
from tests.support.live import Live, PlainShards, live, patience, plans  # noqa: F401 fixture
from tests.support.postgres import TEMPLATE, _create, query

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300), pytest.mark.usefixtures("patience")]
STOCKS = AssetClass.STOCKS
START = 1_789_741_910 * NS_PER_S  # 2026-09-18 10:31:50 New York
MINUTE = 60 * NS_PER_S
STILL_OPEN = "SELECT 1 FROM gaps WHERE NOT is_filled"
MINUTES = 36
CONFIG = SimulatorConfig(0, 0, symbols=30, assets=(STOCKS,), speed=240, start_ns=START, per_day=600, hold=True)
WARM = WarmPlan(CONFIG.symbols, CONFIG.seed, CONFIG.per_day, 2, START)
LOUD = DetectionConfig(budget=2.0)  # noise enough to see many


@dataclass
class Scene:
    """A running feed beside the simulator it reads, steered over the simulator's HTTP."""

    running: Live
    rest: str

    async def post(self, path: str, **body: object) -> None:
        async with httpx.AsyncClient(timeout=10) as client:  # one a call: the server ends idle connections
            (await client.post(f"{self.rest}/admin/{path}", json=body)).raise_for_status()

    async def outage(self, market_s: float) -> None:
        """Lose the connection and let none come up for so many seconds of the market."""
        await self.post("faults", drop_after="connected")
        await self.post("drop", mode="abort")
        await asyncio.sleep(market_s / CONFIG.speed)
        await self.post("faults", drop_after="")

    async def closed(self, minutes: int) -> None:
        await self.running.closed(START + minutes * MINUTE)

    async def stored(self, minutes: int) -> None:
        await self.running.stored(START + minutes * MINUTE)


Act = Callable[[Scene], Awaitable[None]]


def history(rest: str, dsn: str) -> HistoryPlan:
    return HistoryPlan(
        STOCKS, rest, "sim-advanced", dsn, entitlement(STOCKS, Tier.ADVANCED), tries=12, backoff_base_s=0.02,
        backoff_cap_s=0.1,
    )  # fmt: skip


def system(
    where: Mapping[str, object], dsn: str, folder: Path, holder: str = "one"
) -> AbstractAsyncContextManager[Live]:
    """Hold the system that reads a simulator, with its history."""
    past = history(str(where["rest"]), dsn)
    plan, shards = plans(STOCKS, str(where["ws"]), dsn, folder, warm=WARM, detection=LOUD, history=past, holder=holder)
    return live(plan, shards)


def watch(dsn: str, folder: Path, act: Act | None = None) -> None:
    """Watch `MINUTES` of the tape; `act` is done to the running system after a third of them."""

    async def run() -> None:
        async with simulator(CONFIG) as where, system(where, dsn, folder) as running:
            scene = Scene(running, str(where["rest"]))
            await scene.closed(MINUTES // 3)
            if act is not None:
                await act(scene)
            await scene.stored(MINUTES)

    asyncio.run(run())


def bars(dsn: str) -> list[tuple[object, ...]]:
    return query(
        dsn,
        "SELECT s.symbol, b.ts, b.open, b.high, b.low, b.close, b.volume, b.trades FROM bars b "
        "JOIN series s ON s.id = b.series_id WHERE b.ts <= to_timestamp(%s) ORDER BY 1, 2",
        (START + (MINUTES - 3) * MINUTE) / NS_PER_S,
    )


def found(dsn: str) -> dict[str, tuple[object, ...]]:
    """Give what was called up to the last minute all runs have seen."""
    rows = query(
        dsn, "SELECT id, kind, score, rate, symbol FROM anomalies WHERE available_at <= to_timestamp(%s)",
        (START + (MINUTES - 2) * MINUTE) / NS_PER_S,
    )  # fmt: skip
    return {str(r[0]): r[1:] for r in rows}


@pytest.fixture(scope="module")
def calm(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the database of a run to which nothing happened."""
    dsn = postgres_server.dsn_of(_create(postgres_server, "calm_fill", TEMPLATE))
    watch(dsn, tmp_path_factory.mktemp("calm"))
    assert len(found(dsn)) >= 20
    return dsn


async def short(scene: Scene) -> None:
    await scene.outage(5)


async def five_minutes(scene: Scene) -> None:
    await scene.outage(300)


async def again_while_filling(scene: Scene) -> None:
    await scene.post("faults", rest_latency_s=0.05)
    for _ in range(3):
        await scene.outage(120)
        await asyncio.sleep(0.4)
    await scene.post("faults", rest_latency_s=0.0)


async def rest_failing(scene: Scene) -> None:
    await scene.post("faults", rest_error=503, rest_error_fraction=0.5)
    await scene.outage(240)
    await asyncio.sleep(2.0)
    await scene.post("faults", rest_error=0)


async def late_and_corrected(scene: Scene) -> None:
    """Lose the connection while late bars and corrections of windows before it are on their way."""
    await scene.post("faults", late_fraction=0.3, late_s=70, correction_fraction=0.3, correction_s=90)
    await asyncio.sleep(180 / CONFIG.speed)
    await scene.outage(120)


def test_what_was_late_or_wrong_when_the_connection_went_is_as_in_a_calm_run(
    calm: str, blank_dsn: str, tmp_path: Path
) -> None:
    migrate(blank_dsn)
    watch(blank_dsn, tmp_path, late_and_corrected)
    # trades apart: the stream's are worked out from the average size
    assert [b[:-1] for b in bars(blank_dsn)] == [b[:-1] for b in bars(calm)]


async def rest_away(scene: Scene) -> None:
    dsn = scene.running.service.plan.dsn
    await scene.post("faults", rest_error=400)
    await scene.outage(240)
    await eventually(lambda: query(dsn, STILL_OPEN), 30)
    await scene.post("faults", rest_error=0)
    await eventually(lambda: not query(dsn, STILL_OPEN), 120)


def test_a_hole_history_could_not_give_is_asked_for_again(
    calm: str, blank_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "AGAIN_S", 0.2)
    migrate(blank_dsn)
    watch(blank_dsn, tmp_path, rest_away)
    assert [b[:-1] for b in bars(blank_dsn)] == [b[:-1] for b in bars(calm)]
    gaps = query(blank_dsn, "SELECT reason, is_filled, blind_s > 0 FROM gaps WHERE reason <> 'restart' ORDER BY 1")
    assert gaps == [("reconnect", True, True), ("reconnect, not all given", True, False)]


def test_a_hole_that_was_open_when_the_system_ended_is_asked_for_again(
    calm: str, blank_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hole is older than what any restart asks for."""
    monkeypatch.setattr(mending, "AGAIN_S", 0.2)
    migrate(blank_dsn)

    async def run() -> None:
        async with simulator(CONFIG) as where:
            rest = str(where["rest"])
            async with system(where, blank_dsn, tmp_path, "one") as first:
                scene = Scene(first, rest)
                await scene.closed(3)
                await scene.post("faults", rest_error=400)
                await scene.outage(240)
                await eventually(lambda: query(blank_dsn, STILL_OPEN), 30)
                await scene.closed(32)
                assert query(blank_dsn, STILL_OPEN)
            await scene.post("faults", rest_error=0)
            async with system(where, blank_dsn, tmp_path, "two") as second:
                await Scene(second, rest).stored(MINUTES)
                await eventually(lambda: not query(blank_dsn, STILL_OPEN), 30)

    asyncio.run(run())
    assert [b[:-1] for b in bars(blank_dsn)] == [b[:-1] for b in bars(calm)]


@pytest.mark.parametrize("act", [short, five_minutes, again_while_filling, rest_failing])
def test_after_the_fill_all_is_as_if_nothing_had_happened(calm: str, blank_dsn: str, tmp_path: Path, act: Act) -> None:
    migrate(blank_dsn)
    watch(blank_dsn, tmp_path, act)
    assert bars(blank_dsn) == bars(calm)
    assert found(blank_dsn) == found(calm)
    gaps = query(blank_dsn, "SELECT reason, is_filled, n_bars, blind_s > 0 FROM gaps WHERE reason <> 'restart'")
    assert gaps
    assert all(is_filled for _, is_filled, _, _ in gaps)
    assert all(is_blind for _, _, _, is_blind in gaps)
    if act is not short:
        assert sum(int(str(n)) for _, _, n, _ in gaps) > 30
        late = query(blank_dsn, "SELECT min(a.available_at) > min(g.from_ts), max(a.available_at) <= max(g.to_ts) "
                                "FROM anomalies a, gaps g WHERE a.is_late AND g.is_filled")  # fmt: skip
        assert late == [(True, True)]


def test_where_history_gives_nothing_the_hole_stays_visible(calm: str, blank_dsn: str, tmp_path: Path) -> None:
    async def refused(scene: Scene) -> None:
        await scene.post("faults", rest_error=400)
        await scene.outage(300)
        await asyncio.sleep(1.0)

    migrate(blank_dsn)
    watch(blank_dsn, tmp_path, refused)
    ((from_ts, to_ts, n_bars),) = query(
        blank_dsn, "SELECT from_ts, to_ts, n_bars FROM gaps WHERE reason = 'reconnect, not all given' AND NOT is_filled"
    )
    assert n_bars == 0
    inside = query(blank_dsn, "SELECT count(*) FROM bars WHERE ts >= %s AND ts < %s", from_ts, to_ts)
    assert inside == [(0,)]
    assert len(bars(blank_dsn)) < len(bars(calm))


def test_a_feed_that_dies_is_followed_by_one_that_fills(
    calm: str, postgres_server: LocalPostgres, tmp_path: Path
) -> None:
    dsn = postgres_server.dsn_of(_create(postgres_server, "killed_fill", TEMPLATE))

    async def run() -> None:
        async with simulator(CONFIG) as where:
            rest = str(where["rest"])
            async with system(where, dsn, tmp_path, "one") as first:
                await Scene(first, rest).closed(MINUTES // 3)
                await eventually(lambda: query(dsn, "SELECT 1 FROM bars WHERE in_state LIMIT 1"), 60)
                async with asyncio.timeout(30):
                    while not (first.service.watch and first.service.watch.router.n_bars):  # noqa: ASYNC110 an instant
                        await asyncio.sleep(0)
                first.task.cancel()  # dies with what it had received and not stored
                with pytest.raises(asyncio.CancelledError):
                    await first.task
            query(dsn, "UPDATE leases SET expires_at = now()")
            async with system(where, dsn, tmp_path, "two") as second:
                await Scene(second, rest).stored(MINUTES)

    asyncio.run(run())
    assert bars(dsn) == bars(calm)
    assert found(dsn) == found(calm)
    assert query(dsn, "SELECT is_filled FROM gaps WHERE reason = 'restart'") == [(True,)]


def stumble(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the shards' second part of history fail once, after some minutes of the market."""
    plain, told = PlainShards.warm, []

    async def warm(self: PlainShards, shard: int, *history: Any) -> Peaks:
        told.append(shard)
        if len(told) == 2:
            await asyncio.sleep(300 / CONFIG.speed)
            raise error
        return await plain(self, shard, *history)

    monkeypatch.setattr(PlainShards, "warm", warm)


def test_bars_wait_while_a_start_that_took_too_long_is_made_again(
    calm: str, blank_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumble(monkeypatch, TimeoutError("expected an answer, was none"))
    migrate(blank_dsn)
    watch(blank_dsn, tmp_path)
    assert bars(blank_dsn) == bars(calm)
    assert found(blank_dsn) == found(calm)
    assert query(blank_dsn, "SELECT reason FROM gaps") == []


def test_what_a_first_start_that_failed_had_received_is_a_hole_that_is_filled(
    calm: str, blank_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumble(monkeypatch, ValueError("expected a shard, was none"))
    migrate(blank_dsn)

    async def run() -> None:
        async with simulator(CONFIG) as where:
            with pytest.raises(ExceptionGroup):
                async with system(where, blank_dsn, tmp_path, "one") as first:
                    await asyncio.wait_for(first.task, 60)
            assert not query(blank_dsn, "SELECT 1 FROM bars LIMIT 1")
            async with system(where, blank_dsn, tmp_path, "two") as second:
                await Scene(second, str(where["rest"])).stored(MINUTES)

    asyncio.run(run())
    assert bars(blank_dsn) == bars(calm)
    assert found(blank_dsn) == found(calm)
    assert query(blank_dsn, "SELECT reason, is_filled, n_bars > 30 FROM gaps") == [("restart", True, True)]


NIGHT = SimulatorConfig(
    0, 0, symbols=30, assets=(STOCKS,), speed=240, hold=True,
    start_ns=1_789_774_910 * NS_PER_S,  # 2026-09-18 19:41:50 New York, a Friday
)  # fmt: skip
MONDAY_MS = 1_789_977_000_000  # 2026-09-21 03:50 New York


def over_the_night(dsn: str, folder: Path, *, is_cut: bool) -> list[tuple[object, ...]]:
    """Watch a Friday's last minutes and a Monday's first; give the bars."""
    warm = WarmPlan(NIGHT.symbols, NIGHT.seed, 0, 2, NIGHT.start_ns or 0)

    async def run() -> None:
        async with simulator(NIGHT) as where:
            rest = str(where["rest"])
            plan, shards = plans(STOCKS, str(where["ws"]), dsn, folder, warm=warm, history=history(rest, dsn))
            plan = replace(plan, feed=replace(plan.feed, future_s=math.inf))  # the market's clock jumps
            async with live(plan, shards) as running:
                scene = Scene(running, rest)

                def newest() -> int:
                    watch = running.service.watch
                    return watch.stream.newest_end_ns if watch else 0

                friday_end = 1_789_776_000 * NS_PER_S  # 20:00 New York
                await eventually(lambda: newest() > friday_end - 12 * MINUTE, 60)
                if is_cut:
                    await scene.post("faults", drop_after="connected")
                    await scene.post("drop", mode="abort")
                await asyncio.sleep(20 * 60 / NIGHT.speed)
                await scene.post("clock", now_ms=MONDAY_MS)
                await asyncio.sleep(25 * 60 / NIGHT.speed)
                await scene.post("faults", drop_after="")
                await eventually(lambda: newest() > MONDAY_MS * NS_PER_MS + 50 * MINUTE, 90)

    asyncio.run(run())
    return query(
        dsn,
        "SELECT s.symbol, b.ts, b.close, b.volume, b.trades FROM bars b JOIN series s ON s.id = b.series_id "
        "WHERE b.ts <= to_timestamp(%s) ORDER BY 1, 2",
        MONDAY_MS / 1000 + 45 * 60,
    )


def test_a_hole_over_a_weekend_is_filled(postgres_server: LocalPostgres, tmp_path: Path) -> None:
    whole, cut = (
        postgres_server.dsn_of(_create(postgres_server, name, TEMPLATE)) for name in ("whole_night", "cut_night")
    )
    expected = over_the_night(whole, tmp_path / "whole", is_cut=False)
    assert len({ts for _, ts, *_ in expected}) > 30
    assert over_the_night(cut, tmp_path / "cut", is_cut=True) == expected
