"""Build rows for the store's tests."""

from typing import Any

import numpy as np

from features.market.types import NS_PER_S
from ray_apps.store.rows import AnomalyRow, BarRows, EpisodeRow

MINUTE = 60 * NS_PER_S
T0 = 1_743_600_000 * NS_PER_S  # 2025-04-02 13:20 UTC


def bars(series: list[int], minute: int = 0, close: float = 100.0, **columns: Any) -> BarRows:
    """Give one bar per series, of the given minute after T0; any column may be set."""
    n = len(series)
    made: dict[str, Any] = {
        "series_id": np.array(series, dtype=np.int32),
        "ts": np.full(n, T0 + minute * MINUTE),
        "recv": np.full(n, T0 + (minute + 1) * MINUTE + 5_000_000),
        "open": np.full(n, close),
        "high": np.full(n, close + 1),
        "low": np.full(n, close - 1),
        "close": np.full(n, close),
        "volume": np.full(n, 500.0),
        "vwap": np.full(n, close),
        "trades": np.full(n, np.nan),
        "in_state": np.ones(n, dtype=bool),
    }
    for name, value in columns.items():
        made[name] = np.full(n, value, dtype=made[name].dtype)
    return BarRows(**made)


def anomaly(n: int, **changes: Any) -> AnomalyRow:
    """Give the n-th anomaly: one a minute, ids in the order of n."""
    made: dict[str, Any] = {
        "id": f"{n:032x}", "asset_class": "stocks", "symbol": "AAPL", "series_id": 0, "bar_s": 60,
        "ts": T0 + n * MINUTE, "available_at": T0 + (n + 1) * MINUTE, "kind": "burst_up", "own_kind": "burst_up",
        "score": 5.5, "p_value": 2e-6, "rate": 0.001, "severity": "high", "state": "provisional", "direction": 1,
        "reading": "+1.8 % on 9.46x normal volume", "scores": {"burst": 5.5, "gap": float("nan")},
        "features": [{"name": "volume_ratio", "value": 9.46}], "versions": {"burst": 1}, "norms": {"mean": 0.125},
    }  # fmt: skip
    return AnomalyRow(**{**made, **changes})


def episode(n: int, **changes: Any) -> EpisodeRow:
    """Give the n-th episode."""
    made: dict[str, Any] = {
        "id": f"e{n:031x}", "asset_class": "stocks", "symbol": "AAPL", "kind": "burst_up",
        "opened_at": T0 + n * MINUTE, "last_at": T0 + n * MINUTE, "closed_at": None, "n_anomalies": 1,
        "severity": "high", "rate": 0.001, "p_value": 2e-6, "score": 5.5,
    }  # fmt: skip
    return EpisodeRow(**{**made, **changes})
