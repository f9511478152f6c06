"""Read back the bars a shard had folded, in time order, as columns: start and recover are this one path."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from features.market.types import I32, NS_PER_S, AssetClass
from ray_apps.store import partitions
from ray_apps.store.connect import PG_EPOCH_US, Conn, Ns
from ray_apps.store.copying import BAR_COLUMNS, NULLABLE
from ray_apps.store.rows import BAR_FIELDS, BarRows, series_id

# ruff: noqa: S608 (statements are put together from constants of this package only)

BLOCK_ROWS = 200_000
"""Rows a block aims at: about 20 MB."""

MINUTE_NS = 60 * NS_PER_S
FIRST_WINDOW_NS = 15 * MINUTE_NS
LONGEST_WINDOW_NS = partitions.DAY_NS
ARRAY_OIDS = {"int4": 1007, "float8": 1022, "timestamptz": 1185, "bool": 1000}
ELEMENTS = {1007: ">i4", 1022: ">f8", 1185: ">i8", 1000: "?"}
ARRAY_HEADER = 20
"""Bytes before the elements of an array of one dimension: dimensions, flags, type, length, lower bound."""


def _columns(alias: str) -> str:
    # NULL becomes NaN here: without NULLs the elements have one stride.
    read = {c: f"coalesce({alias}.{c}, 'NaN')" for c in NULLABLE}
    if alias == "b":
        read["received_at"] = "coalesce(b.revised_at, b.received_at)"
    return ", ".join(f"{read.get(c, f'{alias}.{c}')} AS {c}" for c in BAR_COLUMNS)


WINDOW = f"""
SELECT {", ".join(f"array_agg({c})" for c in BAR_COLUMNS)} FROM (
    SELECT * FROM (
        SELECT {_columns("b")} FROM bars b
        WHERE b.in_state AND b.series_id = ANY(%(ids)s) AND b.ts >= %(start)s AND b.ts < %(end)s
        UNION ALL
        SELECT * FROM (
            SELECT DISTINCT ON (r.series_id, r.ts) {_columns("r")}
            FROM bar_revisions r JOIN bars b ON b.series_id = r.series_id AND b.ts = r.ts
            WHERE r.in_state AND NOT b.in_state AND r.series_id = ANY(%(ids)s)
                AND r.ts >= %(start)s AND r.ts < %(end)s AND b.ts >= %(start)s AND b.ts < %(end)s
            ORDER BY r.series_id, r.ts, r.revision DESC
        ) folded
    ) both_kinds ORDER BY ts, series_id
) q
"""


ALL = f"""
SELECT {", ".join(f"array_agg({c})" for c in BAR_COLUMNS)} FROM (
    SELECT {_columns("b")} FROM bars b
    WHERE b.series_id = ANY(%(ids)s) AND b.ts >= %(start)s AND b.ts < %(end)s ORDER BY ts, series_id
) q
"""


class RawLoader(Loader):
    """Give an array's bytes as they came."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


async def bars_since(
    conn: Conn, asset_class: AssetClass, slots: I32, since_ts: int, block_rows: int = BLOCK_ROWS, *,
    folded: bool = True,
) -> AsyncIterator[BarRows]:  # fmt: skip
    """Give the bars of the slots with ts >= since_ts, ordered by (ts, slot), in blocks: the folded ones, or all.

    Of folded bars the values are those that were folded: of a bar revised too late for the state (its row has
    `in_state` false) the superseded ones that were; of a bar that never was, nothing. `recv` is when those values were
    received. Blocks are cut between minutes, never within one.
    """
    days = await partitions.days_present(conn)
    newest = await partitions.newest_ts(conn)
    ids = [series_id(asset_class, int(s)) for s in slots]
    start, step = since_ts // MINUTE_NS * MINUTE_NS, FIRST_WINDOW_NS
    while newest is not None and start <= newest and ids:
        day = next(d for d in days if (d + 1) * partitions.DAY_NS > start)
        start = max(start, day * partitions.DAY_NS)  # no query for days without a table
        block = await _window(conn, WINDOW if folded else ALL, ids, start, start + step)
        if len(block):
            yield block
        start += step
        if len(block) < block_rows // 4:
            step = min(step * 2, LONGEST_WINDOW_NS)
        elif len(block) > block_rows:
            step = max(step // 2 // MINUTE_NS, 1) * MINUTE_NS


async def _window(conn: Conn, query: str, ids: list[int], start: int, end: int) -> BarRows:
    async with conn.cursor(binary=True) as cursor:
        for oid in ARRAY_OIDS.values():
            cursor.adapters.register_loader(oid, RawLoader)
        await cursor.execute(query.encode(), {"ids": ids, "start": Ns(start), "end": Ns(end)})
        row = await cursor.fetchone()
    arrays = [None] * len(BAR_FIELDS) if row is None else list(row)
    return BarRows(**{name: _decode(name, data) for name, data in zip(BAR_FIELDS, arrays, strict=True)})


def _decode(name: str, data: bytes | None) -> NDArray[Any]:
    """Give the elements of a binary array without NULLs; no array (no row) is an empty one."""
    is_time = name in ("ts", "recv")
    oid = ARRAY_OIDS["int4" if name == "series_id" else "bool" if name == "in_state" else "float8"]
    element = ELEMENTS[ARRAY_OIDS["timestamptz"] if is_time else oid]
    record = np.dtype([("length", ">i4"), ("value", element)])
    values = np.frombuffer(data, record, offset=ARRAY_HEADER)["value"] if data else np.empty(0, element)
    native = values.astype(values.dtype.newbyteorder("="))
    return (native + PG_EPOCH_US) * 1000 if is_time else native
