"""What is lost, doubled or changed when a part of the path dies: nothing (ARCHITECTURE, property 8)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.block import align
from features.decisions.anomalies import anomaly_id
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, SlotTable
from ray_apps.ingest import warm
from ray_apps.ingest.plan import WarmPlan
from ray_apps.local.postgres import LocalPostgres
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.server import simulator
from tests.support.eventually import eventually
from tests.support.live import Live, live, patience, plans  # noqa: F401 fixture
from tests.support.postgres import TEMPLATE, _create, query

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300), pytest.mark.usefixtures("patience")]
START = 1_789_741_910 * NS_PER_S  # 2026-09-18 10:31:50 New York
MINUTE = 60 * NS_PER_S
MINUTES = 45
CONFIG = SimulatorConfig(
    0, 0, symbols=30, assets=(AssetClass.STOCKS,), speed=240, start_ns=START, per_day=1_500, hold=True
)
WARM = WarmPlan(CONFIG.symbols, CONFIG.seed, CONFIG.per_day, 2, START)
Act = Callable[[Live], Awaitable[None]]


async def watch(dsn: str, folder: Path, act: Act | None = None, n_shards: int = 1) -> None:
    """Watch `MINUTES` of the tape; `act` is done to the running system after a third of them."""
    async with simulator(CONFIG) as where:
        plan, shards = plans(AssetClass.STOCKS, str(where["ws"]), dsn, folder, warm=WARM, n_shards=n_shards)
        async with live(plan, shards) as running:
            await running.closed(START + MINUTES // 3 * MINUTE)
            if act is not None:
                await act(running)
            await running.stored(START + MINUTES * MINUTE)


def found(dsn: str) -> dict[str, tuple[str, float, float | None, str | None]]:
    """Give what was called up to the last minute all runs have seen: id -> kind, score, rate, symbol."""
    rows = query(
        dsn,
        "SELECT id, kind, score, rate, symbol FROM anomalies WHERE available_at <= to_timestamp(%s) ORDER BY id",
        (START + (MINUTES - 2) * MINUTE) / NS_PER_S,
    )
    return {str(r[0]): (str(r[1]), float(str(r[2])), r[3], str(r[4])) for r in rows}  # type: ignore[misc]


def bars(dsn: str) -> list[tuple[object, ...]]:
    return query(
        dsn,
        "SELECT s.symbol, b.ts, b.close, b.volume, b.trades FROM bars b JOIN series s ON s.id = b.series_id "
        "WHERE b.ts <= to_timestamp(%s) ORDER BY 1, 2",
        (START + (MINUTES - 3) * MINUTE) / NS_PER_S,
    )  # fmt: skip


@pytest.fixture(scope="module")
def calm(postgres_server: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the database of a run to which nothing happened."""
    dsn = postgres_server.dsn_of(_create(postgres_server, "calm", TEMPLATE))
    asyncio.run(watch(dsn, tmp_path_factory.mktemp("calm")))
    assert len(found(dsn)) >= 5
    return dsn


def test_a_calm_run_replayed_gives_the_same_anomalies(calm: str) -> None:
    table = SlotTable(AssetClass.STOCKS)
    engine = Engine(table, 60, "trades", DetectionConfig())
    for block in warm.blocks(WARM, AssetClass.STOCKS, table):
        for _ in engine.fold(block):
            pass
    columns = []
    for slot in range(len(table)):
        rows = query(
            calm,
            "SELECT extract(epoch FROM b.ts)::bigint, b.open, b.high, b.low, b.close, b.volume, b.trades FROM bars b "
            "JOIN series s ON s.id = b.series_id WHERE s.symbol = %s ORDER BY b.ts",
            table[slot].symbol,
        )
        values = np.array(rows, dtype=np.float64).reshape(-1, 7)
        names = "ohlcvn"
        columns.append(
            {n: values[:, i + 1] for i, n in enumerate(names)} | {"t": values[:, 0].astype(np.int64) * NS_PER_S}
        )
    replayed = {}
    for decided in engine.fold(align(list(range(len(table))), columns, 60)):
        a = decided.anomalies
        for i in range(len(a)):
            replayed[anomaly_id(table[int(a.slot[i])], int(a.ts[i]))] = (KINDS[a.kind[i]], float(a.score[i]))
    live_found = {k: v[:2] for k, v in found(calm).items()}
    assert live_found == {k: v for k, v in replayed.items() if k in live_found}
    late = START + (MINUTES - 2) * MINUTE
    assert {k for k in replayed if k not in live_found} <= ids_after(engine, replayed, late)


