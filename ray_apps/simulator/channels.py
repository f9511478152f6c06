"""Hold how far each part of the stream has come, and turn its next window into deliveries."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from features.market.types import NS_PER_S, AssetClass
from features.market.wire import TOPICS
from ray_apps.simulator.delivery import Batch, deliveries, spread
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.limits import say_limits
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.ticks import ticks_of
from ray_apps.simulator.tickwire import TICK_TOPICS, Said, say
from ray_apps.simulator.totals import Totals
from ray_apps.simulator.truth import Truth
from ray_apps.simulator.wire import encode

_SECOND_BARS_LATE_NS = 2 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Wish:
    """What all clients together want of a topic: everything, or the symbols of some rows."""

    everything: bool
    rows: frozenset[int]


Wishes = dict[str, Wish]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes out of a window, and how long after the window was due, market ns."""

    delay_ns: int
    topic: str
    batch: Batch


class Channel(Protocol):
    """A part of the stream of one class on one host; a window is made only for who wants it."""

    source: Truth
    host: str
    next_ns: int

    @property
    def topics(self) -> tuple[str, ...]:
        """What it says."""
        ...

    @property
    def step_ns(self) -> int:
        """Length of a window."""
        ...

    def due_ns(self) -> int:
        """When the next window is due, on the clock."""
        ...

    def restart(self, now_ns: int) -> None:
        """Go on from this time."""
        ...

    def prepare(self, wishes: Wishes) -> None:
        """Make the next window ahead of its time."""
        ...

    def take(self, wishes: Wishes, speed: float, faults: Faults) -> Iterator[Delivery]:
        """Give the next window's deliveries, and go on to the one after it."""
        ...


@dataclass(slots=True)
class BarChannel:
    """Bars of one length."""

    source: Truth
    bar_s: int
    host: str
    delay_ns: int
    totals: Totals
    next_ns: int
    ready: tuple[int, Bars, list[bytes]] | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The stream's name of these bars."""
        return (TOPICS[self.source.asset_class][1 if self.bar_s < 60 else 60],)

    @property
    def step_ns(self) -> int:
        """Length of a window."""
        return self.bar_s * NS_PER_S

    def due_ns(self) -> int:
        """When the next window's bars begin to go out, on the clock."""
        late = _SECOND_BARS_LATE_NS if self.bar_s < 60 else 0
        return self.next_ns + self.step_ns + late + self.delay_ns

    def restart(self, now_ns: int) -> None:
        """Go on with the window that ends now: it goes out now."""
        self.next_ns = -(-(now_ns - self.delay_ns) // self.step_ns) * self.step_ns - self.step_ns
        self.ready = None

    def warm(self) -> None:
        """Add up the day so far, which may take a second, before anybody waits for it."""
        last_ns = self.next_ns - self.step_ns
        self.totals.add(last_ns, self.source.window(last_ns, self.bar_s))

    def prepare(self, wishes: Wishes) -> None:
        """Make the next window ahead of its time."""
        self.events(self.next_ns)

    def take(self, wishes: Wishes, speed: float, faults: Faults) -> Iterator[Delivery]:
        """Give the next window's deliveries: the vendor's spread of delays, and faults."""
        start = self.next_ns
        self.next_ns += self.step_ns
        bars, events = self.events(start)
        rng = np.random.default_rng((start // NS_PER_S, self.bar_s))
        for delay_ns, batch in deliveries(bars, events, self.step_ns, speed, faults, rng):
            yield Delivery(delay_ns, self.topics[0], batch)

    def events(self, start_ns: int) -> tuple[Bars, list[bytes]]:
        """Give a window's bars and their events, from what was prepared if it was."""
        if self.ready is None or self.ready[0] != start_ns:
            bars = self.source.window(start_ns, self.bar_s)
            self.totals.add(start_ns, bars)
            said = self.source.streamed(bars, self.bar_s)
            made = encode(self.source.asset_class, self.source.symbols, self.bar_s, said, self.totals)
            self.ready = (start_ns, bars, made)
        return self.ready[1], self.ready[2]


@dataclass(slots=True)
class TickChannel:
    """Trades, quotes and what follows from them, at their own times: of the shortest bars the source has.

    Only symbols somebody wants are made, each of them the same whoever else is.
    """

    source: Truth
    host: str
    delay_ns: int
    next_ns: int
    ready: tuple[int, Wishes, dict[str, Said]] | None = field(default=None)

    @property
    def topics(self) -> tuple[str, ...]:
        """What the ticks of the class say."""
        asset_class = self.source.asset_class
        return (*TICK_TOPICS[asset_class], *(("LULD",) if asset_class is AssetClass.STOCKS else ()))

    @property
    def step_ns(self) -> int:
        """Length of a window."""
        return min(self.source.lengths_s) * NS_PER_S

    def due_ns(self) -> int:
        """When the next window begins, on the clock: its ticks go out as it goes."""
        return self.next_ns + self.delay_ns

    def restart(self, now_ns: int) -> None:
        """Go on with the next window that begins."""
        self.next_ns = -(-(now_ns - self.delay_ns) // self.step_ns) * self.step_ns
        self.ready = None

    def prepare(self, wishes: Wishes) -> None:
        """Make the next window ahead of its time."""
        self._said(self.next_ns, wishes)

    def take(self, wishes: Wishes, speed: float, faults: Faults) -> Iterator[Delivery]:
        """Give the next window's deliveries; with a standing clock all of it at the window's end."""
        start = self.next_ns
        self.next_ns += self.step_ns
        for topic, said in self._said(start, wishes).items():
            after = (said.ts - start) / NS_PER_S if speed else np.full(len(said.ts), self.step_ns / NS_PER_S)
            for delay_ns, batch in spread(said.rows, said.events, np.maximum(after, 0), speed, faults):
                yield Delivery(delay_ns, topic, batch)

    def _said(self, start_ns: int, wishes: Wishes) -> dict[str, Said]:
        if self.ready is None or self.ready[:2] != (start_ns, wishes):
            self.ready = (start_ns, wishes, self._make(start_ns, wishes))
        return self.ready[2]

    def _make(self, start_ns: int, wishes: Wishes) -> dict[str, Said]:
        rows = frozenset().union(*(wish.rows for wish in wishes.values()))
        everything = any(wish.everything for wish in wishes.values())
        bar_s = min(self.source.lengths_s)
        bars = self.source.window(start_ns, bar_s, None if everything else np.array(sorted(rows), np.intp))
        ticks = ticks_of(self.source, bars, bar_s)
        found = {}
        for topic, wish in wishes.items():
            if topic == "LULD":
                found[topic] = say_limits(self.source, bars, start_ns, self.step_ns)
                continue
            mine = ticks if wish.everything else ticks.take(np.isin(ticks.row, list(wish.rows)))
            found[topic] = say(topic, self.source.asset_class, self.source.symbols, mine)
        return found
