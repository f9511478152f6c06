"""Measure a replay of the database: stored bars read, laid out and folded."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from features.block import BarBlock, rows_of
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, Hole, SlotTable
from features.warm import warm
from ray_apps.bench.replay import market
from ray_apps.local.postgres import LocalPostgres
from ray_apps.store import partitions, series
from ray_apps.store.connect import Conn, connect
from ray_apps.store.copying import BAR_COLUMNS, encode
from ray_apps.store.migrate import migrate
from ray_apps.store.rows import BarRows
from ray_apps.store.tape import Span, slots_of, tape

BAR_S = 60
SESSION = 390
MONDAY_NS = 1_741_008_600 * NS_PER_S  # 2025-03-03 09:30 New York
DAY_NS = partitions.DAY_NS
TIMEOUT_S = 600.0


@dataclass(slots=True)
class _Spent:
    """Seconds of a replay: on the wall, of it in the Engine, and of the processors."""

    bars: int = 0
    total_s: float = 0.0
    fold_s: float = 0.0
    own_cpu_s: float = 0.0
    server_cpu_s: float = 0.0


def store_replay_rate(symbols: int = 500, days: int = 10, rounds: int = 2) -> dict[str, float]:
    """Replay stored minutes of a stock market from a fresh database, best of `rounds`.

    Parameters
    ----------
    symbols, days
        How many stocks, and sessions of each; a tenth of the minutes is without a bar.

    Returns
    -------
    dict
        Bars; bars per second on the wall, reading and folding one after the other; bars per second of processor time,
        the server's included, which is what one core does; the shares of the wall that reading and folding take.
    """
    warm(AssetClass.STOCKS, BAR_S)
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder, LocalPostgres(Path(folder)) as server:
        migrate(server.dsn)
        asyncio.run(fill(server.dsn, symbols, days))
        best = min((asyncio.run(_replay(server.dsn, symbols)) for _ in range(rounds)), key=lambda spent: spent.total_s)
    return {
        "bars": float(best.bars),
        "bars_per_s": best.bars / best.total_s,
        "bars_per_cpu_s": best.bars / (best.own_cpu_s + best.server_cpu_s),
        "read_share": 1.0 - best.fold_s / best.total_s,
        "fold_share": best.fold_s / best.total_s,
        "server_cpu_us_per_bar": best.server_cpu_s / best.bars * 1e6,
        "own_cpu_us_per_bar": best.own_cpu_s / best.bars * 1e6,
    }


async def fill(dsn: str, symbols: int, days: int) -> int:
    """Store the sessions of some weeks by COPY, and leave the tables as a vacuum does; give the number of bars."""
    conn = await connect(dsn, "bench", TIMEOUT_S)
    try:
        await series.register(conn, AssetClass.STOCKS, [(i, f"S{i}", BAR_S) for i in range(symbols)])
        made = market(SESSION * days, symbols)
        for d in range(days):
            start = MONDAY_NS + (d // 5 * 7 + d % 5) * DAY_NS
            ts = start + np.arange(SESSION, dtype=np.int64) * BAR_S * NS_PER_S
            day = replace(rows_of(made, slice(d * SESSION, (d + 1) * SESSION)), ts=np.repeat(ts[:, None], symbols, 1))
            await partitions.ensure(conn, {start // DAY_NS})
            async with conn.cursor() as cursor:
                query = f"COPY bars ({', '.join(BAR_COLUMNS)}) FROM STDIN BINARY"
                async with cursor.copy(query.encode()) as copy:
                    await copy.write(encode(_rows(day)))
        await conn.execute("VACUUM ANALYZE bars")
        return int(np.isfinite(made.close).sum())
    finally:
        await conn.close()


def _rows(b: BarBlock) -> BarRows:
    here = np.isfinite(b.close)
    ts, n = b.ts[here], int(here.sum())
    values = {name: getattr(b, name)[here] for name in ("open", "high", "low", "close", "volume", "trades")}
    return BarRows(
        series_id=np.broadcast_to(b.slot, here.shape)[here], ts=ts, recv=ts + BAR_S * NS_PER_S,
        vwap=values["close"], in_state=np.ones(n, dtype=np.bool_), **values,
    )  # fmt: skip


async def _replay(dsn: str, symbols: int) -> _Spent:
    conn = await connect(dsn, "bench", TIMEOUT_S)
    try:
        await conn.execute("SET max_parallel_workers_per_gather = 0")  # one core is measured
        return await _folded(conn, symbols)
    finally:
        await conn.close()


async def _folded(conn: Conn, symbols: int) -> _Spent:
    known = await series.load(conn, AssetClass.STOCKS)
    slots, table = slots_of(known, BAR_S), SlotTable(AssetClass.STOCKS, series=known)
    engine = Engine(table, BAR_S, AssetClass.STOCKS.activity, DetectionConfig())
    server = psutil.Process(conn.info.backend_pid)
    spent, before = _Spent(), sum(server.cpu_times()[:2])
    began, cpu = time.perf_counter(), time.process_time()
    span = Span(MONDAY_NS, MONDAY_NS + 365 * DAY_NS)
    async for item in tape(conn, AssetClass.STOCKS, slots, BAR_S, span):
        if isinstance(item, Hole):
            continue
        start = time.perf_counter()
        for _ in engine.fold(item):
            pass
        spent.fold_s += time.perf_counter() - start
        spent.bars += int(np.isfinite(item.close).sum())
    spent.total_s, spent.own_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    spent.server_cpu_s = sum(server.cpu_times()[:2]) - before
    return spent
