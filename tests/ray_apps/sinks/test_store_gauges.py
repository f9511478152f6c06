"""What the store says of itself: checkpoints, the outbox, the day, the disk."""

import asyncio

import pytest

from ray_apps import metrics
from ray_apps.hub import Hub
from ray_apps.metrics import MetricSet
from ray_apps.sinks.store_gauges import GIB, StoreGauges
from ray_apps.store import anomalies
from ray_apps.store.connect import connect
from ray_apps.store.rows import OutboxRow
from tests.support.postgres import query
from tests.support.store import T0, episode

pytestmark = pytest.mark.integration
DAY_NS = 86_400 * 10**9
SINCE = T0 // DAY_NS * DAY_NS
CHECKPOINT = """
INSERT INTO checkpoints (stage, asset_class, shard, path, position, created_at)
VALUES (%s, %s, %s, '', '{}', clock_timestamp() - make_interval(secs => %s))
"""
FEED = """
INSERT INTO feeds (asset_class, status, host, tier, newest_ts, updated_at)
VALUES (%s, 'live', '', '', to_timestamp(%s), clock_timestamp() - make_interval(secs => %s))
"""


def read(dsn: str, own: MetricSet | None = None) -> Hub:
    gauges = StoreGauges(own or MetricSet("sinks", "1"), ("console", "webhook"), 2, 3.0)

    async def main() -> None:
        async with await connect(dsn, "test") as conn:
            await gauges.read(conn)

    asyncio.run(main())
    hub = Hub()
    hub.put(gauges.own.snapshot())
    return hub


def test_checkpoints_of_what_is_watched_now_have_an_age(dsn: str) -> None:
    query(dsn, FEED, "stocks", T0 / 1e9, 1)
    query(dsn, FEED, "crypto", T0 / 1e9, 3_600)
    for stage, asset_class, shard, age_s in (
        ("market", "stocks", "", 40), ("symbols", "stocks", "0", 500), ("symbols", "stocks", "0", 100),
        ("symbols", "stocks", "1", 200), ("symbols", "stocks", "2", 9_000), ("market", "crypto", "", 9_000),
    ):  # fmt: skip
        query(dsn, CHECKPOINT, stage, asset_class, shard, age_s)
    own = MetricSet("sinks", "1")
    hub = read(dsn, own)
    assert hub.value(metrics.CHECKPOINT_AGE, stage="market", asset_class="stocks") == pytest.approx(40, abs=10)
    assert hub.value(metrics.CHECKPOINT_AGE, stage="symbols", asset_class="stocks") == pytest.approx(200, abs=10)
    assert hub.value(metrics.CHECKPOINT_AGE, stage="market", asset_class="crypto") is None
    query(dsn, "DELETE FROM checkpoints WHERE stage = 'symbols'")
    assert read(dsn, own).value(metrics.CHECKPOINT_AGE, stage="symbols", asset_class="stocks") is None


def test_the_outbox_the_day_and_the_disk(dsn: str) -> None:
    episodes = [
        episode(1, notified_at=T0), episode(2), episode(3, kind="market_shock", notified_at=T0),
        episode(4, kind="data_fault"), episode(5, opened_at=SINCE - 1_000, notified_at=SINCE - 1_000),
    ]  # fmt: skip

    async def store() -> None:
        async with await connect(dsn, "test") as conn:
            await conn.execute(anomalies.STAGE.encode())
            async with conn.transaction():
                await anomalies.put_episodes(conn, episodes)
                await anomalies.put_outbox(conn, [OutboxRow("webhook", "episode", str(i), {}) for i in range(4)])

    asyncio.run(store())
    query(dsn, "UPDATE outbox SET created_at = now() - interval '1 minute', dead_at = now() WHERE key = '0'")
    query(dsn, "UPDATE outbox SET delivered_at = now() WHERE key = '1'")
    query(dsn, "UPDATE outbox SET created_at = now() - interval '30 seconds' WHERE key = '2'")
    hub = read(dsn)
    assert hub.value(metrics.OUTBOX_WAITING, sink="webhook") == 2
    assert hub.value(metrics.OUTBOX_AGE, sink="webhook") == pytest.approx(30, abs=10)
    assert hub.value(metrics.OUTBOX_DEAD, sink="webhook") == 1
    assert hub.value(metrics.OUTBOX_WAITING, sink="console") == 0
    assert hub.value(metrics.EPISODES_TODAY, asset_class="stocks") == 2
    assert hub.value(metrics.NOTIFIED_TODAY) == 2
    assert (hub.value(metrics.DATABASE_BYTES) or 0) > 10**6
    assert hub.value(metrics.DATABASE_LIMIT) == 3 * GIB
