"""Read one series' bars as columns, as stored: 500,000 a second, where blocks of many series give half of that."""

from dataclasses import dataclass

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.types import NS_PER_S
from ray_apps.store import partitions
from ray_apps.store.connect import PG_EPOCH_US, Conn, Ns, fetch
from ray_apps.store.copying import NULLABLE

# ruff: noqa: S608 (statements are put together from constants of this package only)

WINDOWS_AT_ONCE = 45_000
"""A month of minutes: larger arrays cost the server more a bar."""

_SENT = ", ".join(
    "string_agg(timestamptz_send(ts), '')"
    if c == "ts"
    else f"string_agg(float8send(coalesce({c}, 'NaN')), '')"
    if c in NULLABLE
    else f"string_agg(float8send({c}), '')"
    for c in COLUMN_NAMES
)
"""The values in their binary form end to end: an array of them costs the server a fifth more."""
PART = f"""
SELECT {_SENT} FROM (
    SELECT * FROM bars WHERE series_id = %(id)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts
) q
"""


@dataclass(frozen=True, slots=True)
class Extent:
    """Start of the first and of the last stored bar of some series, UTC ns."""

    first_ns: int
    last_ns: int


async def bars_of(conn: Conn, series: int, bar_s: int, from_ns: int, to_ns: int) -> BarColumns:
    """Give the bars of a series (`rows.series_id`) that start in a half-open span, oldest first."""
    step = WINDOWS_AT_ONCE * bar_s * NS_PER_S
    starts = range(from_ns, max(to_ns, from_ns + 1), step)
    parts = [await _part(conn, series, start, min(start + step, to_ns)) for start in starts]
    return BarColumns(*(np.concatenate([getattr(p, name) for p in parts]) for name in COLUMN_NAMES))


async def extent(conn: Conn, series: list[int]) -> Extent | None:
    """Give the span of what is stored of some series; None where nothing is."""
    tables = list((await partitions.tables(conn)).values()) if series else []
    first = await _edge(conn, tables, "min", series)
    last = await _edge(conn, tables[::-1], "max", series)
    return None if first is None or last is None else Extent(first, last)


async def _part(conn: Conn, series: int, start: int, end: int) -> BarColumns:
    found = await fetch(conn, PART.encode(), {"id": series, "start": Ns(start), "end": Ns(end)})
    ts, *values = (b"" if sent is None else sent for sent in found[0])
    us = np.frombuffer(ts, ">i8").astype(np.int64)
    return BarColumns((us + PG_EPOCH_US) * 1000, *(np.frombuffer(v, ">f8").astype(np.float64) for v in values))


async def _edge(conn: Conn, tables: list[str], pick: str, series: list[int]) -> int | None:
    """Give the first or last start in the first of the days' tables that has any."""
    for table in tables:
        query = f"SELECT {pick}(ts) FROM {table} WHERE series_id = ANY(%s)"
        found = (await fetch(conn, query.encode(), (series,)))[0][0]
        if found is not None:
            return int(found)
    return None
