"""Read stored bars back in time order, as columns: those a shard had folded, to recover, or all of them, to replay."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import COLUMNS, BarBlock, pivot
from features.market.types import I32, NS_PER_S, AssetClass
from ray_apps.store import partitions
from ray_apps.store.connect import PG_EPOCH_US, Conn, Ns
from ray_apps.store.copying import BAR_COLUMNS, NULLABLE, WIRE
from ray_apps.store.rows import BAR_FIELDS, CLASS_STRIDE, BarRows, series_id

# ruff: noqa: S608 (statements are put together from constants of this package only)

BLOCK_ROWS = 200_000
"""Rows a block aims at: about 20 MB."""
MOST_BLOCKS = 2
"""A block holds at most so many times what it aims at, unless one minute does."""

MINUTE_NS = 60 * NS_PER_S
FIRST_WINDOW_NS = 15 * MINUTE_NS
LONGEST_WINDOW_NS = partitions.DAY_NS
RECORD = np.dtype([(name, WIRE[name]) for name in BAR_FIELDS])
"""A row as `_packed` sends it: every field of a fixed width, so a block of rows is one value and one numpy view.

An array per column costs the server twice as much (2.5 us a row against 1.1)."""
SENDS = {"i4": "int4send", "i8": "timestamptz_send", "f8": "float8send", "b1": "boolsend"}


def _columns(alias: str) -> str:
    # NULL becomes NaN here: a row with a NULL in it would vanish from what is sent.
    read = {c: f"coalesce({alias}.{c}, 'NaN')" for c in NULLABLE}
    if alias == "b":
        read["received_at"] = "coalesce(b.revised_at, b.received_at)"
    return ", ".join(f"{read.get(c, f'{alias}.{c}')} AS {c}" for c in BAR_COLUMNS)


def _packed() -> str:
    """Give the expression that joins all rows of a query, each in the form of `RECORD`."""
    sends = (SENDS[np.dtype(WIRE[name]).str[1:]] for name in BAR_FIELDS)
    row = " || ".join(f"{send}({column})" for send, column in zip(sends, BAR_COLUMNS, strict=True))
    return f"string_agg({row}, '')"


def _all(chosen: str) -> str:
    """Give the query for all bars of the series `chosen`."""
    return f"SELECT {_packed()} FROM (SELECT {_columns('b')} FROM bars b WHERE {chosen} AND {SPAN}) q"


def _folded(chosen: str) -> str:
    """Give the query for the values that were folded."""
    return f"""
    SELECT {_packed()} FROM (
        SELECT {_columns("b")} FROM bars b WHERE b.in_state AND {chosen} AND {SPAN}
        UNION ALL
        SELECT * FROM (
            SELECT DISTINCT ON (b.series_id, b.ts) {_columns("r")}
            FROM bar_revisions r JOIN bars b ON b.series_id = r.series_id AND b.ts = r.ts
            WHERE r.in_state AND NOT b.in_state AND {chosen} AND {SPAN} AND r.ts >= %(start)s AND r.ts < %(end)s
            ORDER BY b.series_id, b.ts, r.revision DESC
        ) folded
    ) q
    """


SPAN = "b.ts >= %(start)s AND b.ts < %(end)s"
SOME = "b.series_id = ANY(%(ids)s)"
RUN = "b.series_id BETWEEN %(first)s AND %(last)s"
"""Series without a gap between their numbers, as those of a whole class: a quarter cheaper than a list of them."""


async def bars_since(
    conn: Conn, asset_class: AssetClass, slots: I32, since_ts: int, block_rows: int = BLOCK_ROWS
) -> AsyncIterator[BarRows]:
    """Give the folded bars of the slots with ts >= since_ts, ordered by (ts, slot), in blocks.

    The values are those that were folded: of a bar revised too late for the state (its row has `in_state` false) the
    superseded ones that were; of a bar that never was, nothing. `recv` is when those values were received. Blocks are
    cut between minutes, never within one.
    """
    async for rows in _blocks(conn, asset_class, slots, since_ts, None, block_rows, _folded):
        yield rows.take(np.lexsort((rows.series_id, rows.ts)))


async def blocks_since(
    conn: Conn, asset_class: AssetClass, slots: I32, bar_s: int, since_ts: int, until_ts: int | None = None,
    block_rows: int = BLOCK_ROWS,
) -> AsyncIterator[BarBlock]:  # fmt: skip
    """Give all stored bars, folded or not, of slots of one bar length with since_ts <= ts < until_ts.

    They come as blocks over the slots that have any, in time order, cut between minutes.
    """
    async for rows in _blocks(conn, asset_class, slots, since_ts, until_ts, block_rows, _all):
        columns = {name: getattr(rows, name) for name in COLUMNS}
        yield pivot((rows.series_id % CLASS_STRIDE).astype(np.int32), columns, bar_s)


async def _blocks(
    conn: Conn, asset_class: AssetClass, slots: I32, since_ts: int, until_ts: int | None, block_rows: int,
    query: Callable[[str], str],
) -> AsyncIterator[BarRows]:  # fmt: skip
    """Give rows, in no order within a block; a block of more than a minute is counted before it is read."""
    ids = sorted(series_id(asset_class, int(s)) for s in slots)
    days = await partitions.days_present(conn)
    newest = await partitions.newest_ts(conn)
    until = 0 if newest is None or not ids else newest + MINUTE_NS
    until = until if until_ts is None else min(until, until_ts)
    chosen = RUN if ids and ids[-1] - ids[0] + 1 == len(ids) else SOME
    count, read = f"SELECT count(*) FROM bars b WHERE {chosen} AND {SPAN}", query(chosen)
    start, step = since_ts // MINUTE_NS * MINUTE_NS, FIRST_WINDOW_NS
    while start < until:
        day = next(d for d in days if (d + 1) * partitions.DAY_NS > start)
        start = max(start, day * partitions.DAY_NS)  # no query for days without a table
        span: dict[str, Any] = {"start": Ns(start), "end": Ns(max(start, min(start + step, until)))}
        span |= {"first": ids[0], "last": ids[-1]} if chosen == RUN else {"ids": ids}
        n = int(await _value(conn, count, span))
        if n > MOST_BLOCKS * block_rows and step > MINUTE_NS:
            step = _shorter(step, block_rows / n)
            continue
        rows = await _rows(conn, read, span) if n else None
        if rows is not None and len(rows):
            yield rows
        start += step
        if n < block_rows // 4:
            step = min(step * 2, LONGEST_WINDOW_NS)
        elif n > block_rows:
            step = _shorter(step, 0.5)


def _shorter(step: int, factor: float) -> int:
    """Give a part of a span of time in whole minutes, at least one."""
    return max(int(step * factor) // MINUTE_NS, 1) * MINUTE_NS


async def _rows(conn: Conn, query: str, span: dict[str, Any]) -> BarRows:
    records = np.frombuffer(await _value(conn, query, span) or b"", RECORD)
    return BarRows(**{name: _native(name, records[name]) for name in BAR_FIELDS})


async def _value(conn: Conn, query: str, span: dict[str, Any]) -> Any:
    """Give the one value of a query, planned for this very span: a plan for any span knows neither day nor series."""
    cursor = await conn.execute(query.encode(), span, prepare=False, binary=True)
    row = await cursor.fetchone()
    return row[0] if row else None


def _native(name: str, values: NDArray[Any]) -> NDArray[Any]:
    native = values.astype(values.dtype.newbyteorder("="))
    return (native + PG_EPOCH_US) * 1000 if name in ("ts", "recv") else native
