"""Send each window's bars when its time has come: one task plays every class, bar length and host."""

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from features.market.wire import TOPICS
from ray_apps.simulator.clock import Clock
from ray_apps.simulator.connection import SOCKET
from ray_apps.simulator.delivery import Batch, deliveries
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.totals import Totals
from ray_apps.simulator.truth import Truth
from ray_apps.simulator.wire import encode
from ray_apps.simulator.ws import Hub

_SECOND_BARS_LATE_NS = 2 * NS_PER_S


class BurstReport(TypedDict):
    """What a burst was, and when (wall clock, ns) its first and last byte were handed over."""

    asset: str
    ts_ms: int
    events: int
    bytes: int
    clients: int
    first_ns: int
    last_ns: int


@dataclass(slots=True)
class Channel:
    """One class at one bar length on one host, and how far it has come."""

    source: Truth
    bar_s: int
    host: str
    delay_ns: int
    totals: Totals
    next_ns: int
    ready: tuple[int, Bars, list[bytes]] | None = None

    @property
    def topic(self) -> str:
        """The stream's name of these bars."""
        return TOPICS[self.source.asset_class][1 if self.bar_s < 60 else 60]

    @property
    def step_ns(self) -> int:
        """Length of a window."""
        return self.bar_s * NS_PER_S

    def due_ns(self) -> int:
        """When the next window's bars begin to go out, on the clock."""
        late = _SECOND_BARS_LATE_NS if self.bar_s < 60 else 0
        return self.next_ns + self.step_ns + late + self.delay_ns

    def warm(self) -> None:
        """Add up the day so far, which may take a second, before anybody waits for it."""
        last_ns = self.next_ns - self.step_ns
        self.totals.add(last_ns, self.source.window(last_ns, self.bar_s))

    def events(self, start_ns: int) -> tuple[Bars, list[bytes]]:
        """Give a window's bars and their events, from what was prepared if it was."""
        if self.ready is None or self.ready[0] != start_ns:
            bars = self.source.window(start_ns, self.bar_s)
            self.totals.add(start_ns, bars)
            said = self.source.streamed(bars, self.bar_s)
            made = encode(self.source.asset_class, self.source.symbols, self.bar_s, said, self.totals)
            self.ready = (start_ns, bars, made)
        return self.ready[1], self.ready[2]


class Broadcast:
    """The order of all that is sent, as a heap of deliveries by time."""

    def __init__(self, clock: Clock, hub: Hub, channels: Sequence[Channel], faults: Callable[[], Faults]) -> None:
        self._clock, self._hub, self._channels, self._faults = clock, hub, channels, faults
        self._heap: list[tuple[int, int, Channel, Batch]] = []
        self._number = itertools.count()
        self._jumps = -1

    async def run(self) -> None:
        """Play until cancelled."""
        while True:
            if self._jumps != self._clock.jumps:
                self._restart()
            if self._clock.speed == 0:
                await self._hub.subscribed()
                await self._hub.drained()
            due_ns = self._next()
            if self._clock.speed == 0:
                self._clock.advance(due_ns)
            elif not await self._prepare(due_ns):
                continue
            if await self._clock.wait(due_ns) and self._jumps == self._clock.jumps:
                self._send_due(due_ns)

    async def burst(self, asset_class: AssetClass, symbols: int, start_ns: int | None) -> BurstReport:
        """Send a whole window at once and wait until its last byte was handed over.

        Without a start it is the next window in regular hours that was not sent; the clock is moved to its end if
        it is not there yet, which voids what else was planned of it.
        """
        channel = next(c for c in self._channels if c.source.asset_class is asset_class and c.host == SOCKET)
        start = self._next_regular(channel) if start_ns is None else start_ns
        bars, events = channel.events(start)
        rows, events = bars.row[:symbols], events[:symbols]
        end = start + channel.step_ns
        if self._clock.now() < end:
            self._clock.set(end)
            self._restart()
        channel.next_ns = max(channel.next_ns, end)
        await self._hub.drained()
        first_ns = time.time_ns()
        clients = self._hub.publish(asset_class, SOCKET, channel.topic, rows, events)
        await self._hub.drained()
        last_ns = time.time_ns()
        return BurstReport(
            asset=str(asset_class),
            ts_ms=start // NS_PER_MS,
            events=len(events),
            bytes=sum(map(len, events)),
            clients=clients,
            first_ns=first_ns,
            last_ns=last_ns,
        )

    def _next_regular(self, channel: Channel) -> int:
        start = channel.next_ns
        while not channel.source.regular(start):
            start += channel.step_ns
        return start

    def _restart(self) -> None:
        """Forget what was planned; go on with the windows that end after now."""
        self._jumps = self._clock.jumps
        self._heap.clear()
        for channel in self._channels:
            step, now = channel.step_ns, self._clock.now() - channel.delay_ns
            # The window that ends this instant goes out now.
            channel.next_ns = -(-now // step) * step - step
            channel.ready = None

    def _next(self) -> int:
        """Give the time of the next delivery."""
        # A standing clock must not tick through seconds nobody wants; a running one may be asked for them any time.
        steady = self._clock.speed > 0
        dues = [c.due_ns() for c in self._channels if steady or c.bar_s >= 60 or self._wanted(c)]
        return min([*dues, *(entry[0] for entry in self._heap[:1])])

    async def _prepare(self, due_ns: int) -> bool:
        """Make the events of the windows that end then, ahead of it; false if time was changed meanwhile."""
        for channel in self._channels:
            if channel.due_ns() != due_ns or not self._wanted(channel):
                continue
            if not await self._clock.wait(due_ns - channel.step_ns // 2) or self._jumps != self._clock.jumps:
                return False
            channel.events(channel.next_ns)
        return True

    def _wanted(self, channel: Channel) -> bool:
        return self._hub.wants(channel.source.asset_class, channel.host, channel.topic)

    def _send_due(self, due_ns: int) -> None:
        """Send every delivery of this time; a window's own first becomes deliveries."""
        for channel in self._channels:
            behind = due_ns - channel.due_ns()
            if behind >= 0 and not self._wanted(channel):
                channel.next_ns += (behind // channel.step_ns + 1) * channel.step_ns
            while channel.due_ns() <= due_ns:
                self._plan(channel)
        while self._heap and self._heap[0][0] <= due_ns:
            _, _, channel, batch = heapq.heappop(self._heap)
            source = channel.source
            self._hub.publish(source.asset_class, channel.host, channel.topic, batch.rows, batch.events)

    def _plan(self, channel: Channel) -> None:
        """Turn the next window of a channel into deliveries."""
        start, base_ns = channel.next_ns, channel.due_ns()
        channel.next_ns += channel.step_ns
        bars, events = channel.events(start)
        rng = np.random.default_rng((start // NS_PER_S, channel.bar_s))
        for delay_ns, batch in deliveries(bars, events, channel.step_ns, self._clock.speed, self._faults(), rng):
            heapq.heappush(self._heap, (base_ns + delay_ns, next(self._number), channel, batch))
