"""Hold a name for one process at a time, fenced by an epoch; only the database's clock counts."""

import asyncio
from contextlib import suppress
from typing import Any

from ray_apps.store.connect import Conn, connect, fetch, unavailable
from ray_apps.store.errors import StoreUnavailableError

ACQUIRE = """
INSERT INTO leases AS l (name, holder, epoch, expires_at)
VALUES (%(name)s, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(ttl)s))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
WHERE l.expires_at <= clock_timestamp() OR l.holder = excluded.holder
RETURNING epoch
"""
RENEW = """
UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE name = %(name)s AND holder = %(holder)s AND epoch = %(epoch)s RETURNING epoch
"""
RELEASE = """
UPDATE leases SET expires_at = '-infinity'
WHERE name = %(name)s AND holder = %(holder)s AND epoch = %(epoch)s
"""


class Lease:
    """A row of `leases`: name, holder, epoch, expiry.

    The epoch grows at each acquisition, so whoever writes under an older one is refused (`writer`). A holder
    that asks again gets a new epoch at once: its former self, should it still run, is fenced off.

    Parameters
    ----------
    dsn, name
        Database, and what is held ("feed:stocks", "shard:stocks:0").
    holder
        Unique per process: two that share one would take the lease from each other.
    ttl_s
        How long the lease outlives its last renewal; renew every third of it.
    """

    def __init__(self, dsn: str, name: str, holder: str, ttl_s: float = 6.0) -> None:
        if ttl_s <= 0:
            raise ValueError(f"expected a positive ttl_s, was {ttl_s}")
        self.name = name
        self.ttl_s = ttl_s
        self.epoch: int | None = None
        self._dsn = dsn
        self._holder = holder
        self._conn: Conn | None = None

    async def acquire(self) -> int | None:
        """Try once; give the epoch, or None while another holder has it."""
        rows = await self._run(ACQUIRE)
        self.epoch = int(rows[0][0]) if rows else None
        return self.epoch

    async def wait(self, timeout_s: float) -> int | None:
        """Be a warm spare: try until the lease is ours, four times in its life; None after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    with suppress(StoreUnavailableError):
                        epoch = await self.acquire()
                        if epoch is not None:
                            return epoch
                    await asyncio.sleep(self.ttl_s / 4)
        return None

    async def renew(self) -> bool:
        """Prolong the lease; False when it is no longer ours.

        Raises
        ------
        StoreUnavailableError
            When the database does not answer: nobody else can take the lease meanwhile, so keep trying.
        """
        if self.epoch is None:
            return False
        if not await self._run(RENEW):
            self.epoch = None
        return self.epoch is not None

    async def release(self) -> None:
        """Give the lease back at once, if it is ours, and close the connection."""
        try:
            if self.epoch is not None:
                await self._run(RELEASE + "RETURNING epoch")
        finally:
            self.epoch = None
            await self._drop()

    async def _run(self, query: str) -> list[tuple[Any, ...]]:
        params = {"name": self.name, "holder": self._holder, "ttl": self.ttl_s, "epoch": self.epoch}
        try:
            with unavailable("answer about a lease"):
                async with asyncio.timeout(self.ttl_s):
                    if self._conn is None or self._conn.closed:
                        self._conn = await connect(self._dsn, f"lease-{self.name}", self.ttl_s)
                    return await fetch(self._conn, query.encode(), params)
        except BaseException:
            await self._drop()
            raise

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()
