"""Measure the ways of the past into the database, from pages and from files, and what bare copies of the bars take."""

import asyncio
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.market.bars import BarColumns
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.bench.recording_cost import recording_cost
from ray_apps.bench.store_replay import store_replay_rate
from ray_apps.imports import importer
from ray_apps.imports.config import S3Config
from ray_apps.imports.pieces import BATCH_ROWS
from ray_apps.imports.place import find
from ray_apps.imports.told import Told
from ray_apps.ingest.backfill import Backfill, Order
from ray_apps.ingest.history import History
from ray_apps.ingest.pages import LIMIT
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.tiers import Tier, entitlement
from ray_apps.local.postgres import LocalPostgres
from ray_apps.store import bars as bar_sql
from ray_apps.store import partitions
from ray_apps.store.backfills import Span
from ray_apps.store.connect import Conn, connect
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import migrate
from ray_apps.store.rows import BarRows

MINUTE_NS = 60 * NS_PER_S
FIRST_NS = 1_743_552_000 * NS_PER_S  # 2025-04-02
START_S = 60.0
_SPAN = re.compile(rb"/range/1/minute/(\d+)/(\d+)")
_COPIED = 9_000_000
"""Series of the bare copies are numbered from here: far from those of the backfill."""


def run() -> dict[str, float]:
    """Measure the ways into the store, out of it, and into a recording, one after the other."""
    return {
        **backfill_rate(),
        **_named("import", import_rate()),
        **_named("replay", store_replay_rate()),
        **recording_cost(),
    }


def _named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def backfill_rate(symbols: int = 6, bars: int = LIMIT, url: str | None = None) -> dict[str, float]:
    """Bring minute bars of some symbols into a fresh database; then the same bars as columns, and by bare COPY.

    Parameters
    ----------
    symbols, bars
        How many symbols, and minutes of each.
    url
        REST base of a simulator of crypto whose clock is past the bars' end (`FIRST_NS` and `bars` minutes);
        None: pages made beforehand, sent from memory by a process of its own.

    Returns
    -------
    dict
        Bars brought, and bars per second: end to end (`backfill`), columns written as history (`columns`), one keyed
        COPY a symbol (`copy`); the share of the last the columns reach, median of pairs.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder,
        LocalPostgres(Path(folder)) as server,
        _pages(bars, symbols) as at,
    ):
        migrate(server.dsn)
        return asyncio.run(_measure(server.dsn, url or at, symbols, bars))


def import_rate(symbols: int = 1_000, minutes: int = 390, files: int = 3) -> dict[str, float]:
    """Import Parquet files of the vendor's flat layout, a day of minutes each, into a fresh database.

    After each the same rows follow by bare keyed COPY, in as many transactions; each way the first day is not counted.

    Returns
    -------
    dict
        Bars of a file, bars per second of the import and the copies (`copy`), medians over the files, and the median
        share of the copy the import reaches (`of_copy`).
    """
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder, LocalPostgres(Path(folder)) as server:
        migrate(server.dsn)
        pairs = []
        for day in range(files + 1):
            bars = _days_bars(symbols, minutes, day)
            path = Path(folder) / f"day-{day}.parquet"
            _write_flat(path, symbols, bars)
            began = time.perf_counter()
            order = importer.Order(find([str(path)], S3Config()), Told(AssetClass.STOCKS), 3_000)
            running = importer.Import(server.dsn, order)
            asyncio.run(running.run())
            imported_s = time.perf_counter() - began
            if [t.new for t in running.tallies] != [len(bars)]:
                raise RuntimeError(f"expected {len(bars)} bars imported, was {running.tallies}")
            pairs.append((imported_s, asyncio.run(_copied(server.dsn, symbols, bars))))
    n = float(symbols * minutes)
    imports, copies = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    return {
        "bars": n,
        "bars_per_s": n / imports,
        "copy_bars_per_s": n / copies,
        "of_copy": statistics.median(copy / imported for imported, copy in pairs[1:]),
    }


def _days_bars(symbols: int, minutes: int, day: int) -> BarColumns:
    """Give a day's minutes of some symbols, one after the other."""
    bars = walk(symbols * minutes)
    starts = FIRST_NS + day * partitions.DAY_NS + np.arange(minutes, dtype=np.int64) * MINUTE_NS
    return replace(bars, ts=np.tile(starts, symbols), vwap=np.full(len(bars), np.nan))


