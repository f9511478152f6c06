"""The live path in one process: the feed service, plain shards and a desk on a real database, without Ray."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from features.block import BarBlock
from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from features.stages import minute
from features.stages.context import Contexts
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.journal import RecordingPlan
from ray_apps.ingest.plan import FeedPlan, HistoryPlan, WarmPlan
from ray_apps.ingest.service import FeedService
from ray_apps.scoring.shadow import Shadow
from ray_apps.shards import recovery
from ray_apps.shards.desk import DeskReport, DeskService
from ray_apps.shards.messages import Ack, Message, Opened, Peaks
from ray_apps.shards.shard import ShardConfig, SymbolShard
from tests.support.eventually import eventually

CLOSED_S = 120.0


class PlainShards:
    """The shards of one class as objects of this process; `kill` makes one forget all it had in memory."""

    def __init__(self, configs: list[ShardConfig], shadow: Shadow | None = None) -> None:
        self.shards = [SymbolShard(c) for c in configs]
        self.shadow = shadow
        self._alive = [False] * len(configs)

    async def position(self, shard: int) -> int:
        if not await recovery.recover(self.shards[shard]):
            return -1
        self._alive[shard] = True
        return self.shards[shard].applied_seq

    async def warm(self, shard: int, block: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> Peaks:
        self.shards[shard].open(opened)
        return self.shards[shard].warm(block, ctx)

    async def warmed(self, shard: int, since_ns: int) -> int:
        await recovery.fold_stored(self.shards[shard], since_ns)
        await recovery.save(self.shards[shard])
        self._alive[shard] = True
        return self.shards[shard].applied_seq

    async def state(self, shard: int) -> dict:
        return self.shards[shard].snapshot()

    async def apply(self, shard: int, message: Message) -> Ack:
        if not self._alive[shard]:
            await self.position(shard)
        ack = await self.shards[shard].apply(message)
        if self.shadow is None:
            return ack
        self.shadow.offer(self.shards[shard].seen)
        self.shards[shard].seen.clear()
        return replace(ack, scored=self.shadow.taken())

    def kill(self, shard: int) -> None:
        self._alive[shard] = False


@dataclass
class Live:
    """A running feed with what it feeds."""

    service: FeedService
    shards: PlainShards
    desk: DeskService
    reports: list[DeskReport]
    task: asyncio.Task[None]

    async def closed(self, end_ns: int) -> None:
        """Wait until the window that ends then is closed."""

        def is_so() -> bool:
            assert not self.task.done(), self.task.exception()
            watch = self.service.watch
            return watch is not None and watch.stream.minute.closed_to >= end_ns

        await eventually(is_so, CLOSED_S)

    async def stored(self, end_ns: int) -> None:
        """Wait until that window is closed and the shards have stored all that went before."""
        await self.closed(end_ns)
        assert self.service.watch is not None
        async with asyncio.timeout(CLOSED_S), self.service.watch.paused():
            pass


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """Let windows close by the next one's bars: on a fast tape a stall of the machine would close one early.

    A thin name may print a moment after the last usual one, too, in one run and not in another.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(minute, "COMPLETE", math.inf)
        patched.setattr(minute, "QUIET_S", 1.0)
        patched.setattr(minute, "LONGEST_S", 10.0)
        yield


def plans(
    asset_class: AssetClass, ws: str, dsn: str, folder: Path, *, n_shards: int = 1, speed: float = 60.0,
    warm: WarmPlan | None = None, holder: str = "test", detection: DetectionConfig | None = None,
    key: str = "sim-advanced", recording: RecordingPlan | None = None, history: HistoryPlan | None = None,
    warm_days: int = 7,
) -> tuple[FeedPlan, list[ShardConfig]]:  # fmt: skip
    """Give a feed's plan and its shards' configs."""
    chosen = detection or DetectionConfig()
    feed = FeedConfig(asset_class, f"ws://{ws}/{asset_class}", key, speed=speed, cooldown_s=1.0, backoff_base_s=0.05,
                      backoff_cap_s=0.2, stable_s=1.0, silence_s=float("inf"))  # fmt: skip
    plan = FeedPlan(
        feed,
        ws,
        "simulated",
        holder,
        dsn,
        folder,
        n_shards,
        60,
        asset_class.activity,
        chosen,
        3_600.0,
        warm,
        recording=recording,
        history=history,
        warm_days=warm_days,
    )
    shard = ShardConfig(asset_class, 0, n_shards, 60, asset_class.activity, dsn, folder, chosen, {"test": "1"})
    return plan, [replace(shard, shard=i) for i in range(n_shards)]


@asynccontextmanager
async def live(plan: FeedPlan, shards: list[ShardConfig], shadow: Shadow | None = None) -> AsyncIterator[Live]:
    """Run the path until the block ends."""
    plain = PlainShards(shards, shadow)
    desk = DeskService(plan.asset_class, plan.dsn, plan.detection, ("console",))
    reports: list[DeskReport] = []

    async def settle(ctx: Contexts, epoch: int) -> None:
        reports.append(await desk.settle(ctx, epoch))

    service = FeedService(plan, plain, settle)
    task = asyncio.create_task(service.run())
    running = Live(service, plain, desk, reports, task)
    try:
        yield running
    finally:
        await service.stop()
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(30):
                await task
        await desk.close()
        for s in plain.shards:
            await s.writer.close()
