"""Make, list and drop the days of `bars`: partitions, or chunks of a hypertable."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from features.market.types import I64, NS_PER_S
from ray_apps.store import backfills, imports, timescale
from ray_apps.store.connect import Conn, Ns, fetch

DAY_NS = 86_400 * NS_PER_S
LOCK_KEY = 7_041_777
"""Any fixed number of ours: one change of partitions at a time in one database."""

DAYS_AT_ONCE = 64
"""A day takes about four of the server's 4,096 locks until its transaction ends."""

# Bars have one index, by series and time: two probes of it a series, where a day of 8 million bars takes seconds.
NEWEST = """
WITH RECURSIVE present AS (
    SELECT min(series_id) AS id FROM {bars}
    UNION ALL SELECT (SELECT min(series_id) FROM {bars} WHERE series_id > id) FROM present WHERE id IS NOT NULL
)
SELECT max((SELECT max(ts) FROM {bars} WHERE series_id = id)) FROM present
"""

MOST_DAYS = 3_000
"""With so many tables a question about bars takes 0.4 s and a new day 50 ms; 8,000 exceed the server's locks."""


def days_of(ts_ns: I64) -> set[int]:
    """Give the UTC days (since 1970) of the instants.

    >>> sorted(days_of(np.array([0, DAY_NS - 1, DAY_NS])))
    [0, 1]
    """
    return set(np.unique(ts_ns // DAY_NS).tolist())


def partition_name(day: int) -> str:
    """Give the name of a day's table.

    >>> partition_name(20_000)
    'bars_p20241004'
    """
    return f"bars_p{_date(day):%Y%m%d}"


async def ensure(conn: Conn, days: set[int]) -> None:
    """Make the tables of the days that lack one, 8 ms each for the first thousand; safe from several processes at once.

    A table is made apart and then attached, which does not stop writers of other days. A hypertable makes its own.
    """
    if await timescale.is_hyper(conn):
        return
    missing = sorted(days - set(await days_present(conn)))
    for first in range(0, len(missing), DAYS_AT_ONCE):
        await _make(conn, missing[first : first + DAYS_AT_ONCE])


async def _make(conn: Conn, days: list[int]) -> None:
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        for day in sorted(set(days) - set(await days_present(conn))):
            name = partition_name(day)
            await conn.execute(f"CREATE TABLE {name} (LIKE bars INCLUDING ALL)".encode())
            bounds = f"FROM ('{_date(day):%Y-%m-%d}') TO ('{_date(day + 1):%Y-%m-%d}')"
            await conn.execute(f"ALTER TABLE bars ATTACH PARTITION {name} FOR VALUES {bounds}".encode())


async def tables(conn: Conn) -> dict[int, str]:
    """Give the table of each day that has one, oldest first."""
    if await timescale.is_hyper(conn):
        return await timescale.chunks(conn)
    rows = await fetch(
        conn,
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'bars'::regclass ORDER BY c.relname",
    )
    return {_day_of_name(r[0]): r[0] for r in rows}


async def days_present(conn: Conn) -> list[int]:
    """Give the days that have a table, oldest first."""
    return list(await tables(conn))


async def newest_ts(conn: Conn) -> int | None:
    """Give the start of the newest stored bar, None when there is none: the store's idea of now."""
    for table in reversed((await tables(conn)).values()):
        found = (await fetch(conn, NEWEST.format(bars=table).encode()))[0][0]
        if found is not None:
            return int(found)
    return None


def first_kept_day(newest_ns: int, keep_days: int) -> int:
    """Give the oldest day (since 1970) that is kept when the newest bar starts at `newest_ns`.

    >>> first_kept_day(20_000 * DAY_NS + 5, 30)
    19971
    """
    return newest_ns // DAY_NS - keep_days + 1


async def retention(conn: Conn, keep_days: int) -> list[str]:
    """Drop the days older than the `keep_days` newest and give their names.

    They are counted back from the newest stored bar: the clock is the feed's, so a replayed old year is not
    thrown away for being old. Contexts and superseded bars of those days go too, and history that was brought
    counts as missing again; anomalies, episodes and the rolled-up bars stay.
    """
    if keep_days < 1:
        raise ValueError(f"expected at least 1 day to keep, was {keep_days}")
    newest = await newest_ts(conn)
    if newest is None:
        return []
    first_kept = first_kept_day(newest, keep_days)
    old = [d for d in await days_present(conn) if d < first_kept]
    if old:
        await backfills.forget(conn, first_kept * DAY_NS)
        await imports.forget(conn, first_kept * DAY_NS)
    is_hyper = await timescale.is_hyper(conn)
    for day in old:
        async with conn.transaction():
            await conn.execute("SET LOCAL lock_timeout = '5s'")  # never a queue of writers behind a long read
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
            if is_hyper:
                await timescale.drop(conn, day + 1)
            else:
                await conn.execute(f"DROP TABLE {partition_name(day)}".encode())
    cutoff = Ns(first_kept * DAY_NS)
    await conn.execute("DELETE FROM bar_revisions WHERE ts < %s", (cutoff,))
    await conn.execute("DELETE FROM contexts WHERE ts_end < %s", (cutoff,))
    return [partition_name(d) for d in old]


@dataclass(frozen=True, slots=True)
class Size:
    """What the database takes on disk: bytes per table (indexes included) and bars' bytes per full day."""

    tables: dict[str, int]
    bars_per_day: int
    total: int


async def db_size(conn: Conn) -> Size:
    """Measure the disk use; a day's figure is the mean over all days but the newest, still filling one."""
    rows = await fetch(
        conn,
        "SELECT c.relname, sum(pg_total_relation_size(coalesce(p.inhrelid, c.oid)))::bigint "
        "FROM pg_class c LEFT JOIN pg_inherits p ON p.inhparent = c.oid "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
        "GROUP BY c.relname ORDER BY 2 DESC",
    )
    sizes = {str(r[0]): int(r[1]) for r in rows}
    if await timescale.is_hyper(conn):
        own, days = await timescale.sizes(conn)
        sizes |= own
    else:
        days = await _day_sizes(conn)
    full = days[:-1] or days
    total = await fetch(conn, "SELECT pg_database_size(current_database())")
    return Size(sizes, sum(full) // len(full) if full else 0, int(total[0][0]))


async def _day_sizes(conn: Conn) -> list[int]:
    names = list((await tables(conn)).values())
    rows = await fetch(conn, "SELECT pg_total_relation_size(t::regclass) FROM unnest(%s::text[]) t", (names,))
    return [int(n) for (n,) in rows]


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _day_of_name(name: str) -> int:
    return (datetime.strptime(name.removeprefix("bars_p"), "%Y%m%d").replace(tzinfo=UTC) - _date(0)).days
