"""Open connections that speak int nanoseconds, and keep a few of them for readers."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format

from ray_apps.store.errors import DiskFullError, StoreUnavailableError

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
TIMESTAMPTZ_OID = 1184
PG_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01 UTC."""

Conn = AsyncConnection[tuple[Any, ...]]


class Ns(int):
    """A UTC instant in nanoseconds, sent as timestamptz (which keeps microseconds)."""

    __slots__ = ()


class NsDumper(Dumper):
    """Send an instant in PostgreSQL's binary form."""

    format = Format.BINARY
    oid = TIMESTAMPTZ_OID

    def dump(self, obj: int) -> bytes:
        return struct.pack(">q", obj // 1000 - PG_EPOCH_US)


class NsLoader(Loader):
    """Read an instant from PostgreSQL's binary form."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return (int(struct.unpack(">q", data)[0]) + PG_EPOCH_US) * 1000


def ns(value: int | None) -> Ns | None:
    """Mark an int as an instant for a query's parameter.

    >>> ns(5), ns(None)
    (5, None)
    """
    return None if value is None else Ns(value)


@contextlib.contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn the driver's connection errors, and a full disk, into StoreUnavailableError."""
    try:
        yield
    except psycopg.errors.DiskFull as e:
        raise DiskFullError(f"expected the database to {what}, was out of disk space: {e.diag.message_primary}") from e
    except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as e:
        said = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise StoreUnavailableError(f"expected the database to {what}, was unavailable: {said}") from e


async def connect(dsn: str, name: str, statement_timeout_s: float = STATEMENT_TIMEOUT_S) -> Conn:
    """Open a connection in autocommit mode; `name` shows in pg_stat_activity.

    Raises
    ------
    StoreUnavailableError
        When the database does not answer in time.
    """
    with unavailable("take a connection"):
        conn = await AsyncConnection.connect(
            dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=f"tapewatch-{name}",
            keepalives_idle=10,
            keepalives_interval=3,
            keepalives_count=3,
            tcp_user_timeout=20_000,
        )
        conn.adapters.register_dumper(Ns, NsDumper)
        conn.adapters.register_loader(TIMESTAMPTZ_OID, NsLoader)
        await conn.execute(f"SET statement_timeout = {int(statement_timeout_s * 1000)}; SET jit = off")
    return conn


async def fetch(conn: Conn, query: LiteralString | bytes, params: Any = None) -> list[tuple[Any, ...]]:
    """Run a query in binary form: instants come back as int ns."""
    cursor = await conn.execute(query, params, binary=True)
    return await cursor.fetchall()


class Pool:
    """Lend a bounded number of connections; a broken one is replaced at its next use.

    Parameters
    ----------
    dsn
        Connection string.
    name
        Shows in pg_stat_activity.
    size
        Most connections open at once; further borrowers wait at most `wait_s`.
    """

    def __init__(self, dsn: str, name: str, size: int = 4, wait_s: float = 5.0) -> None:
        self._dsn = dsn
        self._name = name
        self._wait_s = wait_s
        self._free: asyncio.LifoQueue[Conn | None] = asyncio.LifoQueue(size)
        for _ in range(size):
            self._free.put_nowait(None)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Conn]:
        """Borrow a connection.

        Raises
        ------
        StoreUnavailableError
            When none comes free in time, or the database is away.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                conn = await self._free.get()
        except TimeoutError as e:
            raise StoreUnavailableError(f"expected a free connection in {self._wait_s} s, was none") from e
        try:
            if conn is None or conn.closed:
                conn = None
                conn = await connect(self._dsn, self._name)
            with unavailable("answer"):
                yield conn
        finally:
            if conn is not None and (conn.broken or conn.info.transaction_status != 0):
                await conn.close()
            self._free.put_nowait(None if conn is None or conn.closed else conn)

    async def close(self) -> None:
        """Close the idle connections."""
        idle = [self._free.get_nowait() for _ in range(self._free.qsize())]
        for conn in idle:
            if conn is not None:
                await conn.close()
            self._free.put_nowait(None)
