"""Stand between the feed and the shards: fold the Market, close windows, send both on in one order."""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from features.block import BarBlock, block_of
from features.market.types import I64, NS_PER_S, BarBatch
from features.stages.context import Contexts
from features.stages.market import Market
from ray_apps.ingest.minute import Completeness
from ray_apps.shards.messages import Ack, Message
from ray_apps.shards.routing import Router

TICK_S = 0.02


class MarketWatch:
    """Takes parsed bars in order of arrival; everything a shard gets passes here.

    A window closes before a bar of a later one goes on; bars of a closed window go on alone, as late ones. `has_more`
    says whether bars are received and not delivered yet: a window waits for them.
    """

    def __init__(self, market: Market, router: Router) -> None:
        self.has_more: Callable[[], bool] = lambda: False
        self.market = market
        self.router = router
        self.minute = Completeness()
        self.newest_ts: I64 = np.zeros(0, dtype=np.int64)
        self.n_late = 0
        self.n_revised = 0
        self.n_older = 0
        self.last_close_s = 0.0
        self._window_ns = market.shape.window_s * NS_PER_S
        self._lock = asyncio.Lock()

    @property
    def newest_end_ns(self) -> int:
        """The newest window end folded so far, 0 before the first."""
        newest = int(self.newest_ts.max(initial=0))
        return newest + self.market.shape.bar_s * NS_PER_S if newest else 0

    async def deliver(self, batches: Sequence[BarBatch]) -> None:
        """Take the batches of one flush."""
        async with self._lock:
            for batch in batches:
                if batch.bar_s != self.market.shape.bar_s:
                    await self.router.put(batch)
                    continue
                ends = -(-batch.ts_end // self._window_ns) * self._window_ns
                for end in np.unique(ends).tolist():
                    await self._window(batch.take(ends == end), end)
            if self._is_due():
                await self._close()

    async def _window(self, batch: BarBatch, end: int) -> None:
        if self.minute.end and end > self.minute.end:
            await self._close()
        if end <= self.minute.closed_to:
            self.n_late += len(batch)
        self._observe(batch)
        self.minute.arrive(batch.slot, end, time.monotonic())
        await self.router.put(batch)

    def _is_due(self) -> bool:
        return self.minute.is_due(time.monotonic(), self.has_more())

    def _observe(self, batch: BarBatch) -> None:
        """Fold new bars and revisions of the newest into the Market."""
        self.reserve(len(self.router.table))
        newest = self.newest_ts[batch.slot]
        rows = np.flatnonzero(batch.ts >= newest)
        revise = batch.ts[rows] == newest[rows]
        self.n_revised += int(revise.sum())
        self.n_older += len(batch) - len(rows)
        part = batch.take(rows)
        self.newest_ts[part.slot] = part.ts
        block = block_of(part, revise if revise.any() else None)
        self.market.observe(part.slot.astype(np.int64), block, np.zeros(1, dtype=np.bool_))

    def reserve(self, n: int) -> None:
        """Make room for `n` slots."""
        self.market.grow(n)
        if n > len(self.newest_ts):
            room = max(n, 2 * len(self.newest_ts)) - len(self.newest_ts)
            self.newest_ts = np.concatenate([self.newest_ts, np.zeros(room, dtype=np.int64)])

    async def tick(self) -> None:
        """Close windows that fell quiet, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._is_due():
                async with self._lock:
                    if self._is_due():
                        await self._close()

    def fold_again(self, batch: BarBatch) -> None:
        """Fold stored bars once more, in the order of their ends: the shards have them already."""
        end = int(-(-batch.ts_end[0] // self._window_ns) * self._window_ns)
        if self.minute.end and end > self.minute.end:
            self.market.close(self.minute.close())
        self._observe(batch)
        self.minute.arrive(batch.slot, end, time.monotonic())

    async def _close(self) -> None:
        end = self.minute.close()
        self.last_close_s = time.monotonic()
        await self.router.close(self.market.close(end))

    def warm(self, block: BarBlock) -> Contexts:
        """Fold bars from before the feed's start, a block of one day; give the contexts the shards need."""
        self.market.grow(len(self.router.table))
        end = block.ts.max(axis=1) + block.bar_s * NS_PER_S
        window = -(-end // self._window_ns)
        return self.market.observe(block.slot.astype(np.int64), block, np.append(window[1:] != window[:-1], True))

    def credit(self, _message: Message, ack: Ack) -> None:
        """Take what a shard counted."""
        for day, (peaks, series) in ack.peaks.items():
            self.market.rescale.credit(day, peaks, series)
