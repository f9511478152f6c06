"""Compile every kernel, or load it from disk, before the first bar needs it."""

import numpy as np

from features.block import BarBlock, rows_of
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, SlotTable
from features.stats import WARMUP

START_NS = 1_741_008_600 * NS_PER_S
"""2025-03-03 09:30 New York."""


def warm(asset_class: AssetClass, bar_s: int = 60) -> None:
    """Fold a made-up market through all stages as history and live do: blocks, batches, revisions, closes."""
    for n, rules in ((4, DetectionConfig()), (1, DetectionConfig(min_dollar_volume=1.0))):
        b = _block(n, WARMUP + 10, max(bar_s, 60))
        table = SlotTable(asset_class)
        for i in range(n):
            table.slot(f"S{i}", b.bar_s)
        table.find(["S0"], b.bar_s)
        engine = Engine(table, b.bar_s, asset_class.activity, rules)
        t = len(b.ts) - 1
        for _ in engine.fold(rows_of(b, slice(0, t))):
            pass
        _live(engine, rows_of(b, slice(t, t + 1)))


def _live(engine: Engine, last: BarBlock) -> None:
    """Show the last bars as a batch and once more as revisions, then close their window."""
    rows = last.slot.astype(np.int64)
    for revise in (None, np.ones(len(rows), dtype=np.bool_)):
        batch = BarBlock(last.slot, last.ts, last.open, last.high, last.low, last.close, last.volume, last.trades,
                         last.bar_s, revise)  # fmt: skip
        engine.market.observe(rows, batch, np.zeros(1, dtype=np.bool_))
        engine.symbols.decide(engine.symbols.observe(batch))
    ctx = engine.market.close(int(last.ts.max()) + last.bar_s * NS_PER_S)
    engine.symbols.close(ctx)


def _block(n: int, windows: int, bar_s: int) -> BarBlock:
    """Give a smooth market [windows, n] with one jump, so that anomalies are built too."""
    t = np.arange(windows, dtype=np.int64)[:, None]
    ts = np.repeat(START_NS + t * bar_s * NS_PER_S, n, axis=1)
    close = 50.0 + np.sin(t + np.arange(n)) * 0.05
    close[-3] *= 1.2
    activity = 100.0 + 10.0 * np.cos(t * 7.0 + np.arange(n))
    activity[-3] *= 100.0
    return BarBlock(np.arange(n, dtype=np.int32), ts, close.copy(), close + 0.01, close - 0.01, close, activity,
                    activity.copy(), bar_s)  # fmt: skip
