"""Fit an isolation forest with scikit-learn, hold it as arrays of ours, calibrate it on rows it has not seen."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.catalog import schema_hash
from features.detectors.card import ModelCard, ModelError, column_refs
from features.detectors.isolation_forest import MODEL_TYPE, IsolationForest, Trees, mean_path
from features.detectors.quantiles import QuantileTail, quantile_tail
from features.market.types import F64
from ray_apps.errors import UserError
from training.dataset import Source, feature_rows

COLUMNS = ("activity_z", "up_z", "down_z", "move_z", "volatility_ratio")
"""Columns free of the symbol's scale, told with the bar; the gap's and the close's have no value in most rows."""
TOLERANCE = 1e-9
"""Between scikit-learn's score and ours: both sum as many path lengths in float64."""
MIN_ROWS = 1_000
NO_CALIBRATION = QuantileTail((0.0, 0.5, 1.0), (1.0, 0.5, 0.1))
"""Stands in until the scores of held-out rows are known."""


@dataclass(frozen=True, slots=True)
class ForestPlan:
    """How to grow a forest: number of trees, rows each is grown on, seed."""

    trees: int = 100
    samples: int = 256
    seed: int = 7


def fit_forest(source: Source, plan: ForestPlan, created_ns: int | None = None) -> IsolationForest:
    """Fit on the older rows, calibrate on the newest fifth; same source and plan, same forest.

    Parameters
    ----------
    created_ns
        The instant on the card; the end of the newest row where nobody says.

    Raises
    ------
    UserError
        When there are too few rows, or scikit-learn is not installed.
    """
    rows = feature_rows(source, COLUMNS)
    held_out = rows.is_held_out
    seen, unseen = rows.x[~held_out], rows.x[held_out]
    if min(len(seen), len(unseen)) < max(MIN_ROWS, plan.samples):
        least = max(MIN_ROWS, plan.samples)
        raise UserError(f"expected at least {least} rows to fit and to calibrate on, was {len(seen)} and {len(unseen)}")
    model = _grow(seen, plan)
    trees = trees_of(model)
    card = ModelCard(
        model_type=MODEL_TYPE, asset_class=source.shape.asset_class, bar_s=source.shape.bar_s,
        columns=column_refs(COLUMNS), schema_hash=schema_hash(), fitted_on=source.told, n_rows=len(seen),
        seed=plan.seed, created_ns=int(rows.end.max()) if created_ns is None else created_ns, metrics={},
        calibration=NO_CALIBRATION,
    )  # fmt: skip
    score = IsolationForest(card, trees).score_columns(unseen)
    _check(score, -model.score_samples(unseen.astype(np.float32)))
    return IsolationForest(_calibrated(card, score), trees)


def _calibrated(card: ModelCard, score: F64) -> ModelCard:
    """Give the card with the tail of held-out scores and what they measured."""
    at = dict(zip(("score_p50", "score_p99", "score_max"), np.quantile(score, [0.5, 0.99, 1.0]).tolist(), strict=True))
    return replace(card, calibration=quantile_tail(score), metrics={"held_out_rows": float(len(score)), **at})


def _grow(x: F64, plan: ForestPlan) -> Any:
    try:
        from sklearn.ensemble import IsolationForest as Grown
    except ImportError as e:
        raise UserError("expected scikit-learn to fit a forest, was not installed: install the extra `train`") from e
    grown = Grown(n_estimators=plan.trees, max_samples=plan.samples, random_state=plan.seed)
    return grown.fit(x.astype(np.float32))


def _check(ours: F64, theirs: F64) -> None:
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        raise ModelError(f"expected scikit-learn's scores to {TOLERANCE}, was a difference of {difference}")


def trees_of(model: Any) -> Trees:
    """Give a fitted scikit-learn forest's nodes as arrays of ours."""
    grown = list(zip(model.estimators_, model.estimators_features_, strict=True))
    root = np.cumsum([0, *(tree.tree_.node_count for tree, _ in grown)])
    parts = [_flat(tree.tree_, columns, int(first)) for (tree, columns), first in zip(grown, root, strict=False)]
    feature, threshold, left, path = (np.concatenate(column) for column in zip(*parts, strict=True))
    samples = np.array([model.max_samples_], dtype=np.int32)
    return Trees(
        feature.astype(np.int32), threshold.astype(np.float64), left.astype(np.int32), path.astype(np.float64),
        root.astype(np.int32), samples,
    )  # fmt: skip


def _flat(tree: Any, columns: Any, first: int) -> tuple[Any, Any, Any, Any]:
    """Lay one tree's nodes out by depth, siblings side by side, the root at `first`: feature, threshold, left, path."""
    order = [0]
    depth = np.zeros(tree.node_count)
    left = np.arange(first, first + tree.node_count)
    for place in range(tree.node_count):  # `order` grows as it is read
        node = order[place]
        if tree.children_left[node] >= 0:
            left[place] = first + len(order)
            depth[len(order) : len(order) + 2] = depth[place] + 1
            order += [tree.children_left[node], tree.children_right[node]]
    is_leaf = tree.children_left[order] < 0
    feature = np.where(is_leaf, 0, columns[np.where(is_leaf, 0, tree.feature[order])])
    threshold = np.where(is_leaf, np.inf, tree.threshold[order])
    path = np.where(is_leaf, depth + mean_path(tree.n_node_samples[order].astype(np.float64)), 0.0)
    return feature, threshold, left, path
