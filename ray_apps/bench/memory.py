"""Measure what one series costs in memory: the arrays of the stages, and what the process grew by."""

import gc
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from features.block import BarBlock, rows_of
from features.decisions.config import DetectionConfig
from features.market.types import AssetClass, Series, SlotTable
from features.stages.market import Market
from features.stages.symbols import Symbols
from features.state import SeriesShape
from features.warm import warm
from ray_apps.bench.replay import market

_SIZES = (1_000, 11_000, 100_000)  # universes the calculator is asked for most


def run(n: int = 11_000, asset_class: AssetClass = AssetClass.STOCKS, symbols: int | None = None) -> dict[str, float]:
    """Open `n` series of minutes and see what they take.

    Parameters
    ----------
    symbols
        Also say what a universe of so many symbols takes.

    Returns
    -------
    dict
        Bytes a series takes in the arrays of Symbols and of Market and in both; what a series of second bars beside it
        takes; by how much the process grew (NaN where the system does not tell); megabytes of whole universes.
    """
    warm(asset_class)
    block = market(2, n)
    gc.collect()
    before = _resident_bytes()
    stages = _stages(block, asset_class)
    grown = _resident_bytes() - before
    own, shared = (_array_bytes(stage) / n for stage in stages)
    seconds = Symbols(asset_class, block.bar_s, asset_class.activity, DetectionConfig())
    seconds.decide(seconds.observe(replace(rows_of(block, slice(0, 1)), bar_s=1)))
    in_all = own + shared
    sizes = sorted({*_SIZES, *([symbols] if symbols else [])})
    return {
        "series": n,
        "symbols_bytes": own,
        "market_bytes": shared,
        "bytes_per_series": in_all,
        "second_series_bytes": _array_bytes(seconds.groups[1]) / n,
        "resident_bytes": grown / n,
        **{f"mb_of_{size}": size * in_all / 1e6 for size in sizes},
    }


def _stages(block: BarBlock, asset_class: AssetClass) -> tuple[Symbols, Market]:
    """Give the stages after they saw a bar of every series."""
    shape = SeriesShape(asset_class, block.bar_s, asset_class.activity)
    config = DetectionConfig()
    symbols = Symbols(asset_class, block.bar_s, shape.activity, config)
    over_market = Market(shape, config)
    table = SlotTable(asset_class, series=(Series(asset_class, f"S{i}", block.bar_s) for i in range(block.shape[1])))
    over_market.grow(table)
    for t in range(len(block.ts)):
        row = rows_of(block, slice(t, t + 1))
        over_market.observe(row.slot.astype(np.int64), row, np.ones(1, dtype=np.bool_))
        symbols.decide(symbols.observe(row))
    return symbols, over_market


def _array_bytes(held: Any, depth: int = 0) -> int:
    """Give the bytes of every array reachable from an object of ours."""
    if isinstance(held, np.ndarray):
        return held.nbytes
    if isinstance(held, dict):
        return sum(_array_bytes(v, depth) for v in held.values())
    if depth < 6 and type(held).__module__.startswith("features."):
        return sum(_array_bytes(v, depth + 1) for v in vars(held).values()) if hasattr(held, "__dict__") else 0
    return 0


def _resident_bytes() -> float:
    """Give the memory the process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * resource.getpagesize()
