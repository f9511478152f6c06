"""Roll stored bars up to 5 minutes and 1 hour."""

from collections.abc import Collection

from features.market.types import NS_PER_S
from ray_apps.store.connect import Conn, Ns, fetch

# ruff: noqa: S608 (statements are put together from constants of this package only)

HOUR_NS = 3600 * NS_PER_S
DAY_NS = 24 * HOUR_NS
NOTE = "INSERT INTO unrolled_days SELECT unnest(%s::int[]) ON CONFLICT (day) DO UPDATE SET day = excluded.day"
TAKE = "DELETE FROM unrolled_days WHERE day = (SELECT min(day) FROM unrolled_days) RETURNING day"

FOLD = """
    (array_agg(b.open ORDER BY b.ts))[1] AS open, max(b.high) AS high, min(b.low) AS low,
    (array_agg(b.close ORDER BY b.ts DESC))[1] AS close, sum(b.volume) AS volume,
    sum(b.volume * b.vwap) / nullif(sum(b.volume) FILTER (WHERE b.vwap IS NOT NULL), 0) AS vwap,
    sum(b.trades) AS trades
"""
REPLACE = (
    "ON CONFLICT (series_id, ts) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, "
    "close = excluded.close, volume = excluded.volume, vwap = excluded.vwap, trades = excluded.trades"
)
# Of a symbol stored by second and by minute the minutes are taken; longer bars are not rolled up.
SOURCE = """
    SELECT DISTINCT ON (asset_class, symbol) id FROM series
    WHERE bar_s <= 60 AND 60 % bar_s = 0 ORDER BY asset_class, symbol, bar_s DESC
"""


def _statement(table: str, source: str, width: str, only: str = "") -> bytes:
    return f"""
    INSERT INTO {table} (series_id, ts, open, high, low, close, volume, vwap, trades)
    SELECT b.series_id, date_bin('{width}', b.ts, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS start, {FOLD}
    FROM {source} b WHERE b.ts >= %(start)s AND b.ts < %(end)s {only}
    GROUP BY b.series_id, start {REPLACE}
    """.encode()


FIVE_MINUTES = _statement("bars_5m", "bars", "5 minutes", f"AND b.series_id IN ({SOURCE.replace('%', '%%')})")
ONE_HOUR = _statement("bars_1h", "bars_5m", "1 hour")


async def note(conn: Conn, days: Collection[int]) -> None:
    """Note days (since 1970) that bars of the past were written to, in the transaction that writes them.

    Who rolls such a day up waits for that transaction, and sees its bars.
    """
    await conn.execute(NOTE, (sorted(days),))


async def rollup_noted(conn: Conn, most: int) -> int:
    """Roll up noted days, the oldest first, at most so many; give how many it were."""
    for done in range(most):
        async with conn.transaction():
            row = await fetch(conn, TAKE)
            if not row:
                return done
            start = int(row[0][0]) * DAY_NS
            await rollup(conn, start, start + DAY_NS)
    return most


async def rollup(conn: Conn, from_ts: int, to_ts: int) -> tuple[int, int]:
    """Roll up every hour that meets [from_ts, to_ts); give the number of 5-minute and 1-hour rows written.

    Running it again gives the same rows, so a job may cover more than is new, and after late bars does so.
    """
    if to_ts < from_ts:
        raise ValueError(f"expected from_ts <= to_ts, was {from_ts} > {to_ts}")
    span = {"start": Ns(from_ts // HOUR_NS * HOUR_NS), "end": Ns(-(-to_ts // HOUR_NS) * HOUR_NS)}
    async with conn.transaction():
        fives = await conn.execute(FIVE_MINUTES, span)
        hours = await conn.execute(ONE_HOUR, span)
    return fives.rowcount, hours.rowcount
