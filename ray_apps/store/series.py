"""Keep the numbers of series: a slot once given is for ever."""

from collections.abc import Sequence

import psycopg

from features.market.types import NS_PER_S, AssetClass, Series
from ray_apps.store import partitions
from ray_apps.store.connect import Conn, fetch
from ray_apps.store.errors import StoreError
from ray_apps.store.rows import CLASS_STRIDE, series_id


async def register(conn: Conn, asset_class: AssetClass, series: Sequence[tuple[int, str, int]]) -> None:
    """Store new series as (slot, symbol, bar_s); those stored already are left alone.

    Raises
    ------
    StoreError
        When a slot or a (symbol, bar length) is stored with another partner: two tables have grown apart.
    """
    if not series:
        return
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
        raise StoreError(f"expected every series to keep its slot, was: {e.diag.message_detail}") from e
    stored = await fetch(conn, "SELECT slot, symbol, bar_s FROM series WHERE id = ANY(%s)", (ids,))
    if set(stored) != set(series):
        wrong = sorted(set(stored) - set(series))[:3]
        raise StoreError(f"expected every slot to keep its series, was stored with {wrong}")


async def load(conn: Conn, asset_class: AssetClass) -> list[Series]:
    """Give the series of a class in the order of their slots, to start a SlotTable from.

    Raises
    ------
    StoreError
        When a slot is missing: the table could only be restored wrongly.
    """
    rows = await fetch(
        conn,
        "SELECT slot, symbol, bar_s FROM series WHERE asset_class = %s ORDER BY slot",
        (asset_class.value,),
    )
    for expected, (slot, _, _) in enumerate(rows):
        if slot != expected:
            raise StoreError(f"expected slot {expected} of {asset_class} next, was {slot}")
    return [Series(asset_class, symbol, bar_s) for _, symbol, bar_s in rows]


async def newest_end(conn: Conn, asset_class: AssetClass) -> int:
    """Give the end of the newest stored bar of a class, UTC ns; 0 where there is none."""
    first = series_id(asset_class, 0)
    span = {"first": first, "after": first + CLASS_STRIDE}
    for day in reversed(await partitions.days_present(conn)):
        query = (
            f"SELECT b.ts, s.bar_s FROM {partitions.partition_name(day)} b JOIN series s ON s.id = b.series_id "  # noqa: S608
            "WHERE b.series_id >= %(first)s AND b.series_id < %(after)s ORDER BY b.ts DESC LIMIT 1"
        )
        rows = await fetch(conn, query.encode(), span)
        if rows:
            return int(rows[0][0]) + int(rows[0][1]) * NS_PER_S
    return 0
