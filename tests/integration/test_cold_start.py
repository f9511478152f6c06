"""A start without a checkpoint: the past is fetched and folded, and the market is judged as if it had been watched."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features.block import BarBlock, window_parts
from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_S, AssetClass, SlotTable
from features.stages.context import Contexts
from features.stages.market import Market
from features.stages.market_stream import MarketStream
from features.state import SeriesShape
from ray_apps.actors import ShardActor
from ray_apps.ingest import warm
from ray_apps.ingest.plan import HistoryPlan, WarmPlan
from ray_apps.ingest.prepare import BLOCK_CELLS
from ray_apps.ingest.tiers import Tier, entitlement
from ray_apps.local.postgres import LocalPostgres
from ray_apps.shards.messages import Opened
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.server import simulator
from ray_apps.store.migrate import migrate
from tests.support.live import live, patience, plans  # noqa: F401 fixture
from tests.support.postgres import TEMPLATE, _create, query

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.usefixtures("patience")]
STOCKS = AssetClass.STOCKS
START = 1_790_087_510 * NS_PER_S  # 2026-09-22 10:31:50 New York, a Tuesday: three days before, all is quiet
MINUTE = 60 * NS_PER_S
MINUTES = 25
DAYS = 3
CONFIG = SimulatorConfig(
    0, 0, symbols=30, assets=(STOCKS,), speed=240, start_ns=START, per_day=600, hold=True,
    faults=Faults(rest_latency_s=0.02),
)  # fmt: skip
LOUD = DetectionConfig(budget=2.0)


def watch(dsn: str, folder: Path, *, by_rest: bool, start_ns: int = START) -> None:
    """Watch the tape from its own past, or from what REST gives of it."""

    async def run() -> None:
        async with simulator(replace(CONFIG, start_ns=start_ns)) as where:
            rest = str(where["rest"])
            past = HistoryPlan(STOCKS, rest, "sim-advanced", dsn, entitlement(STOCKS, Tier.ADVANCED))
            own = None if by_rest else WarmPlan(CONFIG.symbols, CONFIG.seed, CONFIG.per_day, DAYS, START)
            plan, shards = plans(STOCKS, str(where["ws"]), dsn, folder, warm=own, detection=LOUD, history=past,
                                 warm_days=DAYS)  # fmt: skip
            async with live(plan, shards) as running:
                await running.stored(start_ns + MINUTES * MINUTE)

    asyncio.run(run())


def found(dsn: str) -> dict[str, tuple[object, ...]]:
    rows = query(
        dsn, "SELECT id, kind, score, rate, symbol FROM anomalies WHERE available_at <= to_timestamp(%s)",
        (START + (MINUTES - 2) * MINUTE) / NS_PER_S,
    )  # fmt: skip
    return {str(r[0]): r[1:] for r in rows}


def test_a_past_by_rest_warms_as_the_tapes_own(postgres_server: LocalPostgres, tmp_path: Path) -> None:
    own, fetched = (postgres_server.dsn_of(_create(postgres_server, n, TEMPLATE)) for n in ("cold_own", "cold_rest"))
    watch(own, tmp_path / "own", by_rest=False)
    watch(fetched, tmp_path / "rest", by_rest=True)
    assert len(found(own)) > 5
    assert found(fetched) == found(own)
    # what was fetched is stored, was never called, and meets the live bars without a gap or a double
    ((n, distinct),) = query(fetched, "SELECT count(*), count(DISTINCT (series_id, ts)) FROM bars")
    assert n == distinct
    assert query(fetched, "SELECT count(*) FROM anomalies WHERE ts < to_timestamp(%s)", START / NS_PER_S - 60) == [(0,)]
    assert query(fetched, "SELECT count(DISTINCT ts::date) = 2 FROM bars") == [(True,)]


def test_stored_bars_warm_a_start_whose_checkpoints_are_lost(postgres_server: LocalPostgres, tmp_path: Path) -> None:
    dsn = postgres_server.dsn_of(_create(postgres_server, "cold_lost", TEMPLATE))
    watch(dsn, tmp_path, by_rest=True)
    before = found(dsn)
    query(dsn, "DELETE FROM checkpoints")
    for blob in tmp_path.glob("*.npz"):
        blob.unlink()
    later = START + 90 * MINUTE
    watch(dsn, tmp_path, by_rest=True, start_ns=later)
    assert before == found(dsn)
    ready = query(
        dsn, "SELECT count(*) FROM anomalies WHERE scores ? 'volatility_spike' AND ts BETWEEN to_timestamp(%s) AND "
        "to_timestamp(%s)", later / NS_PER_S - 60, later / NS_PER_S + 20 * 60,
    )  # fmt: skip
    assert int(str(ready[0][0])) > 0  # the kind that warms longest could be scored at once
    assert query(dsn, "SELECT is_filled FROM gaps WHERE reason = 'restart'") == [(True,)]


def parts_of(plan: WarmPlan) -> list[tuple[BarBlock, Contexts, tuple[Opened, ...]]]:
    """Give a past as a feed sends it to a shard."""
    table, made = SlotTable(STOCKS), []
    stream = MarketStream(Market(SeriesShape(STOCKS, 60, STOCKS.activity), LOUD), table)
    for block in warm.blocks(plan, STOCKS, table):
        opened = tuple(Opened(i, s) for i, s in enumerate(table.since(0)))
        for part, closes in window_parts(block, 60, sessions=True, cells=BLOCK_CELLS):
            made.append((part, stream.warm(part, closes), opened))
    return made


def test_half_a_history_is_forgotten_when_it_is_told_again(blank_dsn: str, tmp_path: Path) -> None:
    migrate(blank_dsn)
    parts = parts_of(WarmPlan(5, 1, 0, 2, START))
    assert len(parts) >= 2
    _, (config,) = plans(STOCKS, "nowhere", blank_dsn, tmp_path)

    async def told(*tries: int) -> dict[str, NDArray[Any]]:
        shard = ShardActor(config, math.inf)
        for n in tries:
            assert await shard.position() == -1
            for part, ctx, opened in parts[:n]:
                await shard.warm(part, ctx, opened)
        await shard.shard.writer.close()
        return await shard.state()

    whole, again = asyncio.run(told(len(parts))), asyncio.run(told(1, len(parts)))
    assert whole.keys() == again.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array, name)
