"""Stand between the feed and the shards: the Market stage with a clock beside it, and one order for both."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from features.decisions.config import DetectionConfig
from features.market.types import BarBatch, FaultBatch, Hole
from features.stages.context import Contexts
from features.stages.market_stream import MarketStream
from ray_apps.ingest.events import Flush
from ray_apps.ingest.journal import Journal
from ray_apps.shards.messages import Ack, Message
from ray_apps.shards.routing import Router

TICK_S = 0.02


class MarketWatch:
    """Takes parsed bars in order of arrival; everything a shard gets passes here.

    `has_more` says whether bars are received and not delivered yet: a window waits for them. What is done is written
    to the `journal`, if there is one, before any of it goes on.
    """

    def __init__(self, stream: MarketStream, router: Router, journal: Journal | None = None) -> None:
        self.has_more: Callable[[], bool] = lambda: False
        self.stream = stream
        self.router = router
        self.journal = journal
        self.last_close_s = 0.0
        self.completeness = self.breadth = float("nan")
        self._lock = asyncio.Lock()

    async def deliver(self, items: Sequence[Flush | Hole]) -> None:
        """Take bars, and the holes between them."""
        async with self._lock:
            for item in items:
                if self.journal is not None:
                    self.journal.item(item)
                if isinstance(item, Hole):
                    await self.router.tell(self.stream.miss(item))
                else:
                    await self._flush(item)
            if self._is_due():
                await self._close()

    async def _flush(self, flush: Flush) -> None:
        for part in flush.parts:
            if isinstance(part, FaultBatch):
                await self.router.put(part)
                continue
            for item in self.stream.take(part, time.monotonic()):
                if isinstance(item, BarBatch):
                    await self.router.put(item)
                else:
                    await self._send_close(item)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[MarketStream]:
        """Hold still while the block runs: every shard has taken all that went before."""
        async with self._lock:
            await self.router.drained()
            yield self.stream

    async def configure(self, config: DetectionConfig) -> None:
        """Judge by these settings from here on, in the Market and in every shard."""
        async with self._lock:
            if self.journal is not None:
                self.journal.configure(config)
            await self.router.tell(self.stream.configure(config))

    def _is_due(self) -> bool:
        return self.stream.is_due(time.monotonic(), self.has_more())

    async def tick(self) -> None:
        """Close windows that fell quiet, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._is_due():
                async with self._lock:
                    if self._is_due():
                        await self._close()

    async def _close(self) -> None:
        if self.journal is not None:
            self.journal.close(self.stream.minute.end)
        await self._send_close(self.stream.close())

    async def _send_close(self, ctx: Contexts) -> None:
        self.last_close_s = time.monotonic()
        self.completeness, self.breadth = self.stream.minute.share, float(ctx.breadth[0])
        await self.router.tell(ctx)

    def credit(self, _message: Message, ack: Ack) -> None:
        """Take what a shard counted."""
        for day, (peaks, series) in ack.peaks.items():
            self.stream.market.rescale.credit(day, peaks, series)
