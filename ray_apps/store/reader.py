"""Answer questions of people and programs from the database."""

from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from ray_apps.store.connect import Conn, Pool, fetch
from ray_apps.store.feeds import FeedRow, GapRow
from ray_apps.store.filters import AnomalyFilter, Cursor, EpisodeFilter, Where, instant, where
from ray_apps.store.rows import AnomalyRow, EpisodeRow

# ruff: noqa: S608 (statements are put together from constants of this package only)

MAX_LIMIT = 50_000
ROLLED_UP = {300: "bars_5m", 3600: "bars_1h"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, newest first; `next` asks for those after them, None at the end."""

    rows: list[T]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class StoredBar:
    """A bar as people see it; `revision` counts how often the venue changed it."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    vwap: float | None
    trades: float | None
    revision: int = 0
    received_at: int | None = None


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """A symbol with the bar lengths it is stored at, in seconds."""

    asset_class: str
    symbol: str
    bar_s: list[int]
    first_seen: int


class Reader:
    """Read-only questions over a few shared connections; every answer is bounded."""

    def __init__(self, dsn: str, size: int = 4) -> None:
        self._pool = Pool(dsn, "reader", size)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def ping(self) -> None:
        """Return when the database answers; raise StoreUnavailableError otherwise."""
        await self._fetch("SELECT 1")

    async def bars(
        self,
        symbol: str,
        asset_class: str | None = None,
        bar_s: int = 60,
        from_ts: int | None = None,
        to_ts: int | None = None,
        limit: int = 1000,
    ) -> list[StoredBar]:
        """Give the newest `limit` bars with from_ts <= ts < to_ts, oldest first.

        5-minute and 1-hour bars come from the rolled-up tables where the symbol is not stored at that length.
        """
        async with self._pool.connection() as conn:
            table, series = await _series(conn, symbol, asset_class, bar_s)
            if series is None:
                return []
            w = Where(["series_id = %(series)s"], {"series": series, "limit": _bounded(limit)})
            w.add("ts >= %(from_ts)s", "from_ts", instant(from_ts))
            w.add("ts < %(to_ts)s", "to_ts", instant(to_ts))
            own = ", revision, received_at" if table == "bars" else ""
            rows = await fetch(
                conn,
                f"SELECT ts, open, high, low, close, volume, vwap, trades{own} FROM {table} "
                f"WHERE {w} ORDER BY ts DESC LIMIT %(limit)s".encode(),
                w.params,
            )
        return [StoredBar(*r) for r in reversed(rows)]

    async def anomalies(
        self, wanted: AnomalyFilter | None = None, after: Cursor | None = None, limit: int = 100
    ) -> Page[AnomalyRow]:
        """Give a page of anomalies, newest first."""
        rows = await self._page(AnomalyRow, "anomalies", where(wanted or AnomalyFilter(), "ts", after), "ts", limit)
        last = Cursor(rows[-1].ts, rows[-1].id) if len(rows) == _bounded(limit) else None
        return Page(rows, last)

    async def anomaly(self, id_: str) -> AnomalyRow | None:
        """Give one anomaly, None when there is no such id."""
        w = Where([], {})
        w.add("id = %(id)s", "id", id_.replace("\0", ""))
        rows = await self._page(AnomalyRow, "anomalies", w, "ts", 1)
        return rows[0] if rows else None

    async def episodes(
        self, wanted: EpisodeFilter | None = None, after: Cursor | None = None, limit: int = 100
    ) -> Page[EpisodeRow]:
        """Give a page of episodes, the latest opened first."""
        w = where(wanted or EpisodeFilter(), "opened_at", after)
        rows = await self._page(EpisodeRow, "episodes", w, "opened_at", limit)
        last = Cursor(rows[-1].opened_at, rows[-1].id) if len(rows) == _bounded(limit) else None
        return Page(rows, last)

    async def episode(self, id_: str) -> EpisodeRow | None:
        """Give one episode, None when there is no such id."""
        w = Where([], {})
        w.add("id = %(id)s", "id", id_.replace("\0", ""))
        rows = await self._page(EpisodeRow, "episodes", w, "opened_at", 1)
        return rows[0] if rows else None

    async def symbols(
        self, asset_class: str | None = None, starts_with: str = "", after: str = "", limit: int = 1000
    ) -> list[SymbolRow]:
        """Give symbols in alphabetical order, those after the symbol `after`."""
        w = Where(["symbol > %(after)s", "starts_with(symbol, %(start)s)"], {"after": after, "start": starts_with})
        w.add("asset_class = %(class)s", "class", asset_class)
        rows = await self._fetch(
            "SELECT asset_class, symbol, array_agg(bar_s ORDER BY bar_s), min(first_seen) FROM series "
            f"WHERE {w} GROUP BY asset_class, symbol ORDER BY symbol, asset_class LIMIT %(limit)s",
            {**w.params, "limit": _bounded(limit)},
        )
        return [SymbolRow(*r) for r in rows]

    async def feeds(self) -> list[FeedRow]:
        """Give the state of every feed."""
        return [FeedRow(*r) for r in await self._fetch(f"SELECT {_names(FeedRow)} FROM feeds ORDER BY asset_class")]

    async def gaps(self, asset_class: str | None = None, from_ts: int | None = None, limit: int = 1000) -> list[GapRow]:
        """Give the newest holes that end after `from_ts`, newest first."""
        w = Where([], {"limit": _bounded(limit)})
        w.add("asset_class = %(class)s", "class", asset_class)
        w.add("to_ts > %(from_ts)s", "from_ts", instant(from_ts))
        query = f"SELECT {_names(GapRow)} FROM gaps WHERE {w} ORDER BY from_ts DESC, id DESC LIMIT %(limit)s"
        return [GapRow(*r) for r in await self._fetch(query, w.params)]

    async def _fetch(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as conn:
            return await fetch(conn, query.encode(), params)

    async def _page(self, kind: type[T], table: str, w: Where, time_column: str, limit: int) -> list[T]:
        order = f"ORDER BY {time_column} DESC, id DESC LIMIT %(limit)s"
        query = f"SELECT {_names(kind)} FROM {table} WHERE {w} {order}"
        return [kind(*r) for r in await self._fetch(query, {**w.params, "limit": _bounded(limit)})]


async def _series(conn: Conn, symbol: str, asset_class: str | None, bar_s: int) -> tuple[str, int | None]:
    """Give the table and the number under which a symbol's bars of a length are stored."""
    rows = await fetch(
        conn,
        "SELECT id, bar_s FROM series WHERE symbol = %s AND asset_class = coalesce(%s, asset_class) "
        "ORDER BY (bar_s = %s) DESC, id",
        (symbol.replace("\0", ""), asset_class, bar_s),
    )
    if rows and rows[0][1] == bar_s:
        return "bars", int(rows[0][0])
    if bar_s in ROLLED_UP:
        minutes = [(length, -number, number) for number, length in rows if length <= 60]
        if minutes:
            return ROLLED_UP[bar_s], int(max(minutes)[2])
    return "bars", None


def _names(kind: type[Any]) -> str:
    return ", ".join(f.name for f in fields(kind))


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"expected a limit of 1 to {MAX_LIMIT}, was {limit}")
    return limit
