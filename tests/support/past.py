"""A past to ask for: bars in a folder the simulator serves, and plans to ask with."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.market.bars import BarColumns
from features.market.types import AssetClass
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.tiers import Tier, entitlement

NOWHERE = "postgresql://x:y@127.0.0.1:1/z"
"""No database: a plan without a limit of calls needs none to ask."""


def plan(url: str, dsn: str = NOWHERE, tier: Tier = Tier.ADVANCED, **changes: Any) -> HistoryPlan:
    """Give how to ask a simulator for crypto, impatiently."""
    made: dict[str, Any] = {
        "asset_class": AssetClass.CRYPTO, "base_url": url, "api_key": f"sim-{tier}", "dsn": dsn,
        "backoff_base_s": 0.05, "backoff_cap_s": 0.2, "in_flight": 4, "connect_timeout_s": 5, "read_timeout_s": 10,
    } | changes  # fmt: skip
    return HistoryPlan(entitlement=entitlement(made["asset_class"], tier), **made)


def walk(seed: int, start_ns: int, n: int, bar_s: int = 60, missing: float = 0.02) -> BarColumns:
    """Give a random walk with some windows without a bar."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n))), 4)
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) + 0.01, np.minimum(open_, close) - 0.01
    volume = np.round(rng.lognormal(3, 1, n), 3)
    trades = np.floor(rng.lognormal(3, 1, n)) + 1
    ts = start_ns + np.arange(n, dtype=np.int64) * bar_s * 10**9
    whole = BarColumns(ts, open_, high, low, close, volume, (high + low) / 2, trades)
    there = rng.random(n) >= missing
    there[[0, -1]] = True
    return whole.take(there)


def write_folder(folder: Path, series: dict[str, BarColumns]) -> Path:
    """Write a folder of bar files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, bars in series.items():
        columns = {"t": bars.ts // 10**6, "o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
        columns |= {"v": bars.volume, "vw": bars.vwap, "n": bars.trades}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder
