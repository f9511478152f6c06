"""Let one process at a time bring the past of a series: claims end with the connection that holds them."""

import asyncio
import zlib

from ray_apps.store.connect import Conn, connect, fetch, unavailable

LOCK_KEY = 7_041_779
"""With a series' number: any fixed number of ours."""


class Claims:
    """The claims of one process, on a connection of its own.

    Losing the connection loses the claims and no more: what two processes bring is stored once.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._conn: Conn | None = None
        self._lock = asyncio.Lock()

    async def take(self, what: str) -> bool:
        """Try once; False while another process has it."""
        return bool(await self._ask("SELECT pg_try_advisory_lock(%s, %s)", what))

    async def give_back(self, what: str) -> None:
        """End a claim."""
        await self._ask("SELECT pg_advisory_unlock(%s, %s)", what)

    async def close(self) -> None:
        """End all claims."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    async def _ask(self, query: str, what: str) -> object:
        number = zlib.crc32(what.encode()) - 2**31
        with unavailable("answer about a claim"):
            conn = await self._connection()
            return (await fetch(conn, query.encode(), (LOCK_KEY, number)))[0][0]

    async def _connection(self) -> Conn:
        async with self._lock:
            if self._conn is None or self._conn.closed:
                self._conn = await connect(self._dsn, f"claims-{self._name}")
            return self._conn
