"""Bring many series' past into the store: what is missing of it, as fast as the plan allows, resumed at any time."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ray_apps.ingest.backoff import patiently
from ray_apps.ingest.gather import Gather
from ray_apps.ingest.history import ONE_SYMBOLS, History, Page
from ray_apps.ingest.verdict import NotInPlanError, VendorAwayError
from ray_apps.store import backfills, series
from ray_apps.store.backfills import Span
from ray_apps.store.claims import Claims
from ray_apps.store.connect import Pool
from ray_apps.store.history import HistoryWriter, Stretch

T = TypeVar("T")

AWAY_SYMBOLS = 5
"""So many symbols in a row without an answer, each after all its tries, and the vendor is taken for gone."""
CLAIM_WAIT_S = 3_600.0
_CLAIM_LOOK_S = 0.5


@dataclass(slots=True)
class Tally:
    """What became of one symbol so far.

    Attributes
    ----------
    new, revised, same
        Bars stored, replaced, and there before.
    errors
        Bars of the vendor that could not be used, by reason.
    first_ns, last_ns
        Starts of the oldest and newest bar that came, None before the first.
    todo_ns, done_ns
        Time that was missing, and how much of it has been answered for; None until that is known.
    is_resumed
        Whether part of its span was brought before.
    failure
        Why it is not complete; "" where it is, or may still be.
    is_unknown
        Whether it failed because neither the vendor nor the store knows such a name.
    """

    symbol: str
    new: int = 0
    revised: int = 0
    same: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_ns: int | None = None
    last_ns: int | None = None
    todo_ns: int | None = None
    done_ns: int = 0
    is_resumed: bool = False
    failure: str = ""
    is_unknown: bool = False
    is_over: bool = False

    @property
    def n_bars(self) -> int:
        """Bars that came."""
        return self.new + self.revised + self.same

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return 1.0 if self.is_over or self.todo_ns == 0 else self.done_ns / self.todo_ns if self.todo_ns else 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be brought: windows of some series that start in a span; before `settled_ns` they are final.

    Attributes
    ----------
    is_again
        Whether what is known complete is asked for, too: bars that the vendor changed since become revisions.
    is_listed
        Whether the symbols are the vendor's own list, in which none is unknown.
    """

    symbols: Sequence[str]
    bar_s: int
    span: Span
    settled_ns: int
    is_again: bool = False
    is_listed: bool = False


class Backfill:
    """One run; `tallies` tell at any time how far it is.

    Parameters
    ----------
    history
        Where bars come from; its plan says how many symbols are in flight, and how long the database may be away.
    order
        What is to be brought.
    """

    def __init__(self, history: History, order: Order) -> None:
        self.order = order
        self.tallies = [Tally(symbol) for symbol in dict.fromkeys(order.symbols)]
        self.started_s = time.monotonic()
        plan = history.plan
        self._history = history
        self.asset_class = plan.asset_class
        self._patience_s = plan.patience_s
        self._rng = random.Random()  # noqa: S311 (spreads waits)
        self._pool = Pool(plan.dsn, "backfill", size=2)
        self._claims = Claims(plan.dsn, str(self.asset_class))
        self._writer = HistoryWriter(plan.dsn, self.asset_class)
        self._gather = Gather(self._writer, order.settled_ns, plan.patience_s)
        self._todo = deque(self.tallies)
        self._n_away = 0

    @property
    def n_bars(self) -> int:
        """Bars that came."""
        return sum(t.n_bars for t in self.tallies)

    @property
    def calls_per_minute(self) -> int | None:
        """The plan's limit, None where there is none."""
        return self._history.calls.rate.calls_per_minute

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return sum(t.share for t in self.tallies) / len(self.tallies) if self.tallies else 1.0

    async def run(self) -> None:
        """Bring everything; a symbol that fails says so in its tally and does not stop the others.

        Raises
        ------
        HistoryError
            When the vendor refuses the key or the market, or is gone.
        StoreUnavailableError
            When the database is away for long, or full.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._history.plan.in_flight, len(self.tallies))):
                    group.create_task(self._work())
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from None
        finally:
            await self._claims.close()
            await self._writer.close()
            await self._pool.close()

    async def _work(self) -> None:
        waited_s = 0.0
        while self._todo:
            tally = self._todo.popleft()
            name = f"{self.asset_class}:{tally.symbol}:{self.order.bar_s}"
            if await self._patiently(partial(self._claims.take, name)):
                await self._bring(tally)
                await self._patiently(partial(self._claims.give_back, name))
                waited_s = 0.0
            elif waited_s > CLAIM_WAIT_S:
                tally.failure, tally.is_over = "expected it free, was in work by another backfill", True
            else:
                self._todo.append(tally)
                await asyncio.sleep(_CLAIM_LOOK_S)
                waited_s += _CLAIM_LOOK_S

    async def _bring(self, tally: Tally) -> None:
        missing = await self._patiently(partial(self._missing, tally.symbol))
        tally.todo_ns = sum(s.to_ns - s.from_ns for s in missing)
        tally.is_resumed = tally.todo_ns < self.order.span.to_ns - self.order.span.from_ns
        try:
            for span in missing:
                await self._span(tally, span)
            self._n_away = 0
            if not (tally.n_bars or tally.errors or self.order.is_listed) and not await self._knows(tally.symbol):
                tally.failure, tally.is_unknown = "expected a symbol the vendor lists, was unknown", True
        except ONE_SYMBOLS as e:
            tally.failure = str(e)
            self._n_away = self._n_away + 1 if isinstance(e, VendorAwayError) else 0
            if self._n_away >= AWAY_SYMBOLS:
                raise
        tally.is_over = True

    async def _knows(self, symbol: str) -> bool:
        """Say whether there is such a name, or nobody can tell."""
        if await self._patiently(partial(self._is_stored, symbol)):
            return True
        try:
            return await self._history.knows(symbol)
        except (*ONE_SYMBOLS, NotInPlanError):
            return True

    async def _is_stored(self, symbol: str) -> bool:
        async with self._pool.connection() as conn:
            return symbol in await series.symbols(conn, self.asset_class)

    async def _span(self, tally: Tally, span: Span) -> None:
        """Ask for the next page while the last one is stored."""
        storing: asyncio.Task[None] | None = None
        try:
            async for page in self._history.bars(tally.symbol, self.order.bar_s, span.from_ns, span.to_ns):
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(tally, page))
        except asyncio.CancelledError:
            if storing is not None:
                storing.cancel()
            raise
        finally:
            if storing is not None:
                await storing

    async def _store(self, tally: Tally, page: Page) -> None:
        written = await self._gather.put(Stretch(page.symbol, self.order.bar_s, page.span, page.bars))
        tally.new += written.new
        tally.revised += written.revised
        tally.same += written.same
        tally.errors.update(page.errors)
        tally.done_ns += page.span.to_ns - page.span.from_ns
        if len(page.bars):
            first, last = int(page.bars.ts[0]), int(page.bars.ts[-1])
            tally.first_ns = first if tally.first_ns is None else min(tally.first_ns, first)
            tally.last_ns = last if tally.last_ns is None else max(tally.last_ns, last)

    async def _missing(self, symbol: str) -> list[Span]:
        if self.order.is_again:
            return [self.order.span]
        async with self._pool.connection() as conn:
            return await backfills.missing(conn, self.asset_class, symbol, self.order.bar_s, self.order.span)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        return await patiently(work, self._patience_s, self._rng)
