"""Hand one market's stream on: from frames to deliveries, with bounded queues, gaps and a clean end.

Four tasks. The link's reader only drains the socket into the frame queue; the parser turns frames into bars; the
deliverer flushes them every few milliseconds; the link's supervisor keeps the connection up.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from features.market.bars import merge
from features.market.polygon import Parsed
from features.market.readers import READERS
from features.market.types import NS_PER_S, BarBatch, FaultBatch, Hole, SlotTable
from ray_apps.ingest.clock import FeedClock
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.doubts import Doubts, Read
from ray_apps.ingest.events import Delivery, EventKind, FeedEvent, FeedStats, Flush
from ray_apps.ingest.holes import Holes
from ray_apps.ingest.journal import Journal
from ray_apps.ingest.link import Drained, Link, Source, Take
from ray_apps.ingest.nolink import NoLink
from ray_apps.ingest.queue import BarQueue, Frame, FrameQueue, Numbered, Part


def joined(taken: Sequence[Numbered]) -> Flush:
    """Join parsed parts into as few batches as may be; faulty bars come behind."""
    parts = [part for _, part in taken]
    faults = [p for p in parts if isinstance(p, FaultBatch)]
    bars = merge([p for p in parts if isinstance(p, BarBatch)])
    return Flush((*bars, *faults), tuple(number for number, _ in taken))


class Feed:
    """One market's stream.

    Parameters
    ----------
    config
        What to read and every limit.
    deliver
        Awaited with each flush; while it waits, bars queue up to the bound. What it raises ends the feed.
    table
        Numbers the series; grows with what the stream brings.
    on_event
        Told what happens; must not wait.
    in_session
        Whether the market should print at a feed time, UTC ns; always, if not given.
    rng
        Spreads the reconnections of many feeds.
    journal
        Told of every frame that is parsed.
    source
        Gives where bars come from, told who takes what it gives and who waits until that is parsed; if not given, the
        connection that `config` describes, or nobody.
    """

    def __init__(
        self,
        config: FeedConfig,
        deliver: Callable[[Delivery], Awaitable[None]],
        table: SlotTable,
        on_event: Callable[[FeedEvent], None],
        in_session: Callable[[int], bool] | None = None,
        rng: random.Random | None = None,
        journal: Journal | None = None,
        source: Callable[[Take, Drained], Source] | None = None,
    ) -> None:
        self._config = config
        self._journal = journal
        self._deliver = deliver
        self._table = table
        self._tell = on_event
        self.clock = FeedClock(config.speed, config.delay_s, config.is_live)
        self._limits = config.limits
        self._frames = FrameQueue(config.queue_frames, config.queue_bytes)
        self._bars = BarQueue(config.queue_bars)
        self._doubts = Doubts(self.clock, self._read)
        self._holes = Holes(config.newest_ns, config.dark_s)
        self._stats = FeedStats()
        rng = rng or random.Random()  # noqa: S311  (spreads reconnections, hides nothing)

        def is_open() -> bool:
            return in_session is None or in_session(self.clock.now_or_wall_ns())

        def own(take: Take, drained: Drained) -> Source:
            return Link(config, take, drained, is_open, on_event, rng) if config.url else NoLink(on_event)

        self._link = (source or own)(self._take, self._frames.drained)
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Read until `stop`; raise `FatalFeedError` when the vendor refuses the key."""
        self._ended.clear()
        link = asyncio.create_task(self._link.keep())
        workers = [asyncio.create_task(self._parse_all()), asyncio.create_task(self._deliver_all())]
        try:
            await asyncio.wait([link, *workers], return_when=asyncio.FIRST_COMPLETED)
            if link.done():
                await self._hand_on()
        finally:
            for task in (link, *workers):
                task.cancel()
            results = await asyncio.gather(link, *workers, return_exceptions=True)
            self._ended.set()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def stop(self) -> None:
        """Close the connection, hand on what was received, and wait for the end."""
        self._link.stop()
        await self._ended.wait()

    def push(self, body: bytes) -> bool:
        """Queue a request of bars, of which something must be readable; False where too much waits already."""
        if self._frames.is_half_full:
            return False
        self._frames.put(Frame(body, time.time_ns(), time.monotonic_ns(), 0, "rows"))
        return True

    def has_more(self) -> bool:
        """Say whether frames or bars are received and not delivered yet."""
        return bool(self._bars.bars or len(self._frames))

    def stats(self) -> FeedStats:
        """Give the counters as they are now."""
        oldest = self._frames.oldest
        waiting_s = 0.0 if oldest is None else (time.monotonic_ns() - oldest.monotonic_ns) / NS_PER_S
        return replace(
            self._stats,
            errors=dict(self._stats.errors),
            sessions=self._link.sessions,
            reconnects=max(0, self._link.sessions - 1),
            cooldowns=self._link.cooldowns,
            is_connected=self._link.is_connected,
            blind_s=self._link.blind_s,
            refused=self._link.refused,
            queue_frames=len(self._frames),
            queue_bytes=self._frames.bytes,
            queue_bars=self._bars.bars,
            shed_frames=self._frames.shed,
            shed_frame_bars=self._frames.shed_bars,
            shed_bars=self._bars.shed,
            lag_s=max(self._stats.lag_s, waiting_s),
            newest_ns=self._holes.newest_ns,
        )

    def _take(self, data: bytes, session: int) -> None:
        """Queue a frame: all that the reader does."""
        self._frames.put(Frame(data, time.time_ns(), time.monotonic_ns(), session, self._config.form))

    async def _parse_all(self) -> None:
        """Turn frames into queued bars, noting what is lost between them."""
        session, blind_s = 0, 0.0
        while True:
            frame, lost = await self._frames.get()
            if lost:
                self._holes.lose("shed_frames", lost)
            if frame.form == "stream":
                if session not in (0, frame.session):
                    await self._use(self._doubts.settle())
                    self._holes.lose("reconnect", blind_s=self._link.blind_s - blind_s)
                session, blind_s = frame.session, self._link.blind_s
            if frame.form == self._config.form:
                resets = self.clock.resets
                found = self._doubts.take(frame)
                if self.clock.resets > resets:
                    self._clock_set(found)
            else:
                now_ns = self.clock.now_ns()
                found = [Read(frame, now_ns, self._read(frame, now_ns))]
            await self._use(found)
            await asyncio.sleep(0)  # the reader's turn

    def _read(self, frame: Frame, now_ns: int) -> Parsed:
        return READERS[frame.form](frame.data, self._table, now_ns, frame.recv_ns, self._limits)

    async def _use(self, found: Sequence[Read]) -> None:
        """Hand on what was read: its statuses to the link, its bars to the queue."""
        for read in found:
            frame, parsed = read.frame, read.parsed
            self._count(frame, parsed)
            parts: tuple[Part, ...] = (*parsed.batches, *parsed.faults)
            if self._journal is not None:
                self._journal.frame(frame.form, frame.recv_ns, read.now_ns, frame.data, len(parts))
            for status in parsed.statuses:
                self._link.hear(frame.session, status)
            if frame.form == self._config.form:
                for hole in self._holes.see(parsed.batches):
                    self._bars.put_hole(hole)
            await self._bars.put(parts)

    def _count(self, frame: Frame, parsed: Parsed) -> None:
        self._stats.frames += 1
        self._stats.bytes += len(frame.data)
        self._stats.ignored += parsed.ignored
        for reason, count in parsed.errors.items():
            self._stats.errors[reason] = self._stats.errors.get(reason, 0) + count

    def _clock_set(self, found: Sequence[Read]) -> None:
        """Say that the clock was set anew; where the tape was wound back, its newest window is not the newest."""
        oldest = min((int(b.ts_end.min()) for r in found for b in r.parsed.batches), default=self._holes.newest_ns)
        if oldest < self._holes.newest_ns:
            self._holes.forget()
        self._tell(FeedEvent(EventKind.CLOCK_RESET, time.time_ns(), "the bars contradicted the feed's clock"))

    async def _deliver_all(self) -> None:
        """Flush what is parsed, as it becomes due."""
        while True:
            await self._hand_over(await self._bars.take(self._config.flush_s, self._config.flush_bars))

    async def _hand_over(self, taken: list[Numbered | Hole]) -> None:
        """Deliver what was taken from the queue: batches joined, but not across a hole."""
        loss = self._bars.losses()
        items: list[Flush | Hole] = [] if loss is None else [loss]
        for _, run in itertools.groupby(taken, lambda i: isinstance(i, Hole)):
            parts = list(run)
            numbered = [i for i in parts if not isinstance(i, Hole)]
            items += [joined(numbered)] if numbered else [i for i in parts if isinstance(i, Hole)]
        for hole in items:
            if isinstance(hole, Hole):
                self._tell_hole(hole)
        received = [i[1].recv_ns for i in taken if not isinstance(i, Hole)]
        await self._deliver(Delivery(tuple(items), self.clock.now_ns(), max(received, default=0)))
        self._stats.bars += sum(len(i[1]) for i in taken if not isinstance(i, Hole) and isinstance(i[1], BarBatch))
        if received:
            self._stats.lag_s = max(0.0, (time.time_ns() - min(received)) / NS_PER_S)

    async def _hand_on(self) -> None:
        """After the last frame: parse and deliver what is left, for a bounded time."""
        try:
            async with asyncio.timeout(self._config.close_timeout_s):
                await self._frames.drained(self._config.close_timeout_s)
                await self._use(self._doubts.settle())
                await self._bars.drained()
        except TimeoutError:
            return

    def _tell_hole(self, hole: Hole) -> None:
        self._tell(FeedEvent(EventKind.GAP, time.time_ns(), hole.cause, hole.from_ns, hole.to_ns, count=hole.count))
