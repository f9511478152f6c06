"""The actors: plain classes made remote, with every option in this one file."""

import asyncio
import gc
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from numpy.typing import NDArray

from features.block import BarBlock
from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from features.stages.context import Contexts
from ray_apps.errors import causes
from ray_apps.hub import Hub
from ray_apps.ingest.counting import FeedCounts
from ray_apps.ingest.events import Admission
from ray_apps.ingest.plan import FeedPlan
from ray_apps.ingest.receipts import Receipt
from ray_apps.ingest.service import FeedService
from ray_apps.logs import log_json
from ray_apps.metrics import MetricSet
from ray_apps.placement import DESK, SCORER, feed_name, shard_name
from ray_apps.remote import call, count, named
from ray_apps.scoring.shadow import Shadow
from ray_apps.shards import recovery
from ray_apps.shards.aftermath import Aftermath
from ray_apps.shards.desk import DeskService
from ray_apps.shards.desk_counts import DeskCounts
from ray_apps.shards.messages import Ack, Message, Opened, Peaks
from ray_apps.shards.routing import FatalSendError
from ray_apps.shards.shard import ShardConfig, StaleStateError, SymbolShard
from ray_apps.shards.telling import Telling
from ray_apps.sinks.redis_sink import RedisCache
from ray_apps.store.errors import LeaseLostError

if TYPE_CHECKING:
    from ray_apps.sinks.console import Said
    from ray_apps.sinks.service import SinkPlan

LOG = logging.getLogger(__name__)

SAVE_AFTER_S = 1.0
"""From the message that makes a checkpoint due to its copying: within a minute most is quiet by then."""


