"""Bring one class's Market and shards to where its stored bars end, before the first live bar is judged.

Starting and recovering are this one path: the newest checkpoint, then what is stored after it. Where there is none,
history is folded in blocks: the source's own past, or the stored bars of the last days.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.block import DAY_NS, BarBlock, window_parts
from features.market.calendar import ny_day
from features.market.types import I32, I64, NS_PER_S, Bool, SlotTable
from features.stages.context import Contexts
from features.stages.market import Market
from features.stages.market_stream import MarketStream
from features.state import DAY_S, SeriesShape
from ray_apps.ingest import warm
from ray_apps.ingest.numbering import Numbering
from ray_apps.ingest.past import Past
from ray_apps.ingest.plan import FeedPlan
from ray_apps.shards.messages import Ack, Message, Opened, Peaks
from ray_apps.shards.recovery import LATE_NS, stored
from ray_apps.store import checkpoints
from ray_apps.store.connect import Pool
from ray_apps.store.feeds import holes_since
from ray_apps.store.partitions import newest_ts
from ray_apps.store.recovery import bars_since, blocks_since

BLOCK_CELLS = 250_000
"""Bars sent to a shard at once while warming: some 15 MB, folded in half a second."""


class Shards(Protocol):
    """The shards of the class, wherever they run."""

    async def position(self, shard: int) -> int:
        """Recover if need be; give the newest applied message, -1 where the shard has no state at all."""

    async def warm(self, shard: int, block: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> Peaks:
        """Fold history into a shard that has none; give the peaks it counted per day."""

    async def warmed(self, shard: int, since_ns: int) -> int:
        """End the history, which went up to `since_ns`: fold what is stored after it, write a checkpoint.

        Give the newest applied message.
        """

    async def state(self, shard: int) -> dict[str, NDArray[Any]]:
        """Give every array of a shard's state, as of its newest applied message."""

    async def apply(self, shard: int, message: Message) -> Ack:
        """Fold and store a message."""


class Preparation:
    """One start of a feed; `progress` says in a person's words how far it is."""

    def __init__(
        self, plan: FeedPlan, pool: Pool, table: SlotTable, shards: Shards, numbering: Numbering,
        past: Past,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.progress = ""
        self._pool = pool
        self._table = table
        self._shards = shards
        self._numbering = numbering
        self._past = past

    async def run(self) -> tuple[MarketStream, list[int]]:
        """Give the Market as of the stored bars, and the newest message each shard has applied."""
        plan = self.plan
        shape = SeriesShape(plan.asset_class, plan.primary_bar_s, plan.activity)
        stream = MarketStream(Market(shape, plan.detection), self._table)
        async with self._pool.connection() as conn:
            found = await checkpoints.load(
                conn, plan.checkpoints, stage="market", asset_class=plan.asset_class.value, shard=""
            )
        self.progress = "recovering"
        seqs = await asyncio.gather(*(self._shards.position(i) for i in range(plan.n_shards)))
        if found is None or min(seqs) < 0:
            return stream, await self._from_history(stream)
        stream.restore(found.arrays)
        await self._fold_stored(stream, max(0, int(stream.newest_ts.max(initial=0)) - LATE_NS))
        return stream, list(seqs)

    async def _from_history(self, stream: MarketStream) -> list[int]:
        await self._past.fetch(self._tell)
        since = await self._oldest_needed()
        blocks = self._stored_blocks(since) if self.plan.warm is None else self._own_blocks()
        sending: asyncio.Task[None] | None = None
        day = -1
        try:
            async for block in blocks:
                await self._numbering.store()
                opened = tuple(Opened(i, s) for i, s in enumerate(self._table.since(0)))
                for part, closes in self._parts(block):
                    if sending is not None and self._day(part) != day:
                        await sending  # a day's rates rest on the peaks of the days before
                    day = self._day(part)
                    ctx = stream.warm(part, closes)
                    since = max(since, int(ctx.end[-1]))
                    if sending is not None:
                        await sending
                    sending = asyncio.create_task(self._send(stream, part, ctx, opened))
                self.progress = f"folded history to {np.datetime64(since, 'ns').astype('datetime64[m]')}"
            if sending is not None:
                await sending
        finally:
            if sending is not None:
                sending.cancel()
        self.progress = "writing checkpoints"
        shards = range(self.plan.n_shards)
        seqs = await asyncio.gather(*(self._shards.warmed(i, since) for i in shards))
        await self._fold_stored(stream, since)
        return list(seqs)

    def _tell(self, progress: str) -> None:
        self.progress = progress

    def _day(self, part: BarBlock) -> int:
        """Give the number of the day a part lies in."""
        last = part.ts[np.isfinite(part.close)].max()
        return int(ny_day(np.array([last]))[0] if self.plan.asset_class.has_sessions else last // DAY_NS)

    async def _send(self, stream: MarketStream, part: BarBlock, ctx: Contexts, opened: tuple[Opened, ...]) -> None:
        shards = range(self.plan.n_shards)
        for counted in await asyncio.gather(*(self._shards.warm(i, part, ctx, opened) for i in shards)):
            for day, (peaks, n) in counted.items():
                stream.market.rescale.credit(day, peaks, n)

    def _parts(self, block: BarBlock) -> list[tuple[BarBlock, Bool]]:
        sessions = self.plan.asset_class.has_sessions
        return list(window_parts(block, max(block.bar_s, 60), sessions=sessions, cells=BLOCK_CELLS))

    async def _own_blocks(self) -> AsyncIterator[BarBlock]:
        """Give the past of a source that knows it."""
        assert self.plan.warm is not None
        for block in warm.blocks(self.plan.warm, self.plan.asset_class, self._table):
            yield block
            await asyncio.sleep(0)

    async def _oldest_needed(self) -> int:
        """Give the start of the stored days that make norms: `warm_days` before the newest bar; 0 where none is."""
        async with self._pool.connection() as conn:
            newest = await newest_ts(conn)
        if newest is None or self.plan.warm is not None:
            return 0
        return max(0, newest - self.plan.warm_days * DAY_S * NS_PER_S)

    async def _stored_blocks(self, since: int) -> AsyncIterator[BarBlock]:
        """Give the stored bars of the primary length, folded or not, as blocks."""
        _, slots = self._primary()
        if not len(slots):
            return
        async with self._pool.connection() as conn:
            async for block in blocks_since(conn, self.plan.asset_class, slots, self.plan.primary_bar_s, since):
                yield block

    async def _fold_stored(self, stream: MarketStream, since: int) -> None:
        """Fold into the Market what the shards have folded from the store."""
        asset_class, bar_s = self.plan.asset_class, self.plan.primary_bar_s
        lengths, slots = self._primary()
        async with self._pool.connection() as conn:
            holes = await holes_since(conn, asset_class, since)
            rows = bars_since(conn, asset_class, slots, since)
            async for item in stored(rows, lengths, stream, holes, bar_s):
                stream.fold_again(item)

    def _primary(self) -> tuple[I64, I32]:
        """Give the bar length of every slot, and the slots of the primary one."""
        lengths = np.array([s.bar_s for s in self._table.since(0)], dtype=np.int64)
        return lengths, np.flatnonzero(lengths == self.plan.primary_bar_s).astype(np.int32)