def ids_after(engine: Engine, replayed: dict[str, tuple[str, float]], at_ns: int) -> set[str]:
    """Give the replayed ids of bars known after `at_ns`: those the comparison leaves out."""
    names = [engine.table[i] for i in range(len(engine.table))]
    ends = range(at_ns // MINUTE * MINUTE, at_ns + 30 * MINUTE, MINUTE)
    return {anomaly_id(s, ts) for s in names for ts in ends} & set(replayed)


def test_a_killed_shard_changes_nothing(calm: str, dsn: str, tmp_path: Path) -> None:
    async def kill(running: Live) -> None:
        for _ in range(3):
            running.shards.kill(0)
            await asyncio.sleep(0.7)

    asyncio.run(watch(dsn, tmp_path, kill))
    assert bars(dsn) == bars(calm)
    assert found(dsn) == found(calm)


def test_a_database_that_goes_away_costs_nothing(calm: str, postgres_server: LocalPostgres, tmp_path: Path) -> None:
    dsn = postgres_server.dsn_of(_create(postgres_server, "cut", TEMPLATE))

    async def cut(_: Live) -> None:
        for _ in range(3):
            query(
                postgres_server.dsn_of("postgres"),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'",
            )
            await asyncio.sleep(0.5)

    asyncio.run(watch(dsn, tmp_path, cut))
    assert bars(dsn) == bars(calm)
    assert found(dsn) == found(calm)


def test_seven_shards_call_what_one_calls(calm: str, postgres_server: LocalPostgres, tmp_path: Path) -> None:
    dsn = postgres_server.dsn_of(_create(postgres_server, "seven", TEMPLATE))
    asyncio.run(watch(dsn, tmp_path, n_shards=7))
    assert bars(dsn) == bars(calm)
    assert found(dsn) == found(calm)


def test_a_feed_that_dies_is_taken_over_by_the_spare_and_its_hole_is_recorded(
    postgres_server: LocalPostgres, tmp_path: Path
) -> None:
    dsn = postgres_server.dsn_of(_create(postgres_server, "spare", TEMPLATE))

    async def run() -> None:
        async with simulator(replace(CONFIG, speed=60)) as where:
            ws = str(where["ws"])
            plan, shards = plans(AssetClass.STOCKS, ws, dsn, tmp_path, warm=WARM, holder="one")
            other, same = plans(AssetClass.STOCKS, ws, dsn, tmp_path, warm=WARM, holder="two")
            async with live(plan, shards) as first:
                await eventually(lambda: first.service.tail.n_bars > 100, 60)
                async with live(other, same) as second:
                    await asyncio.sleep(1.0)
                    assert second.service.status == "spare"
                    first.task.cancel()  # dies without giving the lease back
                    await eventually(lambda: second.service.tail.n_bars > 100, 60)
                    assert second.service._lease.epoch is not None
                    await eventually(lambda: query(dsn, "SELECT count(*) FROM gaps")[0][0], 30)

    asyncio.run(run())
    stored = query(dsn, "SELECT count(*), count(DISTINCT (series_id, ts)) FROM bars")[0]
    assert stored[0] == stored[1]
    gap = query(dsn, "SELECT from_ts, to_ts FROM gaps")[0]
    inside = query(dsn, "SELECT count(*) FROM bars WHERE ts >= %s AND ts < %s", *gap)
    assert inside == [(0,)]
