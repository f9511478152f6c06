"""The scorer answers as the detector does, in slices, and names what it cannot answer."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from features.catalog import CATALOG
from features.detectors.artifact import digest, dump
from features.detectors.card import ModelError
from features.market.types import AssetClass
from ray_apps.scoring.models import shipped
from ray_apps.scoring.scorer import MAX_ROWS, SLICE, Scorer
from tests.support.forests import card, forest, rows, wide
from training.fit import COLUMNS

NAME = "isolation_forest.stocks.60s"
FOREST = forest()


def test_it_answers_as_the_detector_does() -> None:
    x = wide(rows(2 * SLICE + 7, 6))
    x[5] = np.nan
    scored = asyncio.run(Scorer({NAME: FOREST}).score(NAME, x))
    expected = FOREST.score(x)
    np.testing.assert_array_equal(scored.score, expected)
    np.testing.assert_array_equal(scored.p_value, FOREST.card.calibration.p_value(expected))
    assert scored.version == digest(FOREST)
    assert scored.seconds > 0


def test_others_have_their_turn_between_slices() -> None:
    async def run() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(count())
        await Scorer({NAME: FOREST}).score(NAME, wide(rows(3 * SLICE)))
        other.cancel()
        return turns

    assert asyncio.run(run()) >= 3


def test_it_says_what_it_serves() -> None:
    (served,) = Scorer({NAME: FOREST}).models()
    assert (served.name, served.asset_class, served.bar_s) == (NAME, AssetClass.STOCKS, 60)
    assert served.version == digest(FOREST)


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        ("other", (1, len(CATALOG)), rf"expected one of the models \['{NAME}'\], was other"),
        (NAME, (1, 3), r"columns, was \(1, 3\)"),
        (NAME, (len(CATALOG),), "columns, was"),
        (NAME, (MAX_ROWS + 1, len(CATALOG)), f"expected at most {MAX_ROWS} rows"),
    ],
)
def test_what_it_cannot_score_is_named(model: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        asyncio.run(Scorer({NAME: FOREST}).score(model, np.zeros(shape)))


def test_no_rows_are_no_scores() -> None:
    assert asyncio.run(Scorer({NAME: FOREST}).score(NAME, np.zeros((0, len(CATALOG))))).score.shape == (0,)


def test_the_shipped_models_are_as_the_readme_says() -> None:
    found = shipped()
    assert sorted(found) == ["isolation_forest.crypto.60s", "isolation_forest.stocks.60s"]
    for detector in found.values():
        c = detector.card
        assert tuple(column.name for column in c.columns) == COLUMNS
        assert c.fitted_on == "synthetic null tape, 100 symbols, 10 trading days from 2026-01-05, seed 7"
        assert (len(detector.arrays["root"]) - 1, detector.arrays["samples"][0]) == (100, 256)


def test_a_bad_artifact_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "good.npz").write_bytes(dump(forest(bar_s=300)))
    (tmp_path / "broken.npz").write_bytes(dump(FOREST)[:1_000])
    (tmp_path / "folder.npz").mkdir()
    assert list(shipped(tmp_path)) == ["isolation_forest.stocks.300s"]
    assert card().name not in shipped(tmp_path)
