"""Write the past beside the live writers, many bars a transaction: the vendor's, then known complete, or of files."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from psycopg import errors

from features.market.bars import BarColumns
from features.market.types import I32, I64, AssetClass, Bool
from ray_apps.store import backfills, partitions, rollup, series
from ray_apps.store import bars as bar_sql
from ray_apps.store.backfills import Covered, Span
from ray_apps.store.connect import Conn, Ns, connect, fetch, unavailable
from ray_apps.store.rows import BarRows, series_id

WRITE_TIMEOUT_S = 120.0
LOCK_WAIT_MS = 500
"""Half of PostgreSQL's deadlock_timeout: where the stream writes the same windows, it is we who give way."""

GIVE_WAY = f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}".encode()
FIRST_STORED = """
SELECT i, (SELECT min(b.ts) FROM bars b WHERE b.series_id = i AND b.ts BETWEEN %s AND %s) FROM unnest(%s::int[]) AS i
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One series' bars, oldest first, one a window, and the span they are all there is of."""

    symbol: str
    bar_s: int
    span: Span
    bars: BarColumns


@dataclass(frozen=True, slots=True)
class Sheaf:
    """Bars of many series, which need not be all there are of any span.

    Attributes
    ----------
    series
        (symbol, bar length in seconds), each once.
    row
        [T] int32, whose each bar is: an index into `series`.
    bars
        [T] bars, sorted by row, then time; one a window.
    """

    series: Sequence[tuple[str, int]]
    row: I32
    bars: BarColumns


@dataclass(frozen=True, slots=True)
class Written:
    """What became of bars; `same` were stored before and stay."""

    new: int
    revised: int
    same: int


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a write came to, by series: settled windows, and those only added."""

    settled: bar_sql.Merged
    added: dict[int, int]

    def written(self, n: int, series: int | None = None) -> Written:
        """Count what became of `n` bars, those of one series or all."""
        if not n:
            return Written(0, 0, 0)
        new, revised = (
            sum(counts.values()) if series is None else counts.get(series, 0)
            for counts in (_sum(self.settled.new, self.added), self.settled.revised)
        )
        return Written(new, revised, n - new - revised)


class HistoryWriter:
    """Writes one asset class's past, over a connection of its own.

    Windows that start before `settled_ns` are final at the vendor: what is stored otherwise is revised, and their
    span counts as complete, in one transaction. Of later windows only those that are absent are added: there the
    stream's word is newer than ours. What is written was not folded into any state.
    """

    def __init__(self, dsn: str, asset_class: AssetClass) -> None:
        self._dsn = dsn
        self._class = asset_class
        self._conn: Conn | None = None
        self._days: set[int] = set()
        self._slots: dict[tuple[str, int], int] = {}

    async def write(self, stretches: Sequence[Stretch], settled_ns: int) -> list[Written]:
        """Store stretches of different series; writing them again changes nothing.

        Raises
        ------
        StoreUnavailableError
            When the database is away or full, or another writer holds the same windows: write them again.
        """
        async with self._able():
            slots = await self._slots_of([(s.symbol, s.bar_s) for s in stretches if len(s.bars)])
            ids = [series_id(self._class, slots.get((s.symbol, s.bar_s), 0)) for s in stretches]
            covered = [_until(s, settled_ns) for s in stretches]
            counts = await self._store(_rows(stretches, ids), settled_ns, covered)
        return [counts.written(len(s.bars), i) for s, i in zip(stretches, ids, strict=True)]

    async def write_sheaf(self, sheaf: Sheaf, settled_ns: int) -> Written:
        """Store bars of which is not said that they are complete; writing them again changes nothing.

        Raises
        ------
        StoreUnavailableError
            As `write`.
        """
        async with self._able():
            slots = await self._slots_of(sheaf.series)
            ids = np.array([series_id(self._class, slots[s]) for s in sheaf.series], dtype=np.int32)
            counts = await self._store(_as_rows(sheaf.bars, ids[sheaf.row], time.time_ns()), settled_ns, [])
        return counts.written(len(sheaf.bars))

    async def close(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        self._days.clear()
        self._slots.clear()
        if conn is not None:
            await conn.close()

    @asynccontextmanager
    async def _able(self) -> AsyncIterator[None]:
        """Hold the connection for a write; it does not outlive one that failed."""
        try:
            with unavailable("store history"):
                if self._conn is None or self._conn.closed:
                    self._conn = await connect(self._dsn, f"history-{self._class}", WRITE_TIMEOUT_S)
                    await self._conn.execute(bar_sql.STAGE.encode())
                yield
        except BaseException:
            await self.close()
            raise

    async def _store(self, rows: BarRows, settled_ns: int, covered: list[Covered]) -> _Counts:
        try:
            return await self._store_once(rows, settled_ns, covered)
        except errors.CheckViolation:  # retention dropped a day that is written again
            self._days.clear()
            return await self._store_once(rows, settled_ns, covered)

    async def _store_once(self, rows: BarRows, settled_ns: int, covered: list[Covered]) -> _Counts:
        assert self._conn is not None
        days = partitions.days_of(rows.ts)
        if not days <= self._days:
            await partitions.ensure(self._conn, days)
            self._days |= days
        is_settled = rows.ts < settled_ns
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            done = await self._settled(self._conn, rows.take(is_settled), covered)
            return _Counts(done, await self._open(self._conn, rows.take(~is_settled)))

    async def _slots_of(self, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the slots, numbering what is new: a symbol without a bar gets none."""
        assert self._conn is not None
        fresh = [s for s in wanted if s not in self._slots]
        self._slots |= dict(zip(fresh, await series.allocate(self._conn, self._class, fresh), strict=True))
        return self._slots

    async def _settled(self, conn: Conn, rows: BarRows, covered: list[Covered]) -> bar_sql.Merged:
        done = bar_sql.Merged({})
        async with conn.transaction():
            await conn.execute(GIVE_WAY)
            for part, are_new in await _by_novelty(conn, rows):
                merged = await bar_sql.merge(conn, part, are_new)
                done = bar_sql.Merged(_sum(done.new, merged.new), _sum(done.revised, merged.revised))
            await rollup.note(conn, partitions.days_of(rows.ts))
            await backfills.cover(conn, self._class, [c for c in covered if c.span.from_ns < c.span.to_ns])
        return done

    async def _open(self, conn: Conn, rows: BarRows) -> dict[int, int]:
        if not len(rows):
            return {}
        async with conn.transaction():
            await conn.execute(GIVE_WAY)
            await rollup.note(conn, partitions.days_of(rows.ts))
            return await bar_sql.add(conn, rows)


