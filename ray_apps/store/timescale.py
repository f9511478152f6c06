"""Keep bars in a hypertable of TimescaleDB where a fresh database offers it; one of plain tables stays plain.

A chunk holds one UTC day, as a partition of the plain table does. `bars_5m` and `bars_1h` are views of continuous
aggregates, so the same SQL reads both. Dropping old days and rolling up are done by our housekeeping, not by policies
of the extension: its clock is the newest stored bar, theirs the wall's.
"""

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ray_apps.store.connect import Conn, Ns, fetch
from ray_apps.store.rollup import DAY_NS, FOLD, HOUR_NS, SOURCE

# ruff: noqa: S608 (statements are put together from constants of this package only)

COMPRESS_AFTER_DAYS = 7
"""Corrections of the last week meet rows as they were written; older ones are unpacked for it."""

# The extension can be made only where its loader runs in the server, which shows in a setting anybody may read.
IS_OFFERED = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
    AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL
"""
IS_WHOLE = "SELECT current_setting('timescaledb.license', true) = 'timescale'"
"""The Apache edition has neither compression nor continuous aggregates."""
IS_FRESH = """
SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'bars'::regclass)
    AND NOT EXISTS (SELECT FROM bars_5m) AND NOT EXISTS (SELECT FROM bars_1h)
"""
IS_HYPER = "SELECT relkind = 'r' FROM pg_class WHERE oid = 'bars'::regclass"
"""The plain table is partitioned (`p`), a hypertable is a table with children."""
CHUNKS = """
SELECT range_start, format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = 'bars' ORDER BY range_start
"""
DAY_SIZES = """
SELECT d.total_bytes FROM chunks_detailed_size('bars') d
JOIN timescaledb_information.chunks c USING (chunk_schema, chunk_name) ORDER BY c.range_start
"""
SIZES = """
SELECT substr(view_name, 5), hypertable_size(
    format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass)
FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()
"""
DROP = "SELECT drop_chunks('bars', older_than => %s::timestamptz)"
REFRESH = "CALL refresh_continuous_aggregate('all_{name}', %s::timestamptz, %s::timestamptz)"
NOTED = "SELECT day, xmin::text FROM unrolled_days ORDER BY day LIMIT 1"
ROLLED = "DELETE FROM unrolled_days WHERE day = %s AND xmin::text = %s"
"""Only as it was read: a day noted again meanwhile is another version of its row, and waits for its writer."""


def statements(compress_after_days: int = COMPRESS_AFTER_DAYS) -> tuple[str, ...]:
    """Give what makes the empty plain tables of bars a hypertable with its aggregates, in order.

    >>> statements(3)[5]
    "SELECT add_compression_policy('bars', compress_after => INTERVAL '3 days')"
    """
    if compress_after_days < 1:
        raise ValueError(f"expected at least 1 day before bars are compressed, was {compress_after_days}")
    return (
        "CREATE TABLE hyper_bars (LIKE bars INCLUDING ALL)",
        "DROP TABLE bars, bars_5m, bars_1h",
        "ALTER TABLE hyper_bars RENAME TO bars",
        "SELECT create_hypertable('bars', by_range('ts', INTERVAL '1 day'), create_default_indexes => false)",
        "ALTER TABLE bars SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id', "
        "timescaledb.compress_orderby = 'ts')",
        f"SELECT add_compression_policy('bars', compress_after => INTERVAL '{compress_after_days} days')",
        *_aggregate("bars_5m", "bars", "5 minutes", f" WHERE series_id IN ({SOURCE})"),
        *_aggregate("bars_1h", "all_bars_5m", "1 hour", f" WHERE series_id IN ({SOURCE})"),
    )


def undoing() -> tuple[str, ...]:
    """Give what makes the aggregates plain tables again; the hypertable itself stays."""
    made: list[str] = []
    for name in ("bars_1h", "bars_5m"):
        made += [
            f"CREATE TABLE plain AS SELECT * FROM {name}",
            f"DROP VIEW {name}",
            f"DROP MATERIALIZED VIEW all_{name}",
            f"ALTER TABLE plain RENAME TO {name}",
            f"ALTER TABLE {name} ADD PRIMARY KEY (series_id, ts)",
        ]
    return tuple(made)


def _aggregate(name: str, source: str, width: str, only: str) -> tuple[str, str]:
    """Give an aggregate of all series, and the view that shows those the plain tables hold."""
    folded = f"SELECT b.series_id, time_bucket('{width}', b.ts) AS ts, {FOLD} FROM {source} b"
    options = "timescaledb.continuous, timescaledb.materialized_only = false"
    return (
        f"CREATE MATERIALIZED VIEW all_{name} WITH ({options}) AS {folded} "
        f"GROUP BY b.series_id, time_bucket('{width}', b.ts) WITH NO DATA",
        f"CREATE VIEW {name} AS SELECT * FROM all_{name}{only}",
    )


def adopt(conn: Connection) -> str:
    """Make the tables of bars a hypertable where that can be; give why not, empty where it was done or is not offered.

    For the step of a migration, in its transaction.
    """
    if not conn.execute(text(IS_OFFERED)).scalar():
        return ""
    try:
        with conn.begin_nested():
            conn.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
    except DBAPIError as e:
        return f"the extension could not be made ({str(e.orig).splitlines()[0]})"
    if not conn.execute(text(IS_WHOLE)).scalar():
        return "the server has its Apache edition, without compression"
    if not conn.execute(text(IS_FRESH)).scalar():
        return "the tables hold bars already"
    for statement in statements():
        conn.exec_driver_sql(statement.replace("%", "%%"))
    return ""


async def is_hyper(conn: Conn) -> bool:
    """Say whether bars are in a hypertable."""
    return bool((await fetch(conn, IS_HYPER))[0][0])


async def chunks(conn: Conn) -> dict[int, str]:
    """Give the table of each day (since 1970) that has one, oldest first."""
    return {int(start) // DAY_NS: str(name) for start, name in await fetch(conn, CHUNKS)}


async def drop(conn: Conn, first_kept: int) -> None:
    """Drop the days (since 1970) before one; what was rolled up of them stays."""
    await conn.execute(DROP, (Ns(first_kept * DAY_NS),))


async def sizes(conn: Conn) -> tuple[dict[str, int], list[int]]:
    """Give the bytes of the rolled-up tables, and those of each day of bars, oldest first; indexes included."""
    days = [int(n) for (n,) in await fetch(conn, DAY_SIZES)]
    rolled = {str(name): int(n) for name, n in await fetch(conn, SIZES)}
    return {"bars": sum(days), **rolled}, days


async def rollup(conn: Conn, from_ts: int, to_ts: int) -> None:
    """Roll up every hour that meets [from_ts, to_ts), as far as its bars changed."""
    span = Ns(from_ts // HOUR_NS * HOUR_NS), Ns(-(-to_ts // HOUR_NS) * HOUR_NS)
    for name in ("bars_5m", "bars_1h"):
        await conn.execute(REFRESH.format(name=name).encode(), span)


async def rollup_noted(conn: Conn, most: int) -> int:
    """Roll up noted days, the oldest first, at most so many; give how many it were."""
    for done in range(most):
        row: list[tuple[Any, ...]] = await fetch(conn, NOTED)
        if not row:
            return done
        day, version = row[0]
        await rollup(conn, day * DAY_NS, (day + 1) * DAY_NS)
        await conn.execute(ROLLED, (day, version))
    return most
