"""Small fitted forests, grown by scikit-learn on made-up rows."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest as Grown

from features.catalog import CATALOG, schema_hash
from features.detectors.card import ModelCard, column_refs
from features.detectors.isolation_forest import MODEL_TYPE, IsolationForest
from features.detectors.quantiles import quantile_tail
from features.market.types import AssetClass
from training.fit import trees_of

NAMES = ("activity_z", "up_z", "down_z", "move_z", "volatility_ratio")
TAIL = quantile_tail(np.linspace(0.3, 0.7, 10_001))


def rows(n: int, seed: int = 0, columns: int = len(NAMES)) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, (n, columns))


def wide(x: np.ndarray) -> np.ndarray:
    """Give X [N, F] that holds the rows in the forest's columns and nothing elsewhere."""
    out = np.full((len(x), len(CATALOG)), np.nan)
    out[:, card().places()] = x
    return out


def card(**changes: Any) -> ModelCard:
    made = ModelCard(
        MODEL_TYPE, AssetClass.STOCKS, 60, column_refs(NAMES), schema_hash(), "made-up rows", 3_000, 1,
        1_700_000_000 * 10**9, {"rows": 1.0}, TAIL,
    )  # fmt: skip
    return replace(made, **changes)


def grown(trees: int = 30, samples: int = 256, seed: int = 1, columns: int = len(NAMES)) -> Grown:
    model = Grown(n_estimators=trees, max_samples=samples, random_state=seed)
    return model.fit(rows(3_000, seed, columns).astype(np.float32))


def forest(model: Grown | None = None, **changes: Any) -> IsolationForest:
    return IsolationForest(card(**changes), trees_of(model or grown()))
