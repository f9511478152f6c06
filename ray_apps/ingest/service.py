"""One asset class's feed as a service: the lease, the warm Market, the stream, the way to the shards.

Whoever holds the lease reads; a second replica waits as a warm spare and takes over when it runs out.
"""

import asyncio
import gc
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from features.block import BarBlock
from features.market.calendar import is_trading
from features.market.types import NS_PER_S, BarBatch, SlotTable
from features.stages.context import Contexts
from features.stages.market import Market
from features.stages.market_stream import MarketStream
from features.state import SeriesShape
from ray_apps.ingest import warm
from ray_apps.ingest.events import Delivery, EventKind, FeedEvent, FeedStats
from ray_apps.ingest.feed import Feed
from ray_apps.ingest.plan import FeedPlan
from ray_apps.ingest.receipts import Receipt, receipt
from ray_apps.ingest.watch import MarketWatch
from ray_apps.shards.messages import Ack, Message, Opened
from ray_apps.shards.recovery import LATE_NS, holes_since, stored
from ray_apps.shards.routing import Router
from ray_apps.store import checkpoints, series
from ray_apps.store.connect import Pool
from ray_apps.store.errors import LeaseLostError, StoreUnavailableError
from ray_apps.store.feeds import FeedRow, put_feed
from ray_apps.store.lease import Lease
from ray_apps.store.recovery import bars_since

LOG = logging.getLogger(__name__)
T = TypeVar("T")

TAIL_BARS = 512
STATUS_S = 2.0
SPARE_WAIT_S = 3_600.0


