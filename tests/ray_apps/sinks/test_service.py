"""The sinks' process: the ways out that settings ask for, and what it counts for the hub."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ray_apps import metrics, plans
from ray_apps.config_services import MetricsConfig
from ray_apps.hub import Hub
from ray_apps.settings import ConfigError, Settings, load_settings
from ray_apps.sinks.base import payload_of
from ray_apps.sinks.service import SinkPlan, SinkService
from ray_apps.store.anomalies import STAGE, put_outbox
from ray_apps.store.connect import connect
from ray_apps.store.rows import OutboxRow
from tests.support.eventually import eventually
from tests.support.grafana_server import TOKEN, FakeGrafana, grafana_server
from tests.support.store import anomaly

pytestmark = pytest.mark.integration


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with grafana_server() as server:
        yield server


def settings_of(**environ: str) -> Settings:
    return load_settings(environ={f"TAPEWATCH_SINKS__{k}": v for k, v in environ.items()})


def plan_of(settings: Settings, dsn: str) -> SinkPlan:
    return SinkPlan(dsn, "redis://127.0.0.1:1", settings.sinks, 30, MetricsConfig(), settings.shards)


def test_grafana_is_told_when_its_address_is_set_and_needs_a_token() -> None:
    assert "grafana" not in plans.notification_sinks(settings_of())
    told = settings_of(GRAFANA__URL="http://g:3000", GRAFANA__TOKEN="a-long-token")
    assert "grafana" in plans.notification_sinks(told)
    assert "a-long-token" not in repr(told)
    with pytest.raises(ConfigError, match="expected a token beside url"):
        settings_of(GRAFANA__URL="http://g:3000")


def test_a_notification_becomes_an_annotation_and_all_of_it_is_counted(dsn: str, grafana: FakeGrafana) -> None:
    settings = settings_of(
        GRAFANA__URL=grafana.url, GRAFANA__TOKEN=TOKEN, REDIS__ENABLED="false", CONSOLE__ENABLED="false"
    )
    hub = Hub()

    async def main() -> None:
        async with await connect(dsn, "test") as conn:
            await conn.execute(STAGE.encode())
            async with conn.transaction():
                await put_outbox(conn, [OutboxRow("grafana", "anomaly", "e1", payload_of(anomaly(1)))])
        task = asyncio.create_task(SinkService(plan_of(settings, dsn), hub.put).run())
        await eventually(lambda: hub.value(metrics.DELIVERED, sink="grafana") == 1, 20)
        await eventually(lambda: hub.value(metrics.READY, part="database") == 1, 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(grafana.annotations) == 1
    assert hub.value(metrics.OUTBOX_WAITING, sink="grafana") is not None
    assert (hub.value(metrics.DATABASE_BYTES) or 0) > 0


def test_a_database_that_is_away_is_said() -> None:
    hub = Hub()

    async def main() -> None:
        nowhere = "postgresql://nobody@127.0.0.1:1/none"
        task = asyncio.create_task(SinkService(plan_of(settings_of(), nowhere), hub.put).run())
        await eventually(lambda: hub.value(metrics.READY, part="database") == 0, 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
