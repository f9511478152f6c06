"""Measure a whole market minute at once, everything running: from its last byte to its last anomaly committed."""

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.block import BarBlock
from features.market.types import NS_PER_S, AssetClass, SlotTable
from features.stages.market import Market
from features.stages.symbols import Symbols
from features.state import SeriesShape
from ray_apps import plans
from ray_apps.bench.system import SEED, STOCKS, System, system
from ray_apps.ingest.receipts import Receipt
from ray_apps.shards import recovery
from ray_apps.shards.shard import SymbolShard
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.server import injected_tape
from ray_apps.store import checkpoints
from ray_apps.store.connect import connect

BARS = 11_000
SYMBOLS = 11_900
"""Thin names miss minutes: of so many stocks more than `BARS` print in every minute of a session."""
FIRST = 12
"""Bursts before the measured ones: connections and pages are touched for the first time, and who prints every minute
is learnt."""
BURST_S = 20.0
REST_S = 1.0
"""From a burst's commit to the next burst: what follows a commit ends meanwhile, as it does within a minute."""
KERNEL_MINUTES = 20
MINUTE_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst's seconds.

    Attributes
    ----------
    bars
        Last byte in -> last bar, and each symbol's own anomalies, committed.
    close
        Window closed -> context detectors' anomalies committed.
    whole
        Last byte in -> everything committed, waiting for a window to fall quiet included.
    sent
        Last byte handed over by the sender -> everything committed.
    """

    bars: float
    close: float
    whole: float
    sent: float

    @property
    def figure(self) -> float:
        """What is compared with the target: the slower of the two ways an anomaly takes."""
        return max(self.bars, self.close)


def run(bursts: int = 500, warm_days: int = 3, n: int = BARS, symbols: int = SYMBOLS) -> dict[str, Any]:
    """Send `bursts` minutes of `n` bars each and time every one.

    Returns
    -------
    dict
        Milliseconds over the bursts, the bare kernels on bars of the same market, and the ratio of the medians.
    """
    with system(symbols, warm_days) as running:
        kernels = asyncio.run(_kernels(running, n, symbols))
        found: list[Burst] = []
        for i in range(FIRST + bursts):
            found.append(_burst(running, n))
            if i == 0:
                running.complete()
            time.sleep(REST_S)
        anomalies = running.n_anomalies
    return {**_figures(found[FIRST:]), "kernels_ms": kernels * 1e3, **_ratio(found[FIRST:], kernels), "bars": n,
            "anomalies": anomalies, "warm_days": warm_days}  # fmt: skip


def _burst(running: System, n: int) -> Burst:
    """Send a minute and wait for all of it, looking as `up` does."""
    before = time.time_ns()
    report = running.steer("/admin/burst", asset=str(STOCKS), symbols=n)
    if report["events"] != n or report["clients"] != 1:
        raise AssertionError(f"expected {n} bars for one client, was {report}")
    deadline = time.monotonic() + BURST_S
    while True:
        receipts = running.receipts(before)
        if sum(r.n_bars for r in receipts) >= n and any(r.end_ns for r in receipts):
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {n} bars stored within {BURST_S:.0f} s, was {receipts}")
        time.sleep(0.25)
        running.look()
    running.n_anomalies += sum(r.n_anomalies for r in receipts)
    return timed(receipts, int(report["last_ns"]))


def timed(receipts: list[Receipt], sent_ns: int) -> Burst:
    """Give a burst's seconds from its messages' receipts.

    >>> a = Receipt(stored_ns=250, received_ns=100, end_ns=0, closed_ns=0, newest_ns=1, n_bars=9, n_anomalies=0)
    >>> b = Receipt(stored_ns=400, received_ns=0, end_ns=5, closed_ns=300, newest_ns=0, n_bars=0, n_anomalies=1)
    >>> burst = timed([a, b], 50)
    >>> [round(x * NS_PER_S) for x in (burst.bars, burst.close, burst.whole, burst.sent, burst.figure)]
    [150, 100, 300, 350, 150]
    """
    received = max(r.received_ns for r in receipts)
    last_bars = max(r.stored_ns for r in receipts if r.n_bars)
    closing = max((r for r in receipts if r.end_ns), key=lambda r: r.stored_ns)
    last = max(r.stored_ns for r in receipts)
    return Burst(
        (last_bars - received) / NS_PER_S, (closing.stored_ns - closing.closed_ns) / NS_PER_S,
        (last - received) / NS_PER_S, (last - sent_ns) / NS_PER_S,
    )  # fmt: skip


def _figures(found: list[Burst]) -> dict[str, float | int]:
    parts: dict[str, Callable[[Burst], float]] = {
        "": lambda b: b.figure, "bars_": lambda b: b.bars, "close_": lambda b: b.close, "whole_": lambda b: b.whole,
        "sent_": lambda b: b.sent,
    }  # fmt: skip
    figures: dict[str, float | int] = {"n": len(found)}
    for name, of in parts.items():
        ms = np.array([of(b) for b in found]) * 1e3
        for label, value in (("median", 50), ("p90", 90), ("p99", 99), ("max", 100)):
            figures[f"{name}{label}_ms"] = round(float(np.percentile(ms, value)), 1)
    return figures


def _ratio(found: list[Burst], kernels_s: float) -> Mapping[str, float]:
    return {"ratio": statistics.median(b.figure for b in found) / kernels_s}


async def _kernels(running: System, n: int, symbols: int) -> float:
    """Give the median seconds the bare kernels take for a minute, on the state the actors start with."""
    market, stage = await _state(running)
    tape = injected_tape(SimulatorConfig(symbols=symbols, seed=SEED), STOCKS)
    start = running.known.start.ns // MINUTE_NS * MINUTE_NS
    block = tape.block(start, KERNEL_MINUTES)
    seconds = []
    for t in range(KERNEL_MINUTES):
        rows = np.flatnonzero(block.present[t])[:n]
        minute = block.take(slice(t, t + 1), rows)
        bars = BarBlock(
            rows.astype(np.int32), np.full((1, len(rows)), minute.ts[0]), minute.open, minute.high, minute.low,
            minute.close, minute.volume, minute.trades, 60,
        )  # fmt: skip
        seconds.append(_one(market, stage, bars, int(minute.ts[0]) + MINUTE_NS))
    return statistics.median(seconds[1:])


def _one(market: Market, stage: Symbols, bars: BarBlock, end: int) -> float:
    began = time.perf_counter()
    market.observe(bars.slot.astype(np.int64), bars, np.zeros(1, dtype=np.bool_))
    stage.decide(stage.observe(bars))
    stage.close(market.close(end))
    return time.perf_counter() - began


async def _state(running: System) -> tuple[Market, Symbols]:
    """Read both stages' first checkpoints, as a process that recovers does."""
    settings, dsn = running.settings, running.known.dsn
    config = plans.shard_config(settings, STOCKS, 0, dsn, AssetClass.STOCKS.activity, None)
    shard = SymbolShard(config)
    await recovery.recover(shard)
    await shard.writer.close()
    market = Market(SeriesShape(STOCKS, 60, STOCKS.activity), config.detection)
    conn = await connect(dsn, "bench")
    try:
        stored = await checkpoints.load(conn, config.checkpoints, stage="market", asset_class=str(STOCKS), shard="")
    finally:
        await conn.close()
    assert stored is not None
    stored.arrays.pop("stream.newest_ts")
    market.restore(stored.arrays)
    market.grow(SlotTable(STOCKS, series=(shard.series[slot] for slot in sorted(shard.series))))
    return market, shard.symbols
