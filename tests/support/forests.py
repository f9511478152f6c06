"""Small forests: grown by scikit-learn on made-up rows, or cut at random without it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from features.catalog import CATALOG, schema_hash
from features.detectors.card import ModelCard, column_refs
from features.detectors.isolation_forest import MODEL_TYPE, IsolationForest, Trees, mean_path
from features.detectors.quantiles import quantile_tail
from features.market.types import AssetClass
from training.fit import trees_of

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest as Grown

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


def grown(trees: int = 30, samples: int = 256, seed: int = 1, columns: int = len(NAMES)) -> "Grown":
    from sklearn.ensemble import IsolationForest as Grown  # takes seconds, which only its oracles should

    model = Grown(n_estimators=trees, max_samples=samples, random_state=seed)
    return model.fit(rows(3_000, seed, columns).astype(np.float32))


def cut_at_random(trees: int = 30, depth: int = 6, seed: int = 1) -> Trees:
    """Give full trees: node i has the children 2i + 1 and 2i + 2, the leaves of a tree hold 1 to 40 rows."""
    rng = np.random.default_rng(seed)
    n = 2 ** (depth + 1) - 1
    shape, place = (trees, n), np.arange(n)
    is_leaf = np.broadcast_to(place >= n // 2, shape)
    first = np.arange(trees + 1) * n
    path = depth + mean_path(rng.integers(1, 41, shape).astype(np.float64))
    return Trees(
        np.where(is_leaf, 0, rng.integers(len(NAMES), size=shape)).astype(np.int32).ravel(),
        np.where(is_leaf, np.inf, rng.standard_t(4, shape).astype(np.float32)).astype(np.float64).ravel(),
        (first[:-1, None] + np.where(is_leaf, place, 2 * place + 1)).astype(np.int32).ravel(),
        np.where(is_leaf, path, 0.0).ravel(), first.astype(np.int32), np.array([256], dtype=np.int32),
    )  # fmt: skip


def forest(model: "Grown | None" = None, **changes: Any) -> IsolationForest:
    return IsolationForest(card(**changes), cut_at_random() if model is None else trees_of(model))
