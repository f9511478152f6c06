"""Forests fitted on whole tapes: equal to scikit-learn's, calibrated, the same bytes for the same seed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from features.catalog import NAMES
from features.detectors.artifact import dump, load
from features.detectors.card import column_refs
from features.market.types import NS_PER_S, AssetClass
from ray_apps.cli import run
from ray_apps.errors import UserError
from training import dataset
from training.fit import COLUMNS, ForestPlan, _check, fit_forest

pytestmark = pytest.mark.thorough

STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
PLAN = ForestPlan(trees=20, samples=64, seed=3)


def source(asset_class: AssetClass = STOCKS, seed: int = 3) -> dataset.Source:
    return dataset.synthetic(asset_class, n_symbols=8, n_days=2, seed=seed)


def test_rows_are_what_the_features_told() -> None:
    rows = dataset.feature_rows(source(), COLUMNS)
    assert rows.x.shape == (len(rows), len(COLUMNS))
    assert np.isfinite(rows.x).all()
    assert (np.diff(rows.end) >= 0).all()
    assert rows.is_held_out.mean() == pytest.approx(dataset.HELD_OUT, abs=0.02)
    assert rows.end[rows.is_held_out].min() > rows.end[~rows.is_held_out].max()


def test_a_null_market_scores_uniformly() -> None:
    made = fit_forest(source(), PLAN)
    later = dataset.synthetic(STOCKS, n_symbols=8, n_days=4, seed=3)
    x = dataset.feature_rows(later, COLUMNS).x[-20_000:]
    p = made.card.calibration.p_value(made.score_columns(x))
    for level in (0.5, 0.1, 0.01):
        assert (p <= level).mean() == pytest.approx(level, rel=0.5)


def test_the_card_says_what_was_done() -> None:
    card = fit_forest(source(CRYPTO), PLAN).card
    assert (card.name, card.asset_class, card.bar_s, card.seed) == ("isolation_forest.crypto.60s", CRYPTO, 60, 3)
    assert card.columns == column_refs(COLUMNS)
    assert card.fitted_on == "synthetic null tape, 8 symbols, 2 trading days from 2026-01-05, seed 3"
    assert card.n_rows == pytest.approx(4 * card.metrics["held_out_rows"], rel=0.1)
    assert card.created_ns == 1_767_744_000 * NS_PER_S  # 2026-01-07: two days of crypto
    assert fit_forest(source(CRYPTO), PLAN, created_ns=5).card.created_ns == 5


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = dump(fit_forest(source(), PLAN)), dump(fit_forest(source(), PLAN))
    assert first == second
    assert dump(fit_forest(source(), ForestPlan(20, 64, 4))) != first


def test_too_few_rows_are_named() -> None:
    with pytest.raises(UserError, match=r"expected at least 60000 rows to fit and to calibrate on, was \d+ and \d+"):
        fit_forest(source(), ForestPlan(samples=60_000))
    with pytest.raises(UserError, match="expected bars with values of gap, residual_z, was none"):
        dataset.feature_rows(source(), ("gap", "residual_z"))


def test_a_forest_that_is_not_scikit_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="expected scikit-learn's scores to 1e-09, was"):
        _check(np.array([0.5]), np.array([0.6]))


def test_the_command_writes_an_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "forest.npz"
    arguments = ["train", "forest", "--asset", "stocks", "--out", str(out), "--symbols", "8", "--days", "2"]
    arguments += ["--trees", "20", "--samples", "64", "--seed", "3"]
    assert run(arguments) == 0
    assert out.read_bytes() == dump(fit_forest(source(), PLAN))
    assert capsys.readouterr().out.startswith("isolation_forest.stocks.60s ")
    assert run([*arguments, "--created-at", "2026-02-03"]) == 0
    assert load(out.read_bytes()).card.created_ns == 1_770_076_800 * NS_PER_S
    assert [p.name for p in tmp_path.iterdir()] == ["forest.npz"]


def test_the_command_reads_a_folder(tmp_path: Path) -> None:
    bars = tmp_path / "bars"
    bars.mkdir()
    rng = np.random.default_rng(1)
    for name in ("AAA", "BBB", "CCC", "DDD"):
        price = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, 1_800)))
        lines = [f"{1_767_744_000_000 + 60_000 * i},{p},{p * 1.001},{p * 0.999},{p},{v:.0f}"
                 for i, (p, v) in enumerate(zip(price, rng.lognormal(6.0, 0.5, 1_800), strict=True))]  # fmt: skip
        (bars / f"{name}.csv").write_text("\n".join(["t,o,h,l,c,v", *lines]), "utf-8")
    out = tmp_path / "forest.npz"
    arguments = ["train", "forest", "--asset", "crypto", "--out", str(out), "--source", str(bars), "--samples", "64"]
    assert run(arguments) == 0
    assert load(out.read_bytes()).card.fitted_on == "folder of 4 series, 7200 bars of 60 s, activity volume"


@pytest.mark.parametrize(
    ("changed", "said", "code"),
    [
        (["--asset", "bonds"], "--asset: expected one of stocks, crypto", 2),
        (["--out", "/no/such/folder/x.npz"], "--out: expected a file in a folder that exists", 2),
        (["--created-at", "soon"], "--created-at: expected an instant such as", 2),
        (["--source", "/no/such/folder"], "expected a folder of bar files", 2),
        (["--trees", "0"], "--trees", 2),
    ],
)
def test_a_mistake_is_one_line(
    changed: list[str], said: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "forest", "--asset", "stocks", "--out", str(tmp_path / "f.npz"), *changed]
    assert run(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_without_scikit_learn_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    arguments = ["train", "forest", "--asset", "stocks", "--out", str(tmp_path / "f.npz"), "--symbols", "8"]
    assert run([*arguments, "--days", "2"]) == 1
    assert "install the extra `train`" in capsys.readouterr().err


def test_the_columns_are_the_catalogues() -> None:
    assert set(COLUMNS) <= set(NAMES)
