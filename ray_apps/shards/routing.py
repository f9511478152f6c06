"""Send bars and closed windows to the shards: split by symbol, numbered, kept until acknowledged, bounded.

Each shard has a lane with one message in flight; what comes meanwhile is put together into the next one, so that
messages grow with the load instead of queues.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

import numpy as np

from features.decisions.config import DetectionConfig
from features.market.symbols import shard_of
from features.market.types import BarBatch, FaultBatch, Hole, SlotTable
from features.stages.context import Contexts
from features.stages.market_stream import Item
from ray_apps.shards.messages import Ack, Message, Opened

LOG = logging.getLogger(__name__)

MESSAGE_BARS = 12_000
"""Bars a message holds at most: a whole market minute in one transaction."""
LANE_BARS = 60_000
"""Bars a lane holds before it makes the feed wait: five whole market minutes."""
RETRY_S = (0.05, 2.0)

TROUBLE_S = 5.0
"""A shard that takes nothing for so long is worth telling of; a restart of one takes less."""
Send = Callable[[int, Message], Awaitable[Ack]]


class FatalSendError(Exception):
    """A message that will never be taken: another feed holds the class."""


class Lane:
    """The way to one shard."""

    def __init__(self, shard: int, send: Send, epoch: int, seq: int, on_ack: Callable[[Message, Ack], None]) -> None:
        self.shard = shard
        self.epoch = epoch
        self.seq = seq
        self.n_bars = 0
        self.retries = 0
        self.trouble = ""
        self._troubled_s = 0.0
        self._send = send
        self._on_ack = on_ack
        self._items: deque[Item] = deque()
        self._opened: list[Opened] = []
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, item: Item, opened: list[Opened]) -> None:
        """Queue an item; waits while the lane is full."""
        await self._room.wait()
        self._opened.extend(opened)
        self._items.append(item)
        self.n_bars += _bars(item)
        if self.n_bars >= LANE_BARS:
            self._room.clear()
        self._idle.clear()
        self._more.set()

    async def run(self) -> None:
        """Send until cancelled; one message at a time, each until it is acknowledged."""
        while True:
            await self._more.wait()
            message = self._next()
            ack = await self._until_acknowledged(message)
            self.n_bars -= message.n_bars
            if self.n_bars < LANE_BARS:
                self._room.set()
            self._on_ack(message, ack)
            if not self._items:
                self._more.clear()
                self._idle.set()

    @property
    def troubled_s(self) -> float:
        """For how long the message under way has not been taken."""
        return time.monotonic() - self._troubled_s if self.trouble else 0.0

    async def drained(self) -> None:
        """Wait until everything queued is acknowledged."""
        await self._idle.wait()

    def _next(self) -> Message:
        self.seq += 1
        items: list[Item] = []
        n = 0
        while self._items and (n == 0 or n + _bars(self._items[0]) <= MESSAGE_BARS):
            item = self._items.popleft()
            items.append(item)
            n += _bars(item)
        opened, self._opened = tuple(self._opened), []
        return Message(self.epoch, self.seq, tuple(items), opened)

    async def _until_acknowledged(self, message: Message) -> Ack:
        delay = RETRY_S[0]
        while True:
            try:
                ack = await self._send(self.shard, message)
                self.trouble = ""
                return ack
            except FatalSendError:
                raise
            except Exception as e:
                self.retries += 1
                if not self.trouble:
                    self._troubled_s = time.monotonic()
                self.trouble = str(e) or type(e).__name__
                LOG.warning("message not taken, sent again", extra={"shard": self.shard, "error": self.trouble})
                await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311 (jitter)
                delay = min(delay * 2, RETRY_S[1])


def _bars(item: Item) -> int:
    return len(item) if isinstance(item, BarBatch) else 0


class Router:
    """Splits batches over the lanes and says when every shard has closed a window."""

    def __init__(
        self, table: SlotTable, send: Send, epoch: int, seqs: list[int],
        on_ack: Callable[[Message, Ack], None], on_closed: Callable[[Contexts], None],
    ) -> None:  # fmt: skip
        self.table = table
        self.n_shards = len(seqs)
        self.lanes = [Lane(i, send, epoch, seq, self._acknowledged) for i, seq in enumerate(seqs)]
        self._on_ack = on_ack
        self._on_closed = on_closed
        self._closing: dict[int, int] = {}
        self._shard_of = np.empty(0, dtype=np.int64)
        self._told = 0

    async def put(self, batch: BarBatch | FaultBatch) -> None:
        """Send bars to their shards; waits while a lane is full."""
        opened = self._open()
        if self.n_shards == 1:
            await self.lanes[0].put(batch, opened)
            return
        shards = self._shard_of[batch.slot]
        for lane in self.lanes:
            rows = np.flatnonzero(shards == lane.shard)
            mine = [o for o in opened if self._shard_of[o.slot] == lane.shard]
            if len(rows) or mine:
                await lane.put(batch.take(rows), mine)

    async def tell(self, item: Contexts | Hole | DetectionConfig) -> None:
        """Tell every shard that a window closed, that bars are missing, or how to judge from now on."""
        if isinstance(item, Contexts):
            self._closing[int(item.end[0])] = self.n_shards
        for lane in self.lanes:
            await lane.put(item, [])

    async def run(self) -> None:
        """Run all lanes until cancelled, or until one fails for good."""
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes:
                group.create_task(lane.run())

    async def drained(self) -> None:
        """Wait until all lanes are empty and acknowledged."""
        for lane in self.lanes:
            await lane.drained()

    @property
    def n_bars(self) -> int:
        """Bars on the way."""
        return sum(lane.n_bars for lane in self.lanes)

    @property
    def trouble(self) -> str:
        """Why bars have not been stored for some time; empty while they are."""
        return next((lane.trouble for lane in self.lanes if lane.troubled_s > TROUBLE_S), "")

    def _open(self) -> list[Opened]:
        """Give the series numbered since last asked, and remember their shards."""
        fresh = self.table.since(self._told)
        opened = [Opened(self._told + i, s) for i, s in enumerate(fresh)]
        if fresh:
            shards = [shard_of(s.symbol, self.n_shards) for s in fresh]
            self._shard_of = np.concatenate([self._shard_of, np.array(shards, dtype=np.int64)])
            self._told += len(fresh)
        return opened

    def _acknowledged(self, message: Message, ack: Ack) -> None:
        self._on_ack(message, ack)
        for item in message.items:
            if isinstance(item, Contexts):
                end = int(item.end[0])
                self._closing[end] -= 1
                if not self._closing[end]:
                    del self._closing[end]
                    self._on_closed(item)
