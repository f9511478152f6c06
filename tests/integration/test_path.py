"""The path from the vendor's socket to a stored, explained anomaly, on real parts in one process."""

import asyncio
from pathlib import Path

import pytest

from features.market.types import NS_PER_S, AssetClass
from ray_apps.ingest.plan import WarmPlan
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.server import simulator
from tests.support.eventually import eventually
from tests.support.live import live, plans
from tests.support.postgres import query

pytestmark = pytest.mark.integration
START = 1_789_741_910 * NS_PER_S  # 2026-09-18 10:31:50 New York
BURST = START // (60 * NS_PER_S) * 60 * NS_PER_S + 60 * NS_PER_S


def test_a_bar_from_the_socket_becomes_a_stored_explained_anomaly(dsn: str, tmp_path: Path) -> None:
    config = SimulatorConfig(
        0, 0, symbols=30, assets=(AssetClass.STOCKS,), speed=60, start_ns=START, burst_ns=BURST, hold=True
    )

    async def run() -> None:
        async with simulator(config) as where:
            warm = WarmPlan(30, config.seed, 0, 3, START)
            plan, shards = plans(AssetClass.STOCKS, str(where["ws"]), dsn, tmp_path, warm=warm)
            async with live(plan, shards) as running:
                await eventually(lambda: any(r.notified for r in running.reports) or running.task.done(), 60)

    asyncio.run(run())
    rows = query(dsn, "SELECT symbol, kind, reading, p_value, rate, episode_id FROM anomalies ORDER BY available_at")
    assert rows
    symbol, kind, reading, p_value, rate, episode = rows[0]
    assert (symbol, kind) == ("AAPL", "burst_up")
    assert "normal activity" in str(reading)
    assert 0 < float(str(p_value)) < 1e-4
    assert float(str(rate)) <= 0.03
    assert query(dsn, "SELECT kind FROM episodes WHERE id = %s", episode) == [("burst_up",)]
    assert query(dsn, "SELECT count(*) FROM outbox WHERE sink = 'console' AND key = %s", episode) == [(1,)]
    assert query(dsn, "SELECT count(*) > 30 FROM bars") == [(True,)]
    assert query(dsn, "SELECT connected_at IS NOT NULL FROM feeds") == [(True,)]
