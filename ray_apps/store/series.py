"""Keep the numbers of series: a slot once given is for ever."""

from collections.abc import Sequence

import psycopg

from features.market.types import NS_PER_S, AssetClass, Series
from ray_apps.store import partitions
from ray_apps.store.connect import Conn, fetch
from ray_apps.store.errors import SlotTakenError, StoreError
from ray_apps.store.rows import CLASS_STRIDE, class_index, series_id

LOCK_KEY = 7_041_778
"""With the class's number: one process at a time numbers series of a class."""


async def register(conn: Conn, asset_class: AssetClass, series: Sequence[tuple[int, str, int]]) -> None:
    """Store new series as (slot, symbol, bar_s), all or none; those stored already are left alone.

    Raises
    ------
    SlotTakenError
        When a slot or a (symbol, bar length) is stored with another partner: another process has numbered series
        since the caller read the table.
    """
    if not series:
        return
    async with conn.transaction():
        await _lock(conn, asset_class)
        await _insert(conn, asset_class, series)


async def allocate(conn: Conn, asset_class: AssetClass, series: Sequence[tuple[str, int]]) -> list[int]:
    """Give the slots of series (symbol, bar_s), numbering those that are new after all that are stored."""
    if not series:
        return []
    async with conn.transaction():
        await _lock(conn, asset_class)
        rows = await fetch(
            conn,
            "SELECT symbol, bar_s, slot FROM series WHERE asset_class = %s AND symbol = ANY(%s)",
            (asset_class.value, [symbol for symbol, _ in series]),
        )
        found = {(symbol, bar_s): int(slot) for symbol, bar_s, slot in rows}
        fresh = [s for s in dict.fromkeys(series) if s not in found]
        if fresh:
            query = "SELECT coalesce(max(slot) + 1, 0) FROM series WHERE asset_class = %s"
            first = int((await fetch(conn, query, (asset_class.value,)))[0][0])
            numbered = [(first + i, symbol, bar_s) for i, (symbol, bar_s) in enumerate(fresh)]
            await _insert(conn, asset_class, numbered)
            found |= {(symbol, bar_s): slot for slot, symbol, bar_s in numbered}
    return [found[s] for s in series]


async def _lock(conn: Conn, asset_class: AssetClass) -> None:
    await conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_KEY, class_index(asset_class)))


async def _insert(conn: Conn, asset_class: AssetClass, series: Sequence[tuple[int, str, int]]) -> None:
    slots, symbols, lengths = (list(column) for column in zip(*series, strict=True))
    ids = [series_id(asset_class, slot) for slot in slots]
    try:
        await conn.execute(
            "INSERT INTO series (id, asset_class, slot, symbol, bar_s) "
            "SELECT i, %s, s, y, b "
            "FROM unnest(%s::int[], %s::int[], %s::text[], %s::int[]) AS t (i, s, y, b) "
            "ON CONFLICT (id) DO NOTHING",
            (asset_class.value, ids, slots, symbols, lengths),
        )
    except psycopg.errors.UniqueViolation as e:
        raise SlotTakenError(f"expected every series to keep its slot, was: {e.diag.message_detail}") from e
    stored = await fetch(conn, "SELECT slot, symbol, bar_s FROM series WHERE id = ANY(%s)", (ids,))
    if set(stored) != set(series):
        wrong = sorted(set(stored) - set(series))[:3]
        raise SlotTakenError(f"expected every slot to keep its series, was stored with {wrong}")


async def load(conn: Conn, asset_class: AssetClass, first: int = 0) -> list[Series]:
    """Give the series of a class from slot `first` on in the order of their slots, for a SlotTable.

    Raises
    ------
    StoreError
        When a slot is missing: the table could only be restored wrongly.
    """
    rows = await fetch(
        conn,
        "SELECT slot, symbol, bar_s FROM series WHERE asset_class = %s AND slot >= %s ORDER BY slot",
        (asset_class.value, first),
    )
    for expected, (slot, _, _) in enumerate(rows, first):
        if slot != expected:
            raise StoreError(f"expected slot {expected} of {asset_class} next, was {slot}")
    return [Series(asset_class, symbol, bar_s) for _, symbol, bar_s in rows]


async def symbols(conn: Conn, asset_class: AssetClass) -> list[str]:
    """Give the symbols of a class that have a series of any length, in the order they came."""
    return list(dict.fromkeys(s.symbol for s in await load(conn, asset_class)))


async def newest_end(conn: Conn, asset_class: AssetClass) -> int:
    """Give the end of the newest stored bar of a class, UTC ns; 0 where there is none."""
    first = series_id(asset_class, 0)
    span = {"first": first, "after": first + CLASS_STRIDE}
    for table in reversed((await partitions.tables(conn)).values()):
        query = (
            f"SELECT b.ts, s.bar_s FROM {table} b JOIN series s ON s.id = b.series_id "  # noqa: S608
            "WHERE b.series_id >= %(first)s AND b.series_id < %(after)s ORDER BY b.ts DESC LIMIT 1"
        )
        rows = await fetch(conn, query.encode(), span)
        if rows:
            return int(rows[0][0]) + int(rows[0][1]) * NS_PER_S
    return 0
