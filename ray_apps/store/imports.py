"""Remember the files whose bars are all stored, so that they need not be read again."""

from collections.abc import Sequence
from dataclasses import dataclass

from features.market.types import AssetClass
from ray_apps.store.connect import Conn, Ns, fetch

KNOWN = "SELECT source, reading, mark FROM imports WHERE asset_class = %s AND source = ANY(%s)"
REMEMBER = """
INSERT INTO imports (asset_class, source, reading, mark, n_bars, first_ts, last_ts) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (asset_class, source, reading) DO UPDATE SET mark = excluded.mark, n_bars = excluded.n_bars,
    first_ts = excluded.first_ts, last_ts = excluded.last_ts, imported_at = clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """A file all of whose bars were stored.

    Attributes
    ----------
    source
        Absolute path or address.
    reading
        How it was read: the same file read otherwise gives other bars.
    mark
        Changes when the content does.
    first_ns, last_ns
        Starts of its oldest and newest bar, UTC ns.
    """

    source: str
    reading: str
    mark: str
    n_bars: int
    first_ns: int
    last_ns: int


async def known(conn: Conn, asset_class: AssetClass, sources: Sequence[str]) -> set[tuple[str, str, str]]:
    """Give (source, reading, mark) of those of the sources that were imported."""
    rows = await fetch(conn, KNOWN, (asset_class.value, list(sources)))
    return {(str(source), str(reading), str(mark)) for source, reading, mark in rows}


async def remember(conn: Conn, asset_class: AssetClass, file: Imported) -> None:
    """Take a file in, once all its bars are committed."""
    await conn.execute(REMEMBER, (
        asset_class.value, file.source, file.reading, file.mark, file.n_bars, Ns(file.first_ns), Ns(file.last_ns),
    ))  # fmt: skip


async def forget(conn: Conn, before_ns: int) -> None:
    """Forget the files with bars before an instant: those are about to be dropped."""
    await conn.execute("DELETE FROM imports WHERE first_ts < %s", (Ns(before_ns),))
