"""Stand between the feed and the shards: the Market stage with a clock beside it, and one order for both."""

import asyncio
import time
from collections.abc import Callable, Sequence

from features.market.types import BarBatch, Hole
from features.stages.market_stream import MarketStream
from ray_apps.shards.messages import Ack, Message
from ray_apps.shards.routing import Router

TICK_S = 0.02


class MarketWatch:
    """Takes parsed bars in order of arrival; everything a shard gets passes here.

    `has_more` says whether bars are received and not delivered yet: a window waits for them.
    """

    def __init__(self, stream: MarketStream, router: Router) -> None:
        self.has_more: Callable[[], bool] = lambda: False
        self.stream = stream
        self.router = router
        self.last_close_s = 0.0
        self._lock = asyncio.Lock()

    async def deliver(self, items: Sequence[BarBatch | Hole]) -> None:
        """Take the batches of one flush, and the holes between them."""
        async with self._lock:
            for item in items:
                if isinstance(item, Hole):
                    await self.router.tell(self.stream.miss(item))
                    continue
                for part in self.stream.take(item, time.monotonic()):
                    if isinstance(part, BarBatch):
                        await self.router.put(part)
                    else:
                        self.last_close_s = time.monotonic()
                        await self.router.tell(part)
            if self._is_due():
                await self._close()

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
        self.last_close_s = time.monotonic()
        await self.router.tell(self.stream.close())

    def credit(self, _message: Message, ack: Ack) -> None:
        """Take what a shard counted."""
        for day, (peaks, series) in ack.peaks.items():
            self.stream.market.rescale.credit(day, peaks, series)
