"""Outliers against plain loops, put into made-up bars, and none where a move lasts."""

import math

import numpy as np
import pandas as pd
import pytest

from features.market.bars import BarColumns
from features.market.quality.days import seconds_of_day
from features.market.quality.outliers import Outliers, price_outliers, volume_outliers
from features.market.types import AssetClass
from tests.support.histories import edit, histories, scaled, stock

pytestmark = pytest.mark.thorough


def clean() -> BarColumns:
    return stock("AAPL", 28)


def naive_scores(bars: BarColumns) -> np.ndarray:
    """Give each bar's distance in usual moves, said in loops without any shortcut."""
    n = len(bars)
    last = [bars.open[0], *bars.close[:-1]]
    ranges = [math.log(max(bars.high[i], last[i]) / min(bars.low[i], last[i])) for i in range(n)]
    moved = [r for r in ranges if r > 0]
    usual = max(float(np.median(moved)) if len(moved) >= 10 else 0.0, 2e-3 / 25)
    out = np.zeros(n)
    for i in range(3, n - 3):
        before, after = bars.close[max(i - 9, 0) : i], bars.close[i + 1 : i + 10]
        sides = float(np.median(before)), float(np.median(after))
        away = max(math.log(bars.high[i] / max(sides)), math.log(min(sides) / bars.low[i]))
        near = [ranges[j] for j in range(max(i - 9, 0), min(i + 10, n)) if j != i]
        out[i] = away / max(float(np.median(near)), usual)
    return out


def test_price_outliers_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    bars = clean().take(slice(0, 1_500))
    for k in rng.choice(1_500, 60, replace=False):
        bars = scaled(bars, slice(int(k), int(k) + 1), float(np.exp(rng.normal(0, 0.05))))
    expected = naive_scores(bars)
    found = price_outliers(bars)
    assert found.row.tolist() == np.flatnonzero(expected >= 25).tolist()
    assert len(found) > 20
    np.testing.assert_allclose(found.score, expected[found.row], rtol=1e-9)


def loud(bars: BarColumns, asset_class: AssetClass = AssetClass.STOCKS) -> Outliers:
    second = seconds_of_day(asset_class, bars.ts)
    return volume_outliers(bars.volume, second // 60, second // 1_800)


def test_volume_outliers_are_those_of_pandas() -> None:
    rng = np.random.default_rng(6)
    at = rng.choice(len(clean()), 40, replace=False)
    bars = edit(clean(), at, volume=lambda x: x * np.exp(rng.uniform(0, 15, len(x))))
    second = seconds_of_day(AssetClass.STOCKS, bars.ts)
    table = pd.DataFrame({"x": np.log(bars.volume), "minute": second // 60, "half": second // 1_800})
    by_minute = table.groupby("minute").x
    away = table.x - by_minute.transform("median").where(by_minute.transform("size") >= 10, table.x.median())
    spread = away.abs().groupby(table.half).transform("median")
    many = away.groupby(table.half).transform("size") >= 10
    score = away / (1.4826 * spread.where(many, away.abs().median())).clip(lower=0.5)
    found = loud(bars)
    assert found.row.tolist() == np.flatnonzero(score >= 10).tolist()
    assert len(found) > 5
    np.testing.assert_allclose(found.score, score[found.row])
    np.testing.assert_allclose(found.size, np.exp(away[found.row]))


@pytest.mark.parametrize(
    ("asset_class", "n_symbols", "n_days"), [(AssetClass.STOCKS, 20, 28), (AssetClass.CRYPTO, 4, 6)]
)
def test_a_plain_tape_has_next_to_none(asset_class: AssetClass, n_symbols: int, n_days: int) -> None:
    tape = histories(asset_class, n_symbols, n_days)
    n_bars = sum(map(len, tape.values()))
    assert sum(len(price_outliers(bars)) for bars in tape.values()) == 0
    assert sum(len(loud(bars, asset_class)) for bars in tape.values()) <= n_bars / 20_000


@pytest.mark.parametrize("factor", [10.0, 0.1, 1.2, 0.8])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_wrong_price_is_found_however_long_up_to_four_bars(factor: float, length: int) -> None:
    found = price_outliers(scaled(clean(), slice(3_000, 3_000 + length), factor))
    assert found.row.tolist() == list(range(3_000, 3_000 + length))
    np.testing.assert_allclose(found.size, math.log(factor), atol=0.03)


def test_a_wick_alone_is_found_and_signed() -> None:
    bars = edit(clean(), slice(2_000, 2_001), low=lambda x: x * 0.7)
    found = price_outliers(edit(bars, slice(4_000, 4_001), high=lambda x: x * 1.4))
    assert found.row.tolist() == [2_000, 4_000]
    np.testing.assert_allclose(found.size, [math.log(0.7), math.log(1.4)], atol=0.02)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3, 4.0])
def test_a_move_that_lasts_is_none(factor: float) -> None:
    assert len(price_outliers(scaled(clean(), slice(3_000, None), factor))) == 0


def test_a_volume_far_off_is_found_and_money_is_not_needed() -> None:
    at = int(np.argmin(np.abs(seconds_of_day(AssetClass.STOCKS, clean().ts) - 12 * 3_600)))
    assert at in loud(scaled(clean(), slice(at, at + 1), 1.0, 1e5)).row.tolist()
    assert len(volume_outliers(np.full(50, np.nan), np.zeros(50, np.int64), np.zeros(50, np.int64))) == 0


def test_a_price_that_never_moved_before_is_judged_too() -> None:
    close = np.full(60, 50.0)
    close[30] = 50.3
    bars = BarColumns(np.arange(60), *[close] * 7)
    assert price_outliers(bars).row.tolist() == [30]
    close[30] = 50.05  # within what is thought a tick
    assert len(price_outliers(bars)) == 0
    assert len(price_outliers(bars.take(slice(0, 6)))) == 0