class ShardActor:
    """Holds one `SymbolShard`; calls wait for each other, recovery comes before the first."""

    def __init__(self, config: ShardConfig, checkpoint_s: float, logs_json: bool = False) -> None:
        if logs_json:
            log_json(asset_class=config.asset_class.value, shard=str(config.shard))
        self.shard = SymbolShard(config)
        self.checkpoint_s = checkpoint_s
        self.is_recovered = False
        self.has_state = False
        self.saved_at = time.monotonic()
        cache = RedisCache(config.cache_url, config.cache_ttl_s) if config.cache_url else None
        name = shard_name(config.asset_class, config.shard)
        self.after = Aftermath(self.shard, cache, MetricSet(name, secrets.token_hex(4)))
        self.shadow: Shadow | None = None
        self._task: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def connect_scorer(self) -> None:
        """Let the served models of this class score in shadow from now on; again it does nothing.

        Loads Serve's client, seconds of work: in a thread, and only once Serve is up.
        """
        await self.begin()
        if self.shadow is not None:
            return
        try:
            handle = await asyncio.to_thread(scorer)
            served = await call(handle.models.remote())
        except Exception as e:  # it is asked again in half a minute
            LOG.info("scorer not reached", extra={"error": str(e)})
            return
        mine = [s for s in served if s.asset_class is self.shard.config.asset_class]
        self.shadow = self.shadow or Shadow(mine, handle.score.remote, self.after.own, self.after.note)

    async def begin(self) -> None:
        """Count and be heard of; one that was started again while no bars come too."""
        self._task = self._task or asyncio.create_task(self.after.run(count))

    async def position(self) -> int:
        """Recover if need be; give the newest applied message, -1 where there is no state to start from."""
        async with self._lock:
            await self._recover()
            if self.has_state:
                return self.shard.applied_seq
            self.shard.reset()  # of half a history, whose feed ended: the next one tells it from the beginning
            return -1

    async def warm(self, block: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> Peaks:
        """Fold history, into a state that knows nothing else; give the peaks counted per day."""
        async with self._lock:
            if self.has_state:
                self.shard.reset()
                self.has_state = False
            self.shard.open(opened)
            return self.shard.warm(block, ctx)

    async def warmed(self, since_ns: int) -> int:
        """Fold what is stored after the history, write a checkpoint, give the newest applied message."""
        async with self._lock:
            await recovery.fold_stored(self.shard, since_ns)
            await recovery.save(self.shard)
            self.has_state = True
            gc.freeze()  # what is there now stays: a collection in the middle of a burst need not look at it
            return self.shard.applied_seq

    async def state(self) -> dict[str, NDArray[Any]]:
        """Give every array of the state."""
        async with self._lock:
            return self.shard.snapshot()

    async def apply(self, message: Message) -> Ack:
        """Fold and store a message; a state that does not fit is recovered first."""
        async with self._lock:
            await self._recover()
            try:
                ack = await self.shard.apply(message)
            except StaleStateError:
                self.is_recovered = False
                await self._recover()
                ack = await self.shard.apply(message)
            await self.begin()
            self.after.take(message, self.shard.seen, dict(self.shard.called))
            due = self.after.due(message, self.shard.seen)
            if self.shadow is not None and due:
                self.shadow.offer(due)
            if self.shadow is not None:
                ack = replace(ack, scored=self.shadow.taken())
            self.shard.seen.clear()
            self.shard.called.clear()
            if time.monotonic() - self.saved_at > self.checkpoint_s:
                self.saved_at = time.monotonic()
                self._saving = asyncio.create_task(self._save_later())
            return ack

    async def save(self) -> None:
        """Write a checkpoint now; half a history is none."""
        async with self._lock:
            await recovery.try_write(recovery.copied(self.shard) if self.has_state else None)

    async def rehearse(self) -> None:
        """Recover and forget it: a spare shows that it can; what it takes over is what is stored by then."""
        async with self._lock:
            if not self.is_recovered:
                await recovery.recover(self.shard)
                self.shard.reset()

    async def _save_later(self) -> None:
        """Write a checkpoint; nobody waits for the disk."""
        await asyncio.sleep(SAVE_AFTER_S)
        async with self._lock:
            state = recovery.copied(self.shard)
        await recovery.try_write(state)

    async def _recover(self) -> None:
        if not self.is_recovered:
            self.has_state = await recovery.recover(self.shard)
            self.is_recovered = True


class RemoteShards:
    """The shard actors of a class, as a feed sees them; found by name, so that a restarted feed finds them too."""

    def __init__(self, asset_class: AssetClass) -> None:
        self.asset_class = asset_class

    def _actor(self, shard: int) -> Any:
        return named(shard_name(self.asset_class, shard))

    async def position(self, shard: int) -> int:
        """Recover a shard if need be; give its newest applied message."""
        return int(await call(self._actor(shard).position.remote()))

    async def warm(self, shard: int, block: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> Peaks:
        """Fold history into a shard."""
        peaks: Peaks = await call(self._actor(shard).warm.remote(block, ctx, opened))
        return peaks

    async def warmed(self, shard: int, since_ns: int) -> int:
        """End a shard's history."""
        return int(await call(self._actor(shard).warmed.remote(since_ns)))

    async def state(self, shard: int) -> dict[str, NDArray[Any]]:
        """Give a shard's state."""
        arrays: dict[str, NDArray[Any]] = await call(self._actor(shard).state.remote())
        return arrays

    async def apply(self, shard: int, message: Message) -> Ack:
        """Have a shard fold and store a message."""
        try:
            ack: Ack = await call(self._actor(shard).apply.remote(message))
        except LeaseLostError as e:
            raise FatalSendError(str(e)) from e
        return ack


class FeedActor:
    """Holds one `FeedService`."""

    def __init__(self, plan: FeedPlan, logs_json: bool = False) -> None:
        asset_class = plan.asset_class
        if logs_json:
            log_json(asset_class=asset_class.value)
        self.plan = plan
        self.service = self._make()
        self.error = ""
        self.is_fatal = False
        self.counts = FeedCounts(asset_class.value, plan.primary_bar_s, secrets.token_hex(4))
        self._task: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    async def start(self, detection: DetectionConfig) -> None:
        """Begin to read and to judge by these settings; safe to call again, and after a failure anew from the store."""
        if self._task is None or self._task.done():
            if self._task is not None:
                self.service = self._make()
                self.counts.restart()
            self.error = ""
            await self.service.configure(detection)
            self._task = asyncio.create_task(self._run())
            self._counting = self._counting or asyncio.create_task(self.counts.run(count, lambda: self.service))

    def _make(self) -> FeedService:
        asset_class = self.plan.asset_class

        async def settle(ctx: Contexts, epoch: int) -> None:
            await call(named(DESK).settle.remote(asset_class, ctx, epoch))

        return FeedService(self.plan, RemoteShards(asset_class), settle)

    async def _run(self) -> None:
        try:
            await self.service.run()
        except BaseException as e:
            self.error = "; ".join(causes(e))
            self.is_fatal = "FatalFeedError" in self.error
            if self.is_fatal:
                LOG.error("the vendor refuses the feed: %s; `tapewatch check` says what the key allows", self.error)
            else:
                LOG.exception("feed ended")

    async def stop(self) -> None:
        """Stop reading and send on what was received."""
        await self.service.stop()
        if self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(40):
                    await asyncio.shield(self._task)

    async def push(self, body: bytes) -> Admission:
        """Take a request of bars, if there is room."""
        return self.service.push(body)

    async def configure(self, detection: DetectionConfig) -> None:
        """Judge by these settings from the next message on, in the Market and in the shards."""
        await self.service.configure(detection)

    async def receipts(self, after_ns: int) -> list[Receipt]:
        """Give the messages stored after a time, UTC ns."""
        return [r for r in self.service.receipts if r.stored_ns > after_ns]

    async def look(self, after: int) -> dict[str, Any]:
        """Give status, counters and the bars numbered from `after` on."""
        s = self.service
        return {
            "status": s.status, "detail": s.trouble or s.detail, "progress": s.progress, "error": self.error,
            "is_fatal": self.is_fatal, "n_bars": s.tail.n_bars, "stats": s.stats(),
            "on_way": s.watch.router.n_bars if s.watch else 0, "bars": s.tail.since(after),
        }  # fmt: skip


async def push(asset_class: AssetClass, body: bytes) -> Admission | None:
    """Give bars of any source to the feed of their class; None where there is none."""
    try:
        feed = named(feed_name(asset_class))
    except ValueError:
        return None
    admission: Admission = await call(feed.push.remote(body))
    return admission


class DeskActor:
    """Holds the desks of all classes."""

    def __init__(self, desks: dict[AssetClass, DeskService], logs_json: bool = False) -> None:
        if logs_json:
            log_json()
        self.desks = desks
        self._locks = {a: asyncio.Lock() for a in desks}
        self.counts = DeskCounts(desks, secrets.token_hex(4))
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Count and be heard of; one that was started again while no window closes too."""
        self._task = self._task or asyncio.create_task(self.counts.run(count))

    async def configure(self, asset_class: AssetClass, detection: DetectionConfig, telling: Telling) -> None:
        """Merge and tell by these settings from the next window on."""
        async with self._locks[asset_class]:
            self.desks[asset_class].configure(detection, telling)

    async def settle(self, asset_class: AssetClass, ctx: Contexts, epoch: int) -> int:
        """Settle one window; give how many notifications it came to."""
        await self.begin()
        async with self._locks[asset_class]:
            report = await self.desks[asset_class].settle(ctx, epoch)
        self.counts.take(asset_class, report)
        return len(report.notified)


class SinkActor:
    """Holds the sinks and the metrics hub."""

    def __init__(self, plan: "SinkPlan", logs_json: bool = False) -> None:
        if logs_json:
            log_json()
        from ray_apps.sinks.service import SinkService  # Redis and HTTP clients: half a second no other actor needs

        self.hub = Hub()
        self.service = SinkService(plan, self.hub.put)
        if plan.metrics.port is not None:
            self.hub.serve(plan.metrics.host, plan.metrics.port)
        self._task: asyncio.Task[None] | None = None

    async def lines(self, after: int) -> list[tuple[int, "Said"]]:
        """Give the console's lines numbered from `after` on; the first call starts the delivery."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.service.run())
        return [line for line in self.service.lines if line[0] >= after]

    async def count(self, snapshot: dict[str, Any]) -> None:
        """Take a process's metrics."""
        self.hub.put(snapshot)

    async def expect(self, processes: list[str]) -> None:
        """Count the silence of processes that are not heard."""
        self.hub.expect(processes)

    async def forget(self, processes: list[str]) -> None:
        """Leave processes in peace that end as they should."""
        self.hub.forget(processes)

    async def metrics(self) -> str:
        """Give all metrics in Prometheus' text."""
        return self.hub.render()


def node(_actor: object = None) -> str:
    """Give the id of this process's node; of an actor's, where it is the one called."""
    return str(ray.get_runtime_context().get_node_id())


def scorer() -> Any:
    """Find the scorer."""
    from ray import serve

    return serve.get_app_handle(SCORER)
