"""Import files: understand them all, then read and write one after the other, at any time resumable."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from features.market.types import NS_PER_MS, NS_PER_S
from ray_apps.imports.errors import QuestionError
from ray_apps.imports.place import Place
from ray_apps.imports.reading import Part, Tally, parts
from ray_apps.imports.recipe import Recipe, is_nameless, understand, which_of, with_lengths
from ray_apps.imports.sift import Limits
from ray_apps.imports.told import Told
from ray_apps.ingest.allowed import SETTLED_NS
from ray_apps.ingest.backoff import patiently
from ray_apps.store import imports, partitions
from ray_apps.store.connect import Pool
from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.files import FileError
from ray_apps.store.history import HistoryWriter
from ray_apps.store.imports import Imported
from ray_apps.store.partitions import DAY_NS, MOST_DAYS, days_of, first_kept_day
from ray_apps.store.sieve import MESSAGES_KEPT
from ray_apps.words import counted

T = TypeVar("T")

PATIENCE_S = 60.0
"""So long may the database be away; a person waits, and may run it again."""

AT_ONCE = 4
"""Files whose first rows are read at once: in a bucket each is a wait."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be imported.

    Attributes
    ----------
    retention_days
        What the store keeps.
    is_again
        Whether files that were imported before are read anew.
    listed
        How many refused rows of a file are named.
    """

    places: Sequence[Place]
    told: Told
    retention_days: int
    is_again: bool = False
    listed: int = MESSAGES_KEPT


class Import:
    """One run; `tallies` tell at any time how far it is.

    Parameters
    ----------
    patience_s
        For how long the database may be away.
    """

    def __init__(self, dsn: str, order: Order, patience_s: float = PATIENCE_S) -> None:
        self.tallies = [Tally(place, order.listed) for place in order.places]
        self.recipes: dict[str, Recipe] = {}
        self.started_s = time.monotonic()
        self.floor_ns = 0
        self._order = order
        self._class = order.told.asset_class
        self._patience_s = patience_s
        self._rng = random.Random()  # noqa: S311 (spreads waits)
        self._pool = Pool(dsn, "import", size=1)
        self._writer = HistoryWriter(dsn, self._class)
        self._days: set[int] = set()

    @property
    def n_bars(self) -> int:
        """Bars that came."""
        return sum(t.n_bars for t in self.tallies)

    @property
    def share(self) -> float:
        """How much is read, 0 to 1."""
        total = sum(t.place.n_bytes for t in self.tallies)
        return sum(t.place.n_bytes if t.is_over else t.n_bytes for t in self.tallies) / total if total else 1.0

    async def run(self) -> None:
        """Import everything; a file that fails says so in its tally and does not stop the others.

        Raises
        ------
        StoreUnavailableError
            When the database is away for long, or full.
        """
        try:
            limits = await self._patiently(self._look)
            self.recipes = await understand_all(self.tallies, self._order.told, limits)
            for tally in self.tallies:
                if tally.place.source in self.recipes:
                    await self._bring(self.recipes[tally.place.source], limits, tally)
            await self._patiently(self._look_back)
        finally:
            await self._writer.close()
            await self._pool.close()

    async def _look(self) -> Limits:
        """See what the store has: which files, which days."""
        async with self._pool.connection() as conn:
            newest_ns = await partitions.newest_ts(conn)
            self._days = set(await partitions.days_present(conn))
            known = await imports.known(conn, self._class, [t.place.source for t in self.tallies])
        for tally in self.tallies:
            place = tally.place
            if not self._order.is_again and (place.source, self._reading(place), place.mark) in known:
                tally.is_known = tally.is_over = True
        return limits_of(newest_ns, self._order.retention_days)

    async def _look_back(self) -> None:
        """See from when on the store will keep bars, now that there may be newer ones."""
        async with self._pool.connection() as conn:
            newest_ns = await partitions.newest_ts(conn)
        self.floor_ns = int(limits_of(newest_ns, self._order.retention_days).floor_ms) * NS_PER_MS

    async def _bring(self, recipe: Recipe, limits: Limits, tally: Tally) -> None:
        """Read the next part while the last one is stored."""
        found = parts(recipe, self._order.told.of(recipe.place.label), limits, tally)
        ahead = asyncio.create_task(asyncio.to_thread(next, found, None))
        try:
            while (part := await ahead) is not None:
                ahead = asyncio.create_task(asyncio.to_thread(next, found, None))
                await self._write(part, tally)
            await self._remember(tally)
        except FileError as e:
            tally.failure = str(e)
        finally:
            await asyncio.gather(ahead, return_exceptions=True)
            found.close()
        tally.is_over = True

    async def _write(self, part: Part, tally: Tally) -> None:
        ts = part.sheaf.bars.ts
        at = f"{tally.place.name}:{part.line}"
        days = self._days | days_of(ts)
        if len(days) > MOST_DAYS:
            raise FileError(f"{at}: expected at most {MOST_DAYS:,} days of bars in the store, was more by this file")
        settled_ns = time.time_ns() - SETTLED_NS - tally.bar_s * NS_PER_S
        try:
            written = await self._patiently(partial(self._writer.write_sheaf, part.sheaf, settled_ns))
        except StoreUnavailableError as e:
            tally.failure = f"{at} to {part.to_line}: {e}"
            raise type(e)(tally.failure) from e
        self._days = days
        tally.new += written.new
        tally.revised += written.revised
        tally.same += written.same
        tally.symbols.update(symbol for symbol, _ in part.sheaf.series)
        first, last = int(ts.min()), int(ts.max())
        tally.first_ns = first if tally.first_ns is None else min(tally.first_ns, first)
        tally.last_ns = last if tally.last_ns is None else max(tally.last_ns, last)
        tally.n_bytes = part.n_bytes

    async def _remember(self, tally: Tally) -> None:
        """Note a file all of whose rows were stored."""
        if tally.n_refused or tally.first_ns is None or tally.last_ns is None:
            return
        place = tally.place
        reading = self._reading(place)
        file = Imported(place.source, reading, place.mark, tally.n_bars, tally.first_ns, tally.last_ns)

        async def note() -> None:
            async with self._pool.connection() as conn:
                await imports.remember(conn, self._class, file)

        await self._patiently(note)

    def _reading(self, place: Place) -> str:
        return self._order.told.of(place.label).reading

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        return await patiently(work, self._patience_s, self._rng)


def limits_of(newest_ns: int | None, retention_days: int) -> Limits:
    """Say between which instants bars may lie, given the store's newest."""
    now_ms = time.time_ns() / NS_PER_MS
    if newest_ns is None:
        return Limits(now_ms)
    days = min(retention_days, MOST_DAYS)
    floor_ms = first_kept_day(newest_ns, days) * DAY_NS / NS_PER_MS
    mend = "raise retention_days" if retention_days < MOST_DAYS else "it cannot hold more"
    return Limits(now_ms, floor_ms, f"for the store keeps the {counted(days, 'day')} before its newest bar ({mend})")


