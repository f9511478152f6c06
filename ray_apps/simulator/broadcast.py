"""Send each window's events when their time has come: one task plays every class, bar length and host."""

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

from features.market.types import NS_PER_MS, AssetClass
from features.synthetic.hours import MINUTE_NS
from ray_apps.simulator.channels import BarChannel, Channel, Wishes
from ray_apps.simulator.clock import Clock
from ray_apps.simulator.connection import SOCKET
from ray_apps.simulator.delivery import Batch
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.ws import Hub


class BurstReport(TypedDict):
    """What a burst was, and when (wall clock, ns) its first and last byte were handed over."""

    asset: str
    ts_ms: int
    events: int
    bytes: int
    clients: int
    first_ns: int
    last_ns: int


class Broadcast:
    """The order of all that is sent, as a heap of deliveries by time."""

    def __init__(self, clock: Clock, hub: Hub, channels: Sequence[Channel], faults: Callable[[], Faults]) -> None:
        self._clock, self._hub, self._channels, self._faults = clock, hub, channels, faults
        self._heap: list[tuple[int, int, Channel, str, Batch]] = []
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
                if self._jumps != self._clock.jumps:
                    # Advancing to what was planned before would undo the change of time.
                    continue
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
        channel = next(
            c
            for c in self._channels
            if isinstance(c, BarChannel) and c.source.asset_class is asset_class and c.host == SOCKET
        )
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
        clients = self._hub.publish(asset_class, SOCKET, channel.topics[0], rows, events)
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

    def _next_regular(self, channel: BarChannel) -> int:
        start = channel.next_ns
        while not channel.source.regular(start):
            start += channel.step_ns
        return start

    def _restart(self) -> None:
        """Forget what was planned; go on with the windows that end after now."""
        self._jumps = self._clock.jumps
        self._heap.clear()
        for channel in self._channels:
            channel.restart(self._clock.now())

    def _next(self) -> int:
        """Give the time of the next delivery."""
        # A standing clock must not tick through seconds nobody wants; a running one may be asked for them any time.
        steady = self._clock.speed > 0
        dues = [c.due_ns() for c in self._channels if steady or c.step_ns >= MINUTE_NS or self._wanted(c)]
        return min([*dues, *(entry[0] for entry in self._heap[:1])])

    async def _prepare(self, due_ns: int) -> bool:
        """Make the events of the windows that end then, ahead of it; false if time was changed meanwhile."""
        for channel in self._channels:
            if channel.due_ns() != due_ns or not self._wanted(channel):
                continue
            if not await self._clock.wait(due_ns - channel.step_ns // 2) or self._jumps != self._clock.jumps:
                return False
            channel.prepare(self._wishes(channel))
        return True

    def _wanted(self, channel: Channel) -> bool:
        return bool(self._wishes(channel))

    def _wishes(self, channel: Channel) -> Wishes:
        return self._hub.wishes(channel.source.asset_class, channel.host, channel.topics)

    def _send_due(self, due_ns: int) -> None:
        """Send every delivery of this time; a window's own first becomes deliveries."""
        for channel in self._channels:
            behind = due_ns - channel.due_ns()
            if behind >= 0 and not self._wanted(channel):
                channel.next_ns += (behind // channel.step_ns + 1) * channel.step_ns
            while channel.due_ns() <= due_ns:
                self._plan(channel)
        while self._heap and self._heap[0][0] <= due_ns:
            _, _, channel, topic, batch = heapq.heappop(self._heap)
            self._hub.publish(channel.source.asset_class, channel.host, topic, batch.rows, batch.events)

    def _plan(self, channel: Channel) -> None:
        """Turn the next window of a channel into deliveries."""
        base_ns = channel.due_ns()
        for sent in channel.take(self._wishes(channel), self._clock.speed, self._faults()):
            heapq.heappush(self._heap, (base_ns + sent.delay_ns, next(self._number), channel, sent.topic, sent.batch))
