"""Keep what of each series' past is known complete from the vendor: spans of window starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from features.market.types import AssetClass
from ray_apps.store.connect import Conn, Ns, fetch

COVER = """
INSERT INTO backfills AS b (asset_class, symbol, bar_s, covered)
VALUES (%s, %s, %s, tstzmultirange(tstzrange(%s, %s)))
ON CONFLICT (asset_class, symbol, bar_s)
DO UPDATE SET covered = b.covered + excluded.covered, updated_at = clock_timestamp()
"""
MISSING = """
SELECT lower(r), upper(r)
FROM unnest(tstzmultirange(tstzrange(%(from)s, %(to)s)) - coalesce((
    SELECT covered FROM backfills WHERE asset_class = %(class)s AND symbol = %(symbol)s AND bar_s = %(bar_s)s
), '{}')) AS r ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Window starts in [from_ns, to_ns), UTC ns."""

    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Covered:
    """A span of one series that the vendor has answered for."""

    symbol: str
    bar_s: int
    span: Span


async def cover(conn: Conn, asset_class: AssetClass, rows: Sequence[Covered]) -> None:
    """Add spans to what is known complete; write them in the transaction of their bars."""
    async with conn.cursor() as cursor:
        await cursor.executemany(COVER, [
            (asset_class.value, r.symbol, r.bar_s, Ns(r.span.from_ns), Ns(r.span.to_ns))
            for r in sorted(rows, key=lambda r: (r.symbol, r.bar_s))
        ])  # fmt: skip


async def missing(conn: Conn, asset_class: AssetClass, symbol: str, bar_s: int, wanted: Span) -> list[Span]:
    """Give the parts of a span that are not known complete, oldest first."""
    if wanted.to_ns <= wanted.from_ns:
        return []
    params = {
        "class": asset_class.value, "symbol": symbol, "bar_s": bar_s,
        "from": Ns(wanted.from_ns), "to": Ns(wanted.to_ns),
    }  # fmt: skip
    return [Span(int(a), int(b)) for a, b in await fetch(conn, MISSING, params)]


async def forget(conn: Conn, before_ns: int) -> None:
    """Take back what is known complete before an instant: those bars are about to be dropped."""
    await conn.execute(
        "UPDATE backfills SET covered = covered - tstzmultirange(tstzrange(NULL, %(cut)s)) "
        "WHERE covered && tstzrange(NULL, %(cut)s)",
        {"cut": Ns(before_ns)},
    )
