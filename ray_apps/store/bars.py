"""Put bars into their table inside a caller's transaction: new ones, those that may be stored, revisions.

A bar of a stored window with other values is a revision: the new values replace the old ones, which move to
`bar_revisions`. A connection needs the staging table first (`STAGE`).
"""

# ruff: noqa: S608 (statements are put together from constants of this package only)

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from psycopg import errors

from ray_apps.store.connect import Conn, Ns, fetch
from ray_apps.store.copying import BAR_COLUMNS, encode
from ray_apps.store.rows import BarRows

COLUMNS = ", ".join(BAR_COLUMNS)
VALUES = ("open", "high", "low", "close", "volume", "vwap", "trades")
BOTH = "b.series_id = s.series_id AND b.ts = s.ts AND b.ts BETWEEN %(first)s AND %(last)s"
DIFFERS = f"({', '.join('b.' + c for c in VALUES)}) IS DISTINCT FROM ({', '.join('s.' + c for c in VALUES)}) AND {BOTH}"
STAGE = (
    f"CREATE TEMP TABLE stage_bars ON COMMIT DELETE ROWS AS SELECT {COLUMNS} FROM bars LIMIT 0;"
    # The staged table has no statistics: keep the planner to one index probe a staged row.
    "SET enable_hashjoin = off; SET enable_mergejoin = off"
)
# Keys in one order: of two that write the same windows the second waits for the first, never both.
_ADD = f"""
WITH added AS (
    INSERT INTO bars ({COLUMNS}) SELECT {COLUMNS} FROM stage_bars ORDER BY series_id, ts {{}} RETURNING series_id
)
SELECT series_id, count(*) FROM added GROUP BY series_id
"""
ADD_ALL = _ADD.format("")
ADD_ABSENT = _ADD.format("ON CONFLICT DO NOTHING")
# One probe a staged row, whatever the planner thinks: it takes days just written, without statistics, for empty.
CHANGED = f"stage_bars s CROSS JOIN LATERAL (SELECT b.* FROM bars b WHERE {DIFFERS} OFFSET 0) b"
KEEP_SUPERSEDED = f"""
INSERT INTO bar_revisions ({COLUMNS}, revision, superseded_at)
SELECT b.series_id, b.ts, coalesce(b.revised_at, b.received_at),
    {", ".join("b." + c for c in VALUES)}, b.in_state, b.revision, s.received_at
FROM {CHANGED}
"""
REVISE = f"""
WITH revised AS (
    INSERT INTO bars AS b ({COLUMNS}) SELECT {", ".join("s." + c for c in BAR_COLUMNS)} FROM {CHANGED}
    ORDER BY s.series_id, s.ts
    ON CONFLICT (series_id, ts) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in (*VALUES, "in_state"))},
        revised_at = excluded.received_at, revision = b.revision + 1
    RETURNING b.series_id
)
SELECT series_id, count(*) FROM revised GROUP BY series_id
"""
# History may have brought a bar before the stream did; once folded it is one of the state's.
ADOPT = f"UPDATE bars b SET in_state = true FROM stage_bars s WHERE s.in_state AND NOT b.in_state AND {BOTH}"


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to: numbers of bars by series; all others were stored with these values already."""

    new: dict[int, int]
    revised: dict[int, int] = field(default_factory=dict)


async def insert(conn: Conn, bars: BarRows) -> None:
    """Copy bars believed new straight into the table; should one exist, merge them all instead."""
    try:
        async with conn.transaction():
            await _copy(conn, f"COPY bars ({COLUMNS}) FROM STDIN BINARY", bars)
    except errors.UniqueViolation:
        await merge(conn, bars)


async def add(conn: Conn, bars: BarRows) -> dict[int, int]:
    """Store the bars whose windows are not stored, one a window; give their number by series."""
    await _stage(conn, bars)
    return await _count(conn, ADD_ABSENT)


async def merge(conn: Conn, bars: BarRows, are_new: bool = False) -> Merged:
    """Store what is new and revise what differs, one bar a window.

    `are_new` says that none is believed to be stored: all are then added at once, at half the price.
    """
    await _stage(conn, bars)
    if are_new:
        with suppress(errors.UniqueViolation):
            async with conn.transaction():
                return Merged(await _count(conn, ADD_ALL))
    new = await _count(conn, ADD_ABSENT)
    if sum(new.values()) == len(bars):
        return Merged(new)
    span = {"first": Ns(bars.ts.min()), "last": Ns(bars.ts.max())}
    kept = await conn.execute(KEEP_SUPERSEDED.encode(), span)
    revised = await _count(conn, REVISE, span) if kept.rowcount else {}
    if bars.in_state.any():
        await conn.execute(ADOPT.encode(), span)
    return Merged(new, revised)


def rounds(bars: BarRows) -> list[np.ndarray[Any, np.dtype[np.intp]] | None]:
    """Split rows so that a window's n-th bar comes in round n; [None], all rows, when no window repeats."""
    order = np.lexsort((bars.ts, bars.series_id))  # stable: equal windows keep their order of arrival
    sid, ts = bars.series_id[order], bars.ts[order]
    is_repeat = np.zeros(len(bars), dtype=bool)
    is_repeat[1:] = (sid[1:] == sid[:-1]) & (ts[1:] == ts[:-1])
    if not is_repeat.any():
        return [None]
    at = np.arange(len(bars))
    nth = at - np.maximum.accumulate(np.where(is_repeat, 0, at))
    return [np.sort(order[nth == k]) for k in range(int(nth.max()) + 1)]


async def _stage(conn: Conn, bars: BarRows) -> None:
    await conn.execute("DELETE FROM stage_bars")
    await _copy(conn, f"COPY stage_bars ({COLUMNS}) FROM STDIN BINARY", bars)


async def _count(conn: Conn, query: str, params: dict[str, Ns] | None = None) -> dict[int, int]:
    return {int(series): int(n) for series, n in await fetch(conn, query.encode(), params)}


async def _copy(conn: Conn, query: str, bars: BarRows) -> None:
    async with conn.cursor() as cursor, cursor.copy(query.encode()) as copy:
        await copy.write(encode(bars))