class Shards(Protocol):
    """The shards of the class, wherever they run."""

    async def position(self, shard: int) -> int:
        """Recover if need be; give the newest applied message, -1 where the shard has no state at all."""

    async def warm(self, shard: int, block: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> None:
        """Fold history into a shard that has none."""

    async def warmed(self, shard: int) -> int:
        """End the history: write a checkpoint; give the newest applied message."""

    async def apply(self, shard: int, message: Message) -> Ack:
        """Fold and store a message."""


class FeedService:
    """Runs one feed until stopped; `settle` is told of each window that all shards have stored."""

    def __init__(self, plan: FeedPlan, shards: Shards, settle: Callable[[Contexts, int], Awaitable[None]]) -> None:
        self.plan = plan
        self.shards = shards
        self.tail: deque[tuple[int, str, float, float, int]] = deque(maxlen=TAIL_BARS)
        self.n_bars = 0
        self.status = "starting"
        self.detail = ""
        self.bursts_s: deque[float] = deque(maxlen=4096)
        self.n_bursts = 0
        self.receipts: deque[Receipt] = deque(maxlen=4096)
        self._settle_with = settle
        self._lease = Lease(plan.dsn, f"feed:{plan.asset_class}", plan.holder)
        self._pool = Pool(plan.dsn, f"feed-{plan.asset_class}", size=3)
        self._table = SlotTable(plan.asset_class)
        self._registered = 0
        self._closed: asyncio.Queue[Contexts] = asyncio.Queue(maxsize=1_000)
        self._feed: Feed | None = None
        self._watch: MarketWatch | None = None
        self._stop = asyncio.Event()
        self._last_byte_s = 0.0

    async def run(self) -> None:
        """Hold the lease, warm up, read until `stop`."""
        self.status = "spare"
        try:
            epoch = await self._unless_stopped(asyncio.create_task(self._lease.wait(SPARE_WAIT_S)))
            if self._stop.is_set():
                return
            if epoch is None:
                raise LeaseLostError(f"expected the lease of {self.plan.asset_class} within {SPARE_WAIT_S} s, was held")
            await self._read()
        finally:
            await self._finish()

    def _in_session(self, now_ns: int) -> bool:
        sessions = self.plan.sessions
        return sessions is None or is_trading(self.plan.asset_class, sessions, now_ns)

    @property
    def watch(self) -> MarketWatch | None:
        """The stage behind the feed, None while warming."""
        return self._watch

    def bursts(self, after: int) -> list[float]:
        """Give, per closed window from number `after` on, the seconds from its last byte to its commit."""
        kept = list(self.bursts_s)
        return kept[max(0, len(kept) - (self.n_bursts - after)) :]

    def stats(self) -> FeedStats | None:
        """Give the stream's counters, None before it began."""
        return self._feed.stats() if self._feed else None

    async def stop(self) -> None:
        """Stop reading; `run` then sends on what was received and ends."""
        self._stop.set()
        if self._feed is not None:
            await self._feed.stop()

    async def _read(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._renew())]
            self.status = "warming"
            watch = await self._unless_stopped(group.create_task(self._prepare()))
            if watch is None:
                self._watch = None  # half a history is none
                tasks[0].cancel()
                return
            self._watch = watch
            gc.freeze()  # what is there now stays: a collection in the middle of a burst need not look at it
            feed = replace(self.plan.feed, newest_ns=watch.stream.newest_end_ns)
            self._feed = Feed(feed, self._deliver, self._table, self._event, self._in_session)
            watch.has_more = self._feed.has_more
            tasks += [group.create_task(t) for t in (
                watch.router.run(), watch.tick(), self._settle_windows(), self._report(), self._checkpoints(),
            )]  # fmt: skip
            self.status = "connecting"
            await self._feed.run()
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await watch.router.drained()
                    await self._closed.join()
            for task in tasks:
                task.cancel()

    async def _unless_stopped(self, task: asyncio.Task[T]) -> T | None:
        """Give what a task comes to; None, and no task, when the feed is stopped meanwhile."""
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    async def _prepare(self) -> MarketWatch:
        """Bring Market and shards to where they stopped, or warm them from the source's own past."""
        plan = self.plan
        async with self._pool.connection() as conn:
            for s in await series.load(conn, plan.asset_class):
                self._table.slot(s.symbol, s.bar_s)
            self._registered = len(self._table)
            market = Market(SeriesShape(plan.asset_class, plan.primary_bar_s, plan.activity), plan.detection)
            found = await checkpoints.load(
                conn, plan.checkpoints, stage="market", asset_class=plan.asset_class.value, shard=""
            )
        seqs = [await self.shards.position(i) for i in range(plan.n_shards)]
        epoch = self._lease.epoch or 0
        router = Router(self._table, self.shards.apply, epoch, seqs, self._acknowledged, self._queue)
        watch = MarketWatch(MarketStream(market, self._table), router)
        if found is not None and min(seqs) >= 0:
            watch.stream.restore(found.arrays)
            for lane, seq in zip(router.lanes, seqs, strict=True):
                lane.seq = seq
            await self._fold_stored(watch)
            return watch
        for lane, seq in zip(router.lanes, await self._warm(watch), strict=True):
            lane.seq = seq
        await self._save()
        return watch

    async def _warm(self, watch: MarketWatch) -> list[int]:
        plan = self.plan
        if plan.warm is not None:
            for block in warm.blocks(plan.warm, plan.asset_class, self._table):
                await self._register()
                opened = tuple(Opened(i, s) for i, s in enumerate(self._table.since(0)))
                ctx = watch.stream.warm(block)
                for i in range(plan.n_shards):
                    await self.shards.warm(i, block, ctx, opened)
        self._watch = watch
        return [await self.shards.warmed(i) for i in range(plan.n_shards)]

    async def _fold_stored(self, watch: MarketWatch) -> None:
        """Fold what was stored after the Market's checkpoint."""
        asset_class, bar_s, stream = self.plan.asset_class, self.plan.primary_bar_s, watch.stream
        lengths = np.array([s.bar_s for s in self._table.since(0)], dtype=np.int64)
        slots = np.flatnonzero(lengths == bar_s).astype(np.int32)
        since = max(0, int(stream.newest_ts.max(initial=0)) - LATE_NS)
        async with self._pool.connection() as conn:
            holes = await holes_since(conn, asset_class, since)
            rows = bars_since(conn, asset_class, slots, since)
            async for item in stored(rows, lengths, stream, holes, bar_s):
                stream.fold_again(item)

    async def _deliver(self, delivery: Delivery) -> None:
        assert self._watch is not None
        if delivery.recv_ns:
            self._last_byte_s = time.monotonic() - (time.time_ns() - delivery.recv_ns) / NS_PER_S
        if len(self._table) > self._registered:
            await self._register()
        for batch in delivery.batches:
            self._remember(batch)
        await self._watch.deliver(delivery.items)

    def _remember(self, batch: BarBatch) -> None:
        """Keep the last bars for people to see; a bounded number per batch, whatever its size."""
        first = max(0, len(batch) - 64)
        for i in range(first, len(batch)):
            symbol = self._table[int(batch.slot[i])].symbol
            self.tail.append((self.n_bars + i, symbol, float(batch.close[i]), float(batch.volume[i]), int(batch.ts[i])))
        self.n_bars += len(batch)

    async def _register(self) -> None:
        """Store new series before any bar of theirs; waits for the database as long as it takes."""
        fresh = self._table.since(self._registered)
        rows = [(self._registered + i, s.symbol, s.bar_s) for i, s in enumerate(fresh)]
        while True:
            try:
                async with self._pool.connection() as conn:
                    await series.register(conn, self.plan.asset_class, rows)
                self._registered += len(rows)
                return
            except StoreUnavailableError as e:
                self.detail = str(e)
                await asyncio.sleep(0.5)

    def _queue(self, ctx: Contexts) -> None:
        """Every shard has stored the window: the desk may settle it."""
        with suppress(asyncio.QueueFull):
            self._closed.put_nowait(ctx)

    def _acknowledged(self, message: Message, ack: Ack) -> None:
        assert self._watch is not None
        self._watch.credit(message, ack)
        stored = receipt(message, ack, self._watch.last_close_s)
        self.receipts.append(stored)
        if stored.end_ns:
            self.bursts_s.append(time.monotonic() - self._last_byte_s)
            self.n_bursts += 1

    async def _settle_windows(self) -> None:
        while True:
            ctx = await self._closed.get()
            while True:
                try:
                    await self._settle_with(ctx, self._lease.epoch or 0)
                    break
                except LeaseLostError:
                    raise
                except Exception as e:
                    LOG.warning("window not settled, tried again: %s", e)
                    await asyncio.sleep(0.5)
            self._closed.task_done()

    def _event(self, event: FeedEvent) -> None:
        if event.kind is EventKind.GAP:
            return
        self.status = {
            EventKind.AUTHENTICATED: "connected", EventKind.SUBSCRIBED: "live", EventKind.FATAL: "refused",
        }.get(event.kind, "reconnecting")  # fmt: skip
        self.detail = event.message

    async def _renew(self) -> None:
        """Keep the lease; losing it ends the feed at once: another writes now."""
        while True:
            await asyncio.sleep(self._lease.ttl_s / 3)
            with suppress(StoreUnavailableError):
                if not await self._lease.renew():
                    raise LeaseLostError(f"expected to hold the feed of {self.plan.asset_class}, was taken over")

    async def _report(self) -> None:
        while True:
            with suppress(StoreUnavailableError):
                await self._write_status()
            await asyncio.sleep(STATUS_S)

    async def _write_status(self) -> None:
        stats = self.stats()
        async with self._pool.connection() as conn:
            await put_feed(conn, FeedRow(
                self.plan.asset_class.value, self.status, self.plan.host, self.plan.tier,
                newest_ts=stats.newest_ns or None if stats else None, lag_s=stats.lag_s if stats else None,
                detail=self.detail[:500],
            ))  # fmt: skip

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(self.plan.checkpoint_s)
            with suppress(StoreUnavailableError):
                await self._save()

    async def _save(self) -> None:
        watch = self._watch
        if watch is None:
            return
        async with self._pool.connection() as conn:
            await checkpoints.save(
                conn, self.plan.checkpoints, stage="market", asset_class=self.plan.asset_class.value, shard="",
                position={}, arrays=watch.stream.snapshot(),
            )  # fmt: skip

    async def _finish(self) -> None:
        self.status = "stopped" if self._stop.is_set() else "failed"
        with suppress(StoreUnavailableError, TimeoutError):
            async with asyncio.timeout(10):
                await self._write_status()
                await self._save()
                await self._lease.release()
        await self._pool.close()
