"""Turn a feed's running totals into metrics."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from ray_apps import metrics
from ray_apps.ingest.events import FeedStats
from ray_apps.ingest.watch import MarketWatch
from ray_apps.metrics import Declared, MetricSet, Snapshot

EVERY_S = 2.0
FEW = 500
"""Fewer series than this may print nothing for long before and after regular hours: none is due then."""
PRIOR_S = 600.0
"""Between bars of one series of which nothing is known yet."""
PACE_S = 3_600.0
"""The pace of bars is that of about so long."""
CALLED, CALLED_S = 10, 120.0
"""A silence of so many intervals, and of so many seconds, is called (`grafana/rules`): none beyond is usual."""
PREPARING = ("starting", "spare", "warming")
"""States in which no bar is handed on: those that come wait."""


class Counted(Protocol):
    """What is counted of a feed."""

    @property
    def status(self) -> str:
        """Where the feed is."""

    @property
    def is_in_session(self) -> bool:
        """Whether the market should print now."""

    @property
    def is_in_regular_hours(self) -> bool:
        """Whether few series should print too."""

    def stats(self) -> FeedStats | None:
        """Give the stream's counters."""

    @property
    def watch(self) -> MarketWatch | None:
        """The stage behind it, None while warming."""

    n_bursts: int

    def bursts(self, after: int) -> list[float]:
        """Give the bursts' seconds from number `after` on."""


class Pace:
    """How often bars come while they are due; a silence counts once it is over.

    >>> pace = Pace()
    >>> for _ in range(600):
    ...     pace.came(1, 60.0, 1)
    >>> round(pace.interval_s(1))
    69
    """

    def __init__(self) -> None:
        self._n = self._spent_s = 0.0

    def came(self, n_bars: float, after_s: float, n_series: int) -> None:
        """Take bars that came together; of a backlog what the series may bring in a minute."""
        usual_s = min(after_s, max(CALLED_S, CALLED * self.interval_s(n_series)))
        kept = math.exp(-usual_s / PACE_S)
        self._n = self._n * kept + min(n_bars, max(1, n_series))
        self._spent_s = self._spent_s * kept + usual_s

    def interval_s(self, n_series: int) -> float:
        """Give the usual seconds between one bar and the next, of so many series."""
        return (self._spent_s + PRIOR_S) / (self._n + max(1, n_series))


class FeedCounts:
    """Counts one feed; totals only ever grow within a process, the hub adds over restarts."""

    def __init__(
        self, asset_class: str, bar_s: int, incarnation: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.own = MetricSet(f"feed-{asset_class}", incarnation)
        self.asset_class = asset_class
        self.bar_length = f"{bar_s}s"
        self._clock = clock
        self._silent_since_s = clock()
        self._pace = Pace()
        self._n_bursts = 0
        self._had: dict[tuple[str, str], float] = {}

    def restart(self) -> None:
        """Count on from here: the feed's own totals begin at 0 again."""
        self._n_bursts = 0
        self._had.clear()

    async def run(self, send: Callable[[Snapshot], Awaitable[None]], feed: Callable[[], Counted]) -> None:
        """Send the metrics of what is the feed by then every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.own.tell(send, lambda: self.snapshot(feed()))

    def snapshot(self, feed: Counted) -> Snapshot:
        """Give the metrics as they are now."""
        a = self.asset_class
        own, stats, watch = self.own, feed.stats(), feed.watch
        own.set(metrics.READY, float(feed.status == "live"), part=f"feed_{a}")
        is_due = feed.is_in_session or feed.status == "refused"  # which no morning mends
        own.set(metrics.NOT_LIVE, float(is_due and feed.status not in ("live", "spare")), asset_class=a)
        bursts, self._n_bursts = feed.bursts(self._n_bursts), feed.n_bursts
        for seconds in bursts:
            own.observe(metrics.BURST, seconds, asset_class=a)
        if watch is not None:
            self._grow(metrics.BARS_LATE, "", watch.stream.n_late, asset_class=a)
            self._grow(metrics.BARS_REVISED, "newest", watch.stream.n_revised, asset_class=a, depth="newest")
            self._grow(metrics.BARS_REVISED, "older", watch.stream.n_older, asset_class=a, depth="older")
            own.set(metrics.QUEUE_DEPTH, watch.router.n_bars, queue=f"lanes_{a}")
            for gauge, value in ((metrics.COMPLETENESS, watch.completeness), (metrics.BREADTH, watch.breadth)):
                if value == value:
                    own.set(gauge, value, asset_class=a)
        if stats is not None:
            self._count_silence(stats.bars, feed)
            self._grow(metrics.BARS_RECEIVED, "", stats.bars, asset_class=a, bar_length=self.bar_length)
            for reason, n in stats.errors.items():
                self._grow(metrics.BARS_DROPPED, reason, n, asset_class=a, reason=reason)
            for reason, n in (("shed_frames", stats.shed_frame_bars), ("shed_bars", stats.shed_bars)):
                self._grow(metrics.BARS_DROPPED, reason, n, asset_class=a, reason=reason)
            self._grow(metrics.BLIND, "", stats.blind_s, asset_class=a)
            own.set(metrics.LAG, stats.lag_s, asset_class=a)
            own.set(metrics.QUEUE_DEPTH, stats.queue_frames, queue=f"frames_{a}")
            own.set(metrics.QUEUE_DEPTH, stats.queue_bars, queue=f"bars_{a}")
        return own.snapshot()

    def _count_silence(self, n_bars: int, feed: Counted) -> None:
        """Say how long no bar was handed on; before the state is there, and out of session, none is due."""
        now_s, a = self._clock(), self.asset_class
        n_new = n_bars - self._had.get((metrics.BARS_RECEIVED.name, ""), 0.0)
        n_series = int((feed.watch.stream.newest_ts > 0).sum()) if feed.watch is not None else None
        is_few = n_series is not None and n_series < FEW
        hours = feed.is_in_regular_hours if is_few else feed.is_in_session
        is_due = hours and feed.status not in PREPARING
        if n_series is not None and is_due and n_new:
            self._pace.came(n_new, now_s - self._silent_since_s, n_series)
        if n_series:  # before the first bar nothing is usual
            self.own.set(metrics.BAR_INTERVAL, self._pace.interval_s(n_series), asset_class=a)
        if not is_due or n_new:
            self._silent_since_s = now_s
        self.own.set(metrics.SILENT, now_s - self._silent_since_s, asset_class=a)

    def _grow(self, metric: Declared, key: str, total: float, **labels: str) -> None:
        """Count what is new; a total of 0 is counted too, so that the first of it is an increase."""
        had = self._had.get((metric.name, key), 0.0)
        if total > had or (metric.name, key) not in self._had:
            self.own.inc(metric, total - had, **labels)
            self._had[metric.name, key] = total
