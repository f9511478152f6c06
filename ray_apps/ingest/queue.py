"""Hold what waits between the socket and the shards, bounded: what does not fit is shed and counted."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from features.market.readers import Form
from features.market.types import BarBatch, FaultBatch, Hole

SECOND_S = 1  # the bar length that goes first

Part = BarBatch | FaultBatch
Numbered = tuple[int, Part]
"""What a frame held, with its number in the order of parsing: the journal names it so."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came, with both clocks and the number of the connection it came on (0: on none)."""

    data: bytes
    recv_ns: int
    monotonic_ns: int
    session: int
    form: Form = "stream"

    @property
    def n_bars(self) -> int:
        """How many bars it holds, unread: an object each, and one around those of a request.

        >>> Frame(b'[{"ev":"AM"},{"ev":"AM"}]', 0, 0, 1).n_bars
        2
        """
        return self.data.count(b"{") - (self.form == "rows")


def _bars(item: Numbered | Hole) -> int:
    return 0 if isinstance(item, Hole) else len(item[1])


class FrameQueue:
    """Frames received and not parsed, bounded by number and bytes: the oldest go when it is full.

    One reader puts, one parser gets; putting never waits.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: deque[Frame] = deque()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._lost = 0
        self.bytes = 0
        self.shed = 0
        self.shed_bars = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_half_full(self) -> bool:
        """Whether more frames or bytes wait than half the bounds."""
        return len(self._frames) * 2 > self._max_frames or self.bytes * 2 > self._max_bytes

    @property
    def oldest(self) -> Frame | None:
        """The frame that waits longest."""
        return self._frames[0] if self._frames else None

    def put(self, frame: Frame) -> None:
        """Add a frame, dropping the oldest ones for which there is no room."""
        self._frames.append(frame)
        self.bytes += len(frame.data)
        while len(self._frames) > 1 and (len(self._frames) > self._max_frames or self.bytes > self._max_bytes):
            oldest = self._frames.popleft()
            self.bytes -= len(oldest.data)
            self._lost += 1
            self.shed += 1
            self.shed_bars += oldest.n_bars
        self._idle.clear()
        self._ready.set()

    async def get(self) -> tuple[Frame, int]:
        """Wait for the oldest frame; with it comes how many were lost just before it."""
        while not self._frames:
            self._idle.set()  # who asks again is done with what it got
            self._ready.clear()
            await self._ready.wait()
        frame = self._frames.popleft()
        self.bytes -= len(frame.data)
        lost, self._lost = self._lost, 0
        return frame, lost

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every frame put is got and done with; False if the time is up before."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


class BarQueue:
    """Bars parsed and not delivered, and the holes between them; bounded by bars.

    Second bars are shed first, for minutes the parser waits.
    """

    def __init__(self, max_bars: int) -> None:
        self._max_bars = max_bars
        self._items: deque[Numbered | Hole] = deque()
        self._parsed = 0
        self._grown = asyncio.Event()
        self._shrunk = asyncio.Event()
        self._idle = asyncio.Event()
        self._loss: Hole | None = None
        self.bars = 0
        self.shed = 0

    def put_hole(self, hole: Hole) -> None:
        """Add a hole behind the bars that are there; there is one a loss, so they need no bound."""
        self._items.append(hole)
        self._idle.clear()
        self._grown.set()

    async def put(self, parts: Sequence[Part]) -> None:
        """Add what a frame held; wait for room where shedding second bars does not make enough."""
        for batch in parts:
            number, self._parsed = self._parsed, self._parsed + 1
            while self.bars and self.bars + len(batch) > self._max_bars:
                if self._drop_oldest_seconds():
                    continue
                if batch.bar_s == SECOND_S:
                    self._drop(batch)
                    break
                self._shrunk.clear()
                await self._shrunk.wait()
            else:
                self._items.append((number, batch))
                self.bars += len(batch)
                self._idle.clear()
                self._grown.set()

    async def take(self, flush_s: float, flush_bars: int) -> list[Numbered | Hole]:
        """Wait for something, then until there are `flush_bars` or `flush_s` have passed; give at most that many.

        (More only where a single batch has more.)
        """
        while not self._items:
            self._idle.set()
            self._grown.clear()
            await self._grown.wait()
        if self.bars < flush_bars:
            await self._fill(flush_s, flush_bars)
        taken = [self._pop()]
        count = _bars(taken[0])
        while self._items and count + _bars(self._items[0]) <= flush_bars:
            taken.append(self._pop())
            count += _bars(taken[-1])
        self._shrunk.set()
        return taken

    async def drained(self) -> None:
        """Wait until every bar put is taken and done with."""
        await self._idle.wait()

    def losses(self) -> Hole | None:
        """Give what was shed since the last call, as one hole."""
        loss, self._loss = self._loss, None
        return loss

    async def _fill(self, flush_s: float, flush_bars: int) -> None:
        """Wait until enough bars are there or the time is up."""
        try:
            async with asyncio.timeout(flush_s):
                while self.bars < flush_bars:
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            return

    def _pop(self) -> Numbered | Hole:
        item = self._items.popleft()
        self.bars -= _bars(item)
        return item

    def _drop(self, batch: Part) -> None:
        self.shed += len(batch)
        had = self._loss or Hole("shed_bars", int(batch.ts.min()), int(batch.ts_end.max()), 0, SECOND_S)
        self._loss = replace(
            had, from_ns=min(had.from_ns, int(batch.ts.min())), to_ns=max(had.to_ns, int(batch.ts_end.max())),
            count=had.count + len(batch),
        )  # fmt: skip

    def _drop_oldest_seconds(self) -> bool:
        """Drop the oldest batch of second bars, if there is one."""
        for i, item in enumerate(self._items):
            if not isinstance(item, Hole) and item[1].bar_s == SECOND_S:
                del self._items[i]
                self.bars -= len(item[1])
                self._drop(item[1])
                return True
        return False
