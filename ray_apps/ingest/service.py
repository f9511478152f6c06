"""One asset class's feed as a service: the lease, the warm Market, the stream, the way to the shards.

Whoever holds the lease reads; a second replica waits as a warm spare and takes over when it runs out.
"""

import asyncio
import gc
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from features.decisions.config import DetectionConfig
from features.market.calendar import is_regular, is_trading
from features.market.types import NS_PER_S, Hole, SlotTable
from features.stages.context import Contexts
from ray_apps.ingest.daily import daily
from ray_apps.ingest.events import Admission, Delivery, EventKind, FeedEvent, FeedStats
from ray_apps.ingest.feed import Feed
from ray_apps.ingest.fill import Filler
from ray_apps.ingest.journal import Journal
from ray_apps.ingest.mending import Mending
from ray_apps.ingest.numbering import Numbering
from ray_apps.ingest.past import Past
from ray_apps.ingest.plan import FeedPlan
from ray_apps.ingest.prepare import Preparation, Shards
from ray_apps.ingest.receipts import Receipt, receipt
from ray_apps.ingest.tail import Tail
from ray_apps.ingest.watch import MarketWatch
from ray_apps.shards.messages import Ack, Message
from ray_apps.shards.routing import Router
from ray_apps.store import checkpoints, recording, series
from ray_apps.store.connect import Pool
from ray_apps.store.errors import LeaseLostError, StoreUnavailableError
from ray_apps.store.feeds import FeedRow, heard_of, put_feed
from ray_apps.store.lease import Lease
from ray_apps.store.recording import Head

LOG = logging.getLogger(__name__)
T = TypeVar("T")

STATUS_S = 2.0
SPARE_WAIT_S = 3_600.0
ROLL_S = 5.0
LINK_DOWN = ("reconnecting", "cooldown")
SAVE_S = 10.0
"""Within so long the shards have stored all, or the checkpoint waits for the next turn."""


