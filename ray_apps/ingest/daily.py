"""Stand in for a connection where the plan has no stream: each day's bars by REST, once the day is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.polygon import Status
from features.market.pushed import MOST_BARS, encode_pushed
from features.market.types import NS_PER_S
from ray_apps.ingest import allowed, wanted
from ray_apps.ingest.allowed import DAY_NS
from ray_apps.ingest.events import EventKind, FatalFeedError, FeedEvent
from ray_apps.ingest.history import History
from ray_apps.ingest.link import Drained, Source, Take
from ray_apps.ingest.plan import FeedPlan
from ray_apps.ingest.verdict import HistoryError, KeyRefusedError, NotInPlanError, VendorAwayError
from ray_apps.store.errors import StoreUnavailableError

POLL_S = 900.0
"""Between questions whether a day is over: two calls each, and five a minute are allowed."""
HELD_BARS = 1_000_000
"""Bars in memory until they are in order of time, some 100 MB."""
DRAIN_S = 5.0


def daily(
    plan: FeedPlan, since: Callable[[], Awaitable[int]], tell: Callable[[FeedEvent], None]
) -> Callable[[Take, Drained], Source]:
    """Give the source of a feed whose plan has no stream, once it is told where to put what comes."""
    if plan.history is None:
        raise ValueError("expected a way to ask for the past, was none")
    history = plan.history

    def source(take: Take, drained: Drained) -> Source:
        return Daily(History(history), plan.feed.names, plan.primary_bar_s, since, take, drained, tell)

    return source


class Daily:
    """What a feed asks of a `Link`, where bars come by REST after the close: never blind, a day late.

    Parameters
    ----------
    history
        The vendor's past; closed with `keep`.
    names
        Symbols to ask for, in our spelling.
    bar_s
        Length of the bars, seconds.
    since
        Waits until the state is there; gives the end of its newest window, UTC ns; 0 where it has none.
    take
        Gets every request of bars and the number of its connection; must not wait.
    drained
        Waits, at most so many seconds, until every request taken is parsed.
    tell
        Gets the events.
    """

    blind_s = 0.0
    cooldowns = 0

    def __init__(
        self, history: History, names: Sequence[str], bar_s: int, since: Callable[[], Awaitable[int]],
        take: Take, drained: Drained, tell: Callable[[FeedEvent], None], poll_s: float = POLL_S,
    ) -> None:  # fmt: skip
        self._history = history
        self._names = names
        self._bar_s = bar_s
        self._since = since
        self._take = take
        self._drained = drained
        self._tell = tell
        self._poll_s = poll_s
        self._stopping = asyncio.Event()
        self.sessions = 0
        self.is_connected = False
        self.refused: tuple[str, ...] = ()

    async def keep(self) -> None:
        """Bring each day's bars until `stop`; raise `FatalFeedError` when the vendor refuses the key."""
        keeping = asyncio.create_task(self._keep())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({keeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
        finally:
            keeping.cancel()
            stopped.cancel()
            await asyncio.gather(keeping, stopped, return_exceptions=True)
            await self._history.close()

    def stop(self) -> None:
        """Let `keep` return."""
        self._stopping.set()

    def hear(self, session: int, status: Status) -> None:
        """Take no note: nobody speaks."""

    async def _keep(self) -> None:
        at = await self._since()
        while True:
            try:
                at = await self._bring(at)
                self._say_up()
            except (KeyRefusedError, NotInPlanError) as e:
                self._tell(FeedEvent(EventKind.FATAL, time.time_ns(), str(e)))
                raise FatalFeedError(str(e)) from e
            except (HistoryError, StoreUnavailableError) as e:
                self.is_connected = False
                self._tell(FeedEvent(EventKind.DISCONNECTED, time.time_ns(), str(e)))
            await asyncio.sleep(self._poll_s)

    def _say_up(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.sessions += 1
            refused = self.refused
            self._tell(FeedEvent(EventKind.SUBSCRIBED, time.time_ns(), refused=refused, count=self.sessions))

    async def _bring(self, at_ns: int) -> int:
        """Hand on what the plan gives of the time after `at_ns`; give up to when that is."""
        may = await allowed.ask(self._history.calls, time.time_ns())
        to_ns = wanted.over(may.asset_class, self._bar_s, min(may.newest_ns, may.settled_ns))
        at_ns = at_ns or to_ns - DAY_NS
        step_ns = max(DAY_NS, HELD_BARS // len(self._names) * self._bar_s * NS_PER_S)
        while at_ns < to_ns:
            end_ns = min(at_ns + step_ns, to_ns)
            await self._hand_on(*await self._fetch(at_ns, end_ns))
            at_ns = end_ns
        return at_ns

    async def _fetch(self, from_ns: int, to_ns: int) -> tuple[list[str], BarColumns]:
        """Give the bars of all symbols in one span, by time; `refused` names symbols the vendor does not give."""
        names: list[str] = []
        found: list[BarColumns] = []
        refused: list[str] = []
        async with aclosing(self._history.many(self._names, self._bar_s, from_ns, to_ns)) as pages:
            async for page in pages:
                if isinstance(page.failure, VendorAwayError):
                    raise page.failure  # all of it is asked for again, for bars go on in order of time
                if page.failure is not None:
                    refused.append(f"{page.symbol}: {page.failure}")
                names += [page.symbol] * len(page.bars)
                found.append(page.bars)
        self.refused = tuple(refused)
        whole = BarColumns(**{n: np.concatenate([getattr(b, n) for b in found]) for n in COLUMN_NAMES})
        order = np.argsort(whole.ts, kind="stable")
        return [names[i] for i in order.tolist()], whole.take(order)

    async def _hand_on(self, names: list[str], bars: BarColumns) -> None:
        """Give bars to the feed a request at a time: the next one when that is parsed."""
        for first in range(0, len(bars), MOST_BARS):
            while not await self._drained(DRAIN_S):
                continue
            part = slice(first, first + MOST_BARS)
            rows = bars.take(np.arange(len(bars))[part])
            self._take(encode_pushed(self._history.plan.asset_class, names[part], rows, self._bar_s), self.sessions)
        while not await self._drained(DRAIN_S):
            continue