async def understand_all(tallies: Sequence[Tally], told: Told, limits: Limits) -> dict[str, Recipe]:
    """Give the recipes of files by their sources; what cannot be read says so in its tally.

    Those that are over are not read, but one symbol told of all is not theirs and another's.
    """
    todo = [t for t in tallies if not t.is_over]
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(place: Place) -> Recipe | FileError:
        async with turns:
            try:
                return await asyncio.to_thread(understand, place, told.of(place.label), limits)
            except FileError as e:
                return e

    found = await asyncio.gather(*(one(t.place) for t in todo))
    if told.symbol is not None:
        found = await asyncio.to_thread(_kept_apart, tallies, found, told)
    good = iter(with_lengths([r for r in found if isinstance(r, Recipe)], told))
    recipes: dict[str, Recipe] = {}
    for tally, first in zip(todo, found, strict=True):
        made = next(good) if isinstance(first, Recipe) else first
        if isinstance(made, Recipe):
            recipes[tally.place.source], tally.bar_s = made, made.bar_s
        else:
            tally.failure, tally.is_over = str(made), True
            if isinstance(made, QuestionError):
                tally.is_question, tally.pair = True, made.pair
    return recipes


def _kept_apart(tallies: Sequence[Tally], found: Sequence[Recipe | FileError], told: Told) -> list[Recipe | FileError]:
    """Ask whose bars the files have where one symbol would name several, those imported before among them."""
    understood = {r.place.source for r in found if isinstance(r, Recipe)}
    named = [r for r in found if isinstance(r, Recipe) and r.symbol is not None]
    if not named:
        return list(found)
    others = [t.place for t in tallies if t.place.source not in understood]
    n = len(named) + sum(is_nameless(place, told) for place in others)
    if n == 1:
        return list(found)
    return [which_of(r.place, told, n) if isinstance(r, Recipe) and r.symbol is not None else r for r in found]
