"""Keep a feed's table of series and the stored one the same: the numbers of both are for ever."""

import asyncio
from collections.abc import Callable

from features.market.types import SlotTable
from ray_apps.ingest.journal import Journal
from ray_apps.store import series
from ray_apps.store.connect import Pool
from ray_apps.store.errors import StoreUnavailableError

RETRY_S = 0.5


class Numbering:
    """The series of one feed, in its table and in the store.

    Parameters
    ----------
    table
        Numbers what the stream brings.
    pool
        Connections to the store.
    journal
        Told of series that another process numbered.
    say
        Told what is wrong while the store is away.
    """

    def __init__(self, table: SlotTable, pool: Pool, journal: Journal | None, say: Callable[[str], None]) -> None:
        self._table = table
        self._pool = pool
        self._journal = journal
        self._say = say
        self._n_stored = 0

    async def load(self) -> None:
        """Give the table the stored numbers."""
        async with self._pool.connection() as conn:
            for s in await series.load(conn, self._table.asset_class):
                self._table.slot(s.symbol, s.bar_s)
        self._n_stored = len(self._table)

    async def store(self) -> None:
        """Store new series before any bar of theirs; waits for the database as long as it takes.

        Raises
        ------
        SlotTakenError
            Where another process was first: the next start reads the table anew.
        """
        fresh = self._table.since(self._n_stored)
        rows = [(self._n_stored + i, s.symbol, s.bar_s) for i, s in enumerate(fresh)]
        while rows:
            try:
                async with self._pool.connection() as conn:
                    await series.register(conn, self._table.asset_class, rows)
                self._n_stored += len(rows)
                return
            except StoreUnavailableError as e:
                self._say(str(e))
                await asyncio.sleep(RETRY_S)

    async def adopt(self) -> None:
        """Take over series that another process numbered, before the stream numbers others like them."""
        n = len(self._table)
        if n != self._n_stored:
            return
        async with self._pool.connection() as conn:
            found = await series.load(conn, self._table.asset_class, n)
        if found and len(self._table) == self._n_stored == n:
            for s in found:
                self._table.slot(s.symbol, s.bar_s)
            self._n_stored = len(self._table)
            if self._journal is not None:
                self._journal.series(found)