class FeedService:
    """Runs one feed until stopped; `settle` is told of each window that all shards have stored."""

    def __init__(self, plan: FeedPlan, shards: Shards, settle: Callable[[Contexts, int], Awaitable[None]]) -> None:
        self.plan = plan
        self.shards = shards
        self._phase = "starting"
        self._link = "connecting"
        self.detail = self._told_by_link = ""
        self.bursts_s: deque[float] = deque(maxlen=4096)
        self.n_bursts = 0
        self.receipts: deque[Receipt] = deque(maxlen=4096)
        self._settle_with = settle
        self._lease = Lease(plan.dsn, f"feed:{plan.asset_class}", plan.holder)
        self._pool = Pool(plan.dsn, f"feed-{plan.asset_class}", size=3)
        self._table = SlotTable(plan.asset_class)
        self.tail = Tail(self._table)
        self._closed: asyncio.Queue[Contexts] = asyncio.Queue(maxsize=1_000)
        self._feed: Feed | None = None
        self._watch: MarketWatch | None = None
        self._stop = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._preparation: Preparation | None = None
        self._connected_ns: int | None = None
        self._stored_end_ns = 0
        self._dark_s = 0.0
        self._last_byte_s = 0.0
        self._past = Past(plan, self._pool)
        lengths = plan.feed.bar_lengths
        filler = None
        if plan.history is not None and not plan.feed.is_daily:
            filler = Filler(plan.history, self._table, lengths, self._in_session)
        self._mending = Mending(plan.asset_class, self._pool, filler, self._say)
        self._journal = Journal(plan.recording, self._say) if plan.recording else None
        self._numbering = Numbering(self._table, self._pool, self._journal, self._say)

    async def run(self) -> None:
        """Hold the lease, warm up, read until `stop`."""
        self._phase = "spare"
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
    def is_in_session(self) -> bool:
        """Whether bars should come now."""
        return not self.plan.feed.is_daily and self._in_session(time.time_ns())

    @property
    def is_in_regular_hours(self) -> bool:
        """Whether bars of a few symbols should come now too."""
        sessions, now_ns = self.plan.sessions, time.time_ns()
        return self.is_in_session and (sessions is None or is_regular(self.plan.asset_class, sessions, now_ns))

    @property
    def watch(self) -> MarketWatch | None:
        """The stage behind the feed, None while warming."""
        return self._watch if self._is_ready.is_set() else None

    @property
    def status(self) -> str:
        """Where the feed is: spare, warming, connecting, live, not storing, ..."""
        if self._phase == "reading" and self.trouble:
            return "not storing"
        return self._link if self._phase == "reading" else self._phase

    @property
    def trouble(self) -> str:
        """Why bars are received and not stored; empty while they are."""
        return self._watch.router.trouble if self._watch else ""

    @property
    def progress(self) -> str:
        """How far the start is, in words; nothing once it is over."""
        return self._preparation.progress if self._preparation and self._phase == "warming" else ""

    def bursts(self, after: int) -> list[float]:
        """Give, per closed window from number `after` on, the seconds from its last byte to its commit."""
        kept = list(self.bursts_s)
        return kept[max(0, len(kept) - (self.n_bursts - after)) :]

    def stats(self) -> FeedStats | None:
        """Give the stream's counters, None before it began."""
        return self._feed.stats() if self._feed else None

    def push(self, body: bytes) -> Admission:
        """Take a request of bars into the feed's queue, if it reads and has room."""
        if self.plan.feed.is_daily:
            return Admission("expected a feed of live bars, was one of yesterday's: see --source push")
        if self._feed is None or self._stop.is_set():
            return Admission(f"expected a feed of {self.plan.asset_class} that reads, was {self.status}")
        if not self._feed.push(body):
            return Admission(f"expected room for more, was a feed of {self.plan.asset_class} with a long queue", True)
        return Admission(now_ns=self._feed.clock.now_ns(), limits=self.plan.feed.limits)

    async def configure(self, detection: DetectionConfig) -> None:
        """Judge by these settings from the next message on."""
        self.plan = replace(self.plan, detection=detection)
        if self.watch is not None:
            await self.watch.configure(detection)

    async def stop(self) -> None:
        """Stop reading; `run` then sends on what was received and ends."""
        self._stop.set()
        if self._feed is not None:
            await self._feed.stop()

    async def _read(self) -> None:
        """Read from the first moment on; what comes while the state is brought up waits in the feed's queues."""
        self._phase = "warming"
        await self._load_table()
        async with asyncio.TaskGroup() as group:
            self._feed = self._make_feed()
            tasks = [group.create_task(self._renew()), group.create_task(self._report())]
            reading = group.create_task(self._feed.run())
            watch = await self._unless_stopped(group.create_task(self._prepare()))
            if watch is None:  # half a history is none
                reading.cancel()
            else:
                gc.freeze()  # what is there now stays: a collection in the middle of a burst need not look at it
                watch.has_more = self._feed.has_more
                self._watch = watch
                tasks += [group.create_task(t) for t in (
                    watch.router.run(), watch.tick(), self._settle_windows(), self._checkpoints(),
                    self._roll(watch), self._mending.again(watch),
                )]  # fmt: skip
                await self._record(watch)
                await watch.configure(self.plan.detection)
                self._phase = "reading"
                self._is_ready.set()
                await reading
                await self._hand_on(watch)
            for task in tasks:
                task.cancel()

    def _make_feed(self) -> Feed:
        feed, source = self.plan.feed, None
        if feed.is_daily:
            source = daily(self.plan, self._newest_end, self._event)
        else:
            feed = replace(feed, newest_ns=self._stored_end_ns, dark_s=self._dark_s)
        return Feed(feed, self._deliver, self._table, self._event, self._in_session, None, self._journal, source)

    async def _newest_end(self) -> int:
        """Wait for the state; give the end of its newest window, UTC ns, 0 where it has none."""
        await self._is_ready.wait()
        assert self._watch is not None
        newest = int(self._watch.stream.newest_ts.max(initial=0))
        return newest + self.plan.primary_bar_s * NS_PER_S if newest else 0

    async def _hand_on(self, watch: MarketWatch) -> None:
        """After the last bar: wait for a bounded time until all is stored and settled, then write a checkpoint."""
        with suppress(StoreUnavailableError, TimeoutError):
            async with asyncio.timeout(20):
                await watch.router.drained()
                await self._closed.join()
                await self._save(watch)

    async def _load_table(self) -> None:
        """Give the series their stored numbers, and see how far their bars go."""
        await self._past.enroll()
        await self._numbering.load()
        async with self._pool.connection() as conn:
            self._stored_end_ns = await series.newest_end(conn, self.plan.asset_class)
            heard_ns = await heard_of(conn, self.plan.asset_class)
        self._dark_s = (time.time_ns() - heard_ns) / NS_PER_S if heard_ns else 0.0
        if heard_ns and not self._stored_end_ns and self.plan.warm is not None:
            # an earlier start ended before its first bar was stored: what it had received is a hole
            self._stored_end_ns = self.plan.warm.until_ns

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
        """Bring Market and shards to where they stopped, or warm them from the past; as often as it takes."""
        while True:
            self._preparation = Preparation(
                self.plan, self._pool, self._table, self.shards, self._numbering, self._past
            )
            try:
                stream, seqs = await self._preparation.run()
                self.detail = self._past.trouble or (self._told_by_link if self._link in LINK_DOWN else "")
                break
            except (StoreUnavailableError, TimeoutError) as e:  # bars that came meanwhile wait on
                self.detail = str(e)
                LOG.warning("state not brought up, tried again", extra={"error": str(e)})
                await asyncio.sleep(0.5)
        epoch = self._lease.epoch or 0
        router = Router(self._table, self.shards.apply, epoch, seqs, self._acknowledged, self._queue)
        self._watch = MarketWatch(stream, router, self._journal)
        await self._save(self._watch)
        return self._watch

    async def _record(self, watch: MarketWatch) -> None:
        """Begin a segment of the recording, from the state as it stands."""
        if self._journal is None:
            return
        plan, limits = self.plan, self.plan.feed.limits
        async with watch.paused() as stream:
            states = await asyncio.gather(*(self.shards.state(i) for i in range(plan.n_shards)))
            head = Head(
                plan.asset_class, plan.primary_bar_s, plan.activity, time.time_ns(), dict(plan.versions),
                plan.detection, [(s.symbol, s.bar_s) for s in self._table.since(0)], recording.pack(stream.snapshot()),
                [recording.pack(s) for s in states], limits.future_s, limits.too_old_s, limits.max_frame_bytes,
                self._journal.first_part,
            )  # fmt: skip
            self._journal.begin(head)

    async def _roll(self, watch: MarketWatch) -> None:
        """Follow a full segment by a new one; try again where the disk was full."""
        while self._journal is not None:
            await asyncio.sleep(ROLL_S)
            if self._journal.is_full or not self._journal.is_open:
                await self._record(watch)

    def _say(self, text: str) -> None:
        self.detail = text

    async def _deliver(self, delivery: Delivery) -> None:
        await self._is_ready.wait()
        assert self._watch is not None
        if delivery.recv_ns:
            self._last_byte_s = time.monotonic() - (time.time_ns() - delivery.recv_ns) / NS_PER_S
        await self._numbering.store()
        for batch in delivery.batches:
            self.tail.see(batch)
        for is_hole, run in itertools.groupby(delivery.items, lambda i: isinstance(i, Hole)):
            items = list(run)
            if is_hole:
                for hole in items:
                    assert isinstance(hole, Hole)
                    await self._watch.deliver(await self._mending.filled(hole, self._watch))
            else:
                await self._watch.deliver(items)

    def _queue(self, ctx: Contexts) -> None:
        """Every shard has stored the window: the desk may settle it."""
        with suppress(asyncio.QueueFull):
            self._closed.put_nowait(ctx)

    def _acknowledged(self, message: Message, ack: Ack) -> None:
        assert self._watch is not None
        self._watch.credit(message, ack)
        if self._journal is not None:
            for o in ack.scored:
                self._journal.scored(o.model, o.version, o.outcome, o.rows)
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
        if event.kind in (EventKind.GAP, EventKind.CLOCK_RESET):  # of bars: the link is as it was
            return
        self._link = {
            EventKind.AUTHENTICATED: "connected", EventKind.SUBSCRIBED: "live", EventKind.FATAL: "refused",
            EventKind.COOLDOWN: "cooldown",
        }.get(event.kind, "reconnecting")  # fmt: skip
        if event.kind is EventKind.AUTHENTICATED:
            self._connected_ns = time.time_ns()
        self.detail = self._told_by_link = event.message

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
                await self._numbering.adopt()
            await asyncio.sleep(STATUS_S)

    async def _write_status(self) -> None:
        stats = self.stats()
        async with self._pool.connection() as conn:
            await put_feed(conn, FeedRow(
                self.plan.asset_class.value, self.status, self.plan.host, self.plan.tier, self._connected_ns,
                newest_ts=stats.newest_ns or None if stats else None, lag_s=stats.lag_s if stats else None,
                detail=(self.trouble or self.detail or self.progress)[:500],
            ))  # fmt: skip

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(self.plan.checkpoint_s)
            assert self._watch is not None
            with suppress(StoreUnavailableError, TimeoutError):
                await self._save(self._watch)

    async def _save(self, watch: MarketWatch) -> None:
        """Write a checkpoint that is not ahead of the shards: a feed that dies then gets again what they had not."""
        async with asyncio.timeout(SAVE_S), watch.paused() as stream:
            arrays = stream.snapshot()
        async with self._pool.connection() as conn:
            await checkpoints.save(
                conn, self.plan.checkpoints, stage="market", asset_class=self.plan.asset_class.value, shard="",
                position={}, arrays=arrays,
            )  # fmt: skip

    async def _finish(self) -> None:
        self._phase = "stopped" if self._stop.is_set() else "refused" if self._link == "refused" else "failed"
        with suppress(StoreUnavailableError, TimeoutError):
            async with asyncio.timeout(10):
                await self._write_status()
                await self._lease.release()
        if self._journal is not None:
            self._journal.end()
        await self._mending.close()
        await self._pool.close()