def _rows(stretches: Sequence[Stretch], ids: Sequence[int]) -> BarRows:
    """Give the bars of all stretches by series and time."""
    received = time.time_ns()
    order = np.argsort(np.array(ids), kind="stable")
    parts = [_as_rows(stretches[k].bars, ids[k], received) for k in order.tolist()]
    return BarRows.concat(parts)


def _as_rows(bars: BarColumns, series: I32 | int, received_ns: int) -> BarRows:
    n = len(bars)
    return BarRows(
        np.full(n, series, dtype=np.int32), bars.ts, np.full(n, received_ns, dtype=np.int64),
        bars.open, bars.high, bars.low, bars.close, bars.volume, bars.vwap, bars.trades, np.zeros(n, dtype=np.bool_),
    )  # fmt: skip


def _until(s: Stretch, settled_ns: int) -> Covered:
    return Covered(s.symbol, s.bar_s, Span(s.span.from_ns, min(s.span.to_ns, settled_ns)))


async def _by_novelty(conn: Conn, rows: BarRows) -> list[tuple[BarRows, bool]]:
    """Split rows into those before anything stored of their series and time, which are new, and the others."""
    if not len(rows):
        return []
    ids, counts = np.unique(rows.series_id, return_counts=True)
    found = await fetch(conn, FIRST_STORED, (Ns(rows.ts.min()), Ns(rows.ts.max()), ids.tolist()))
    stored = {int(i): np.iinfo(np.int64).max if ts is None else int(ts) for i, ts in found}
    limit: I64 = np.repeat(np.array([stored[int(i)] for i in ids], dtype=np.int64), counts)
    is_new: Bool = rows.ts < limit
    parts = [(rows.take(is_new), True), (rows.take(~is_new), False)]
    return [(part, are_new) for part, are_new in parts if len(part)]


def _sum(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    return {i: a.get(i, 0) + b.get(i, 0) for i in a.keys() | b.keys()}
