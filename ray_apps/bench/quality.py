"""Measure how fast stored bars are judged, beside what reading alone and judging alone take."""

import asyncio
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from features.market.bars import BarColumns
from features.market.quality.series import Frame, judge_series
from features.market.types import I64, NS_PER_S, AssetClass
from ray_apps.local.postgres import LocalPostgres
from ray_apps.quality.stored import judge_stored
from ray_apps.quality.wish import Wish, framed
from ray_apps.store import partitions
from ray_apps.store.backfills import Span
from ray_apps.store.columns import bars_of
from ray_apps.store.connect import connect
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import migrate
from ray_apps.store.rows import series_id

_FIRST = datetime(2025, 1, 1, tzinfo=UTC)
_BAR_S = 60
_AT_ONCE = 50_000
"""Bars a transaction writes: about a month's."""


def run(symbols: int | None = None, days: int = 365, asset_class: AssetClass = AssetClass.STOCKS) -> dict[str, float]:
    """Store minutes of random walks in a fresh database and judge them as `tapewatch quality` does.

    Parameters
    ----------
    symbols
        How many series; 50 by default.
    days
        Calendar days; stocks have bars in regular hours.

    Returns
    -------
    dict
        Bars; seconds and bars a second of the whole; of one series read and not judged, and judged and not read; the
        most memory the process held, MB, writing included.
    """
    n_symbols = symbols or 50
    start_ns = int(_FIRST.timestamp()) * NS_PER_S
    span = Span(start_ns, int((_FIRST + timedelta(days=days)).timestamp()) * NS_PER_S)
    held = framed(asset_class, _BAR_S, span.from_ns, span.to_ns)
    names = [f"S{k:04}" for k in range(n_symbols)]
    warm()
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder, LocalPostgres(Path(folder)) as server:
        migrate(server.dsn)
        asyncio.run(_fill(server.dsn, asset_class, names, held.expected.ts, span))
        began = time.perf_counter()
        quality = asyncio.run(judge_stored(server.dsn, Wish(asset_class), lambda _, __: None))
        whole = time.perf_counter() - began
        read, judged = asyncio.run(_parts(server.dsn, asset_class, held, span))
    bars = sum(s.n_bars for s in quality.series)
    return {
        "symbols": n_symbols,
        "bars": bars,
        "seconds": whole,
        "bars_per_s": bars / whole,
        "read_bars_per_s": len(held.expected) / read,
        "judged_bars_per_s": len(held.expected) / judged,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e3 if sys.platform == "linux" else 1e6),
    }


def warm() -> None:
    """Compile what judging a series needs."""
    held = framed(AssetClass.CRYPTO, _BAR_S, 0, 86_400 * NS_PER_S)
    judge_series("S", walk(np.delete(held.expected.ts, slice(100, 200)), 0), held)


async def _fill(dsn: str, asset_class: AssetClass, names: list[str], ts: I64, span: Span) -> None:
    conn = await connect(dsn, "bench")
    try:
        await partitions.ensure(conn, partitions.days_of(ts))
    finally:
        await conn.close()
    writer = HistoryWriter(dsn, asset_class)
    try:
        for seed, name in enumerate(names):
            bars = walk(ts, seed)
            for first in range(0, len(ts), _AT_ONCE):
                part = bars.take(slice(first, first + _AT_ONCE))
                until = int(part.ts[-1]) + _BAR_S * NS_PER_S
                await writer.write([Stretch(name, _BAR_S, Span(int(part.ts[0]), until), part)], span.to_ns)
    finally:
        await writer.close()


async def _parts(dsn: str, asset_class: AssetClass, held: Frame, span: Span) -> tuple[float, float]:
    """Give the seconds that reading one series and judging it take, each alone."""
    conn = await connect(dsn, "bench")
    try:
        began = time.perf_counter()
        bars = await bars_of(conn, series_id(asset_class, 0), _BAR_S, span.from_ns, span.to_ns)
        between = time.perf_counter()
    finally:
        await conn.close()
    judge_series("S", bars, held)
    return between - began, time.perf_counter() - between


def walk(ts: I64, seed: int) -> BarColumns:
    """Give bars of a random walk at given times."""
    rng = np.random.default_rng(seed)
    n = len(ts)
    close = np.round(100 * np.exp(np.cumsum(5e-4 * rng.standard_t(4, n))), 4)
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) + 0.01, np.minimum(open_, close) - 0.01
    volume, trades = np.round(rng.lognormal(3, 1, n), 3), np.floor(rng.lognormal(3, 1, n)) + 1
    return BarColumns(ts, open_, high, low, close, volume, np.round((high + low) / 2, 4), trades)
