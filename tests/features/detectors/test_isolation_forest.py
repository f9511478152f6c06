"""The forest against scikit-learn, and arrays that are not a forest."""

from dataclasses import fields, replace

import numpy as np
import pytest

from features.detectors.card import ModelError, column_refs
from features.detectors.isolation_forest import BLOCK, IsolationForest, Trees, mean_path
from features.market.types import AssetClass
from tests.support.forests import card, forest, grown, rows, wide
from training.fit import trees_of

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("samples", [2, 3, 17, 256, 1_000])
@pytest.mark.parametrize("n", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_scores_are_scikit_learns(samples: int, n: int) -> None:
    model, x = grown(20, samples), rows(n, 5)
    np.testing.assert_allclose(forest(model).score(wide(x)), -model.score_samples(x), rtol=0, atol=1e-12)


def test_rows_on_a_threshold_go_the_same_way() -> None:
    model = grown()
    trees = trees_of(model)
    is_cut = np.isfinite(trees.threshold)
    x = np.zeros((int(is_cut.sum()), 5))
    x[np.arange(len(x)), trees.feature[is_cut]] = trees.threshold[is_cut]
    np.testing.assert_allclose(forest(model).score_columns(x), -model.score_samples(x), rtol=0, atol=1e-12)


def test_one_column_is_enough() -> None:
    model = grown(columns=1)
    alone = IsolationForest(card(columns=column_refs(["move_z"])), trees_of(model))
    x = rows(50, 2, 1)
    np.testing.assert_allclose(alone.score_columns(x), -model.score_samples(x), rtol=0, atol=1e-12)


def test_a_row_without_a_value_has_no_score() -> None:
    x = rows(300, 3)
    whole = forest(grown()).score(wide(x))
    x[7, 2] = x[150, 0] = np.nan
    holed = forest(grown()).score(wide(x))
    assert np.flatnonzero(np.isnan(holed)).tolist() == [7, 150]
    known = ~np.isnan(holed)
    np.testing.assert_array_equal(holed[known], whole[known])


def test_any_shape_of_rows_gives_the_same_bits() -> None:
    f, x = forest(grown()), wide(rows(5 * BLOCK + 3, 4))
    whole = f.score(x)
    np.testing.assert_array_equal(np.concatenate([f.score(part) for part in np.array_split(x, 7)]), whole)
    np.testing.assert_array_equal([float(f.score(row)) for row in x[:9]], whole[:9])
    np.testing.assert_array_equal(f.score(x[:600].reshape(3, 200, -1)), whole[:600].reshape(3, 200))
    assert f.score(x[:0]).shape == (0,)


def test_scores_lie_between_0_and_1_and_rise_with_the_distance() -> None:
    steps = np.array([0.0, 1.0, 3.0, 8.0, 30.0, 1e300, np.inf])
    score = forest(grown(100)).score_columns(np.repeat(steps[:, None], 5, axis=1))
    assert ((score > 0.0) & (score < 1.0)).all()
    assert (np.diff(score[:5]) > 0.0).all()
    assert (np.diff(score[4:]) >= 0.0).all()


def test_mean_path_is_that_of_random_search_trees() -> None:
    n = np.arange(3, 300)
    harmonic = np.cumsum(1.0 / np.arange(1, 300))[n - 2]
    exact = 2.0 * harmonic - 2.0 * (n - 1) / n
    # the paper's H(i) = ln i + .5772 leaves out 1 / 2i
    np.testing.assert_allclose(mean_path(n.astype(float)), exact - 1.0 / (n - 1), rtol=0, atol=0.05)


def broken(**changes: object) -> Trees:
    return replace(trees_of(grown(2, 8)), **changes)


def test_arrays_that_are_not_a_forest_are_refused() -> None:
    good = trees_of(grown(2, 8))
    last = np.int32(len(good.left))
    is_leaf = good.left == np.arange(last)
    bad = {
        "rise from 0": broken(root=good.root[::-1].copy()),
        "roots": broken(root=np.array([0, last + 1], dtype=np.int32)),
        "behind their parent": broken(left=np.where(is_leaf, good.left, 0).astype(np.int32)),
        "children behind": broken(left=np.where(is_leaf, good.left, np.int32(2**31 - 1)).astype(np.int32)),
        "columns below": broken(feature=good.feature + np.int32(9)),
        "finite path": broken(path=np.full_like(good.path, np.nan)),
        "thresholds": broken(threshold=np.full_like(good.threshold, np.nan)),
        "samples": broken(samples=np.zeros(1, dtype=np.int32)),
        "expected left": broken(left=good.left.astype(np.int64)),
        "as many nodes": broken(path=good.path[:-1]),
        "one number": broken(samples=np.zeros(0, dtype=np.int32)),
    }
    for said, trees in bad.items():
        with pytest.raises(ModelError, match=said):
            IsolationForest(card(), trees)


def test_a_chain_deeper_than_any_forest_is_refused() -> None:
    depth = 70
    node = np.arange(2 * depth + 1, dtype=np.int32)
    left = np.where((node % 2 == 0) & (node < 2 * depth), node + 1, node).astype(np.int32)
    left[2::2] = np.where(node[2::2] < 2 * depth, node[2::2] + 1, node[2::2])
    cut = np.where(left == node, np.inf, 0.0)
    chain = Trees(np.zeros_like(node), cut, left, np.ones(len(node)), np.array([0, len(node)], np.int32),
                  np.array([256], np.int32))  # fmt: skip
    with pytest.raises(ModelError, match="depth 64 at most, was 70"):
        IsolationForest(card(), chain)


def test_a_card_of_another_type_or_without_columns_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a card of type isolation_forest, was oracle"):
        forest(model_type="oracle")
    with pytest.raises(ModelError, match="expected columns, was none"):
        forest(columns=())


def test_arrays_are_named() -> None:
    f = forest()
    assert set(f.arrays) == {field.name for field in fields(Trees)}
    with pytest.raises(ModelError, match="expected the arrays"):
        IsolationForest.of(card(), {**f.arrays, "more": f.arrays["path"]})
    assert f.card.name == "isolation_forest.stocks.60s"
    assert f.card.asset_class is AssetClass.STOCKS
