"""Run the sinks of one installation: the outbox pump, the console's lines, the store's housekeeping."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from ray_apps.config import SinksConfig
from ray_apps.sinks.base import Sink
from ray_apps.sinks.console import Console
from ray_apps.sinks.house import keep_house
from ray_apps.sinks.outbox import Pump
from ray_apps.sinks.redis_sink import RedisStream
from ray_apps.sinks.webhook import Webhook
from ray_apps.store.errors import StoreUnavailableError

LOG = logging.getLogger(__name__)

LINES = 2_000
HOUSEKEEPING_S = 60.0


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """What the sinks' process is told."""

    dsn: str
    redis_url: str
    sinks: SinksConfig
    retention_days: int


class SinkService:
    """Delivers until stopped; what the console would print is kept for whoever owns the terminal."""

    def __init__(self, plan: SinkPlan) -> None:
        self.plan = plan
        self.lines: deque[tuple[int, str]] = deque(maxlen=LINES)
        self.n_lines = 0
        self._pump = Pump(plan.dsn, self._sinks())

    def _sinks(self) -> list[Sink]:
        c = self.plan.sinks
        found: list[Sink] = []
        if c.console.enabled:
            found.append(Console(self._write))
        if c.redis.enabled:
            found.append(RedisStream(self.plan.redis_url, length=c.redis.stream_length))
        if c.webhook.url is not None and c.webhook.secret is not None:
            found.append(Webhook(c.webhook.url, c.webhook.secret.get_secret_value(), "webhook"))
        return found

    def _write(self, line: str) -> None:
        self.lines.append((self.n_lines, line))
        self.n_lines += 1

    async def run(self) -> None:
        """Deliver and keep house until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump.run())
                group.create_task(self._keep_house())
        finally:
            await self._pump.close()

    async def _keep_house(self) -> None:
        """Roll bars up, drop old ones, forget what was delivered long ago."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            with suppress(StoreUnavailableError):
                await keep_house(self.plan.dsn, self.plan.retention_days)
