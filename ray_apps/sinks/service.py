"""Run the sinks of one installation: the outbox pump, the console's lines, the store's housekeeping."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ray_apps import metrics
from ray_apps.config import SinksConfig
from ray_apps.config_services import MetricsConfig
from ray_apps.metrics import MetricSet, Snapshot
from ray_apps.sinks.base import Sink
from ray_apps.sinks.console import Console, Said
from ray_apps.sinks.house import keep_house
from ray_apps.sinks.outbox import Pump
from ray_apps.sinks.redis_sink import RedisStream
from ray_apps.sinks.store_gauges import StoreGauges
from ray_apps.sinks.webhook import Webhook
from ray_apps.store.connect import connect, unavailable
from ray_apps.store.errors import StoreUnavailableError

LOG = logging.getLogger(__name__)

LINES = 2_000
HOUSEKEEPING_S = 60.0
STORE_S = 10.0
COUNT_S = 2.0


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """What the sinks' process is told."""

    dsn: str
    redis_url: str
    sinks: SinksConfig
    retention_days: int
    metrics: MetricsConfig
    n_shards: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)


class SinkService:
    """Delivers until stopped; what the console would print is kept for whoever owns the terminal.

    `put` takes its metrics.
    """

    def __init__(self, plan: SinkPlan, put: Callable[[Snapshot], None]) -> None:
        self.plan = plan
        self._put = put
        self.lines: deque[tuple[int, Said]] = deque(maxlen=LINES)
        self.n_lines = 0
        sinks, self._own = self._sinks(), MetricSet("sinks", secrets.token_hex(4))
        names = tuple(sink.name for sink in sinks)
        self._gauges = StoreGauges(self._own, names, plan.n_shards, plan.metrics.database_limit_gib)
        self._pump = Pump(plan.dsn, sinks, own=self._own)

    def _sinks(self) -> list[Sink]:
        c = self.plan.sinks
        found: list[Sink] = []
        if c.console.enabled:
            found.append(Console(self._write, versions=self.plan.versions))
        if c.redis.enabled:
            found.append(RedisStream(self.plan.redis_url, length=c.redis.stream_length))
        if c.webhook.url is not None and c.webhook.secret is not None:
            found.append(Webhook(c.webhook.url, c.webhook.secret.get_secret_value(), "webhook"))
        if c.grafana.url is not None and c.grafana.token is not None:
            from ray_apps.sinks.grafana_sink import GrafanaAnnotations  # its client takes a quarter of a second

            token = c.grafana.token.get_secret_value()
            found.append(GrafanaAnnotations(c.grafana.url, token, c.grafana.gateway or "", c.grafana.keep_days))
        return found

    def _write(self, line: Said) -> None:
        self.lines.append((self.n_lines, line))
        self.n_lines += 1

    async def run(self) -> None:
        """Deliver and keep house until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump.run())
                group.create_task(self._keep_house())
                group.create_task(self._watch_store())
                group.create_task(self._count())
        finally:
            await self._pump.close()

    async def _keep_house(self) -> None:
        """Roll bars up, drop old ones, forget what was delivered long ago."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            with suppress(StoreUnavailableError):
                await keep_house(self.plan.dsn, self.plan.retention_days)

    async def _watch_store(self) -> None:
        """Read what the store knows of itself and of the day."""
        while True:
            is_up = False
            with suppress(StoreUnavailableError):
                with unavailable("say how it is"):
                    conn = await connect(self.plan.dsn, "gauges")
                    async with conn:
                        await self._gauges.read(conn)
                is_up = True
            self._own.set(metrics.READY, float(is_up), part="database")
            await asyncio.sleep(STORE_S)

    async def _count(self) -> None:
        while True:
            self._put(self._own.snapshot())
            await asyncio.sleep(COUNT_S)
