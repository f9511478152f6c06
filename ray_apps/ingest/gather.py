"""Store stretches of history as they come, those that wait together in one transaction."""

import asyncio
import random
from dataclasses import dataclass

from ray_apps.ingest.backoff import patiently
from ray_apps.store.history import HistoryWriter, Stretch, Written

ROWS_AT_ONCE = 40_000
"""Bars of one transaction, or one stretch if that is longer: a third of a second of the database's time."""


@dataclass(eq=False, slots=True)
class _Waiting:
    stretch: Stretch
    done: asyncio.Future[Written]


class Gather:
    """Writes for many callers: whoever finds the writer free writes what all of them brought meanwhile."""

    def __init__(self, writer: HistoryWriter, settled_ns: int, patience_s: float) -> None:
        self._writer = writer
        self._settled_ns = settled_ns
        self._patience_s = patience_s
        self._rng = random.Random()  # noqa: S311 (spreads waits)
        self._free = asyncio.Lock()
        self._waiting: list[_Waiting] = []

    async def put(self, stretch: Stretch) -> Written:
        """Store a stretch; return when it is committed. One stretch of a series at a time.

        Raises
        ------
        StoreUnavailableError
            When the database is away for longer than the patience, or full.
        """
        mine = _Waiting(stretch, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            async with self._free:
                while not mine.done.done():
                    await self._write_some()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        return mine.done.result()

    async def _write_some(self) -> None:
        """Write those that have waited longest."""
        batch, rows = self._waiting[:1], len(self._waiting[0].stretch.bars)
        for one in self._waiting[1:]:
            rows += len(one.stretch.bars)
            if rows > ROWS_AT_ONCE:
                break
            batch.append(one)
        stretches = [one.stretch for one in batch]
        written = await patiently(lambda: self._writer.write(stretches, self._settled_ns), self._patience_s, self._rng)
        for one, result in zip(batch, written, strict=True):
            one.done.set_result(result)
        self._waiting = [one for one in self._waiting if not one.done.done()]