def _write_flat(path: Path, symbols: int, bars: BarColumns) -> None:
    names = np.repeat([f"T{i:05d}" for i in range(symbols)], len(bars) // symbols)
    table = pa.table({
        "ticker": names, "volume": bars.volume, "open": bars.open, "close": bars.close, "high": bars.high,
        "low": bars.low, "window_start": bars.ts, "transactions": bars.trades.astype(np.int64),
    })  # fmt: skip
    pq.write_table(table, path)


async def _copied(dsn: str, symbols: int, bars: BarColumns) -> float:
    """Give the seconds of a bare keyed COPY of the bars."""
    series = np.repeat(_COPIED + np.arange(symbols, dtype=np.int32), len(bars) // symbols)
    conn = await connect(dsn, "bench")
    try:
        began = time.perf_counter()
        rows = replace(_rows(0, bars), series_id=series)
        for first in range(0, len(rows), BATCH_ROWS):
            async with conn.transaction():
                await bar_sql.insert(conn, rows.take(slice(first, first + BATCH_ROWS)))
        return time.perf_counter() - began
    finally:
        await conn.close()


async def _measure(dsn: str, url: str, symbols: int, bars: int) -> dict[str, float]:
    span = Span(FIRST_NS, FIRST_NS + bars * MINUTE_NS)
    conn = await connect(dsn, "bench")
    try:
        days = set(range(span.from_ns // partitions.DAY_NS, span.to_ns // partitions.DAY_NS + 1))
        await partitions.ensure(conn, days)
        brought, seconds = await _brought(dsn, url, symbols, span)
        pairs = await _pairs(dsn, conn, symbols, walk(bars), span)
    finally:
        await conn.close()
    columns, copies = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "bars": float(brought),
        "backfill_bars_per_s": brought / seconds,
        "columns_bars_per_s": bars / columns,
        "copy_bars_per_s": bars / copies,
        "columns_of_copy": statistics.median(copy / column for column, copy in pairs),
    }


async def _brought(dsn: str, url: str, symbols: int, span: Span) -> tuple[int, float]:
    plan = HistoryPlan(
        AssetClass.CRYPTO, url, "sim-advanced", dsn, entitlement(AssetClass.CRYPTO, Tier.ADVANCED), in_flight=4
    )
    history = History(plan)
    try:
        names = [name async for page in history.names() for name in page][:symbols]
        warm = Span(span.from_ns, span.from_ns + MINUTE_NS)
        async for _ in history.bars(names[0], 60, warm.from_ns, warm.to_ns):
            pass  # compiles what reads a page
        began = time.perf_counter()
        running = Backfill(history, Order(names, 60, span, span.to_ns))
        await running.run()
        return running.n_bars, time.perf_counter() - began
    finally:
        await history.close()


async def _pairs(dsn: str, conn: Conn, symbols: int, bars: BarColumns, span: Span) -> list[tuple[float, float]]:
    """Give the seconds of the same bars as columns and by bare COPY, one after the other for each symbol."""
    writer = HistoryWriter(dsn, AssetClass.CRYPTO)
    pairs = []
    try:
        for i in range(symbols):
            began = time.perf_counter()
            await writer.write([Stretch(f"W{i}-USD", 60, span, bars)], span.to_ns)
            between = time.perf_counter()
            async with conn.transaction():
                await bar_sql.insert(conn, _rows(_COPIED + i, bars))
            pairs.append((between - began, time.perf_counter() - between))
    finally:
        await writer.close()
    return pairs


def walk(n: int) -> BarColumns:
    """Give `n` minutes of a random walk."""
    rng = np.random.default_rng(1)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n))), 4)
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) + 0.01, np.minimum(open_, close) - 0.01
    volume, trades = np.round(rng.lognormal(3, 1, n), 3), np.floor(rng.lognormal(3, 1, n)) + 1
    ts = FIRST_NS + np.arange(n, dtype=np.int64) * MINUTE_NS
    return BarColumns(ts, open_, high, low, close, volume, np.round((high + low) / 2, 4), trades)


def _rows(series: int, bars: BarColumns) -> BarRows:
    n = len(bars)
    return BarRows(
        np.full(n, series, dtype=np.int32), bars.ts, bars.ts, bars.open, bars.high, bars.low, bars.close,
        bars.volume, bars.vwap, bars.trades, np.zeros(n, dtype=np.bool_),
    )  # fmt: skip


@contextmanager
def _pages(bars: int, symbols: int) -> Iterator[str]:
    """Hold a server of the bars; give its address."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, bars, symbols), daemon=True)
    child.start()
    try:
        if not mine.poll(START_S):
            raise TimeoutError(f"expected the server of pages within {START_S:.0f} s, was none")
        yield f"http://127.0.0.1:{mine.recv()}"
    finally:
        child.terminate()
        child.join(5)


def _serve(told: Connection, bars: int, symbols: int) -> None:
    asyncio.run(_serve_pages(told, bars, symbols))


async def _serve_pages(told: Connection, bars: int, symbols: int) -> None:
    """Answer every question for bars with the page that begins there; pages are made before the first question."""
    b = walk(bars)
    names = [{"ticker": f"X:C{i}USD", "base_currency_symbol": f"C{i}"} for i in range(symbols)]
    listed = json.dumps({"results": names}).encode()
    pages = {int(b.ts[k]): _page(b.take(slice(k, k + LIMIT)), k + LIMIT < bars) for k in range(0, bars, LIMIT)}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = _SPAN.search(head)
                body = pages.get(int(found[1]) * NS_PER_MS, b"{}") if found else listed
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _page(bars: BarColumns, has_more: bool) -> bytes:
    columns = {"t": bars.ts // NS_PER_MS, "o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
    columns |= {"v": bars.volume, "vw": bars.vwap, "n": bars.trades.astype(np.int64)}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    more = {"next_url": "http://127.0.0.1/more"} if has_more else {}
    return json.dumps({"status": "OK", "adjusted": False, "results": rows, **more}, separators=(",", ":")).encode()
