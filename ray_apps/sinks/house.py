"""Keep house in the store: roll bars up, drop old days, forget what was delivered long ago."""

from ray_apps.sinks.outbox import purge
from ray_apps.store import partitions, timescale
from ray_apps.store.connect import connect
from ray_apps.store.rollup import DAY_NS, rollup, rollup_noted

ROLLUP_NS = 2 * 3_600 * 10**9
"""How far back the newest bars are rolled up again: corrections of an open hour included."""
ROLLUP_DAYS = 20
"""Days of history that was brought, rolled up at a time."""


async def keep_house(dsn: str, keep_days: int) -> list[str]:
    """Do it once; give the names of the days dropped.

    Raises
    ------
    StoreUnavailableError
        When the database is away.
    """
    conn = await connect(dsn, "housekeeping")
    try:
        newest = await partitions.newest_ts(conn)
        if newest is None:
            return []
        if await timescale.is_hyper(conn):
            await timescale.rollup(conn, newest - ROLLUP_NS, newest + ROLLUP_NS)
            await timescale.rollup_noted(conn, ROLLUP_DAYS)
        else:
            await rollup(conn, newest - ROLLUP_NS, newest + ROLLUP_NS)
            await rollup_noted(conn, ROLLUP_DAYS)
        dropped = await partitions.retention(conn, keep_days)
        await purge(conn, newest - keep_days * DAY_NS)
        return dropped
    finally:
        await conn.close()
