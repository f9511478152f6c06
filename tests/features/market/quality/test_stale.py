"""Prices that stand still: put into made-up bars and found; thin and cheap names left alone."""

import numpy as np
import pytest

from features.market.bars import BarColumns
from features.market.quality.days import buckets
from features.market.quality.series import Frame
from features.market.quality.stale import stale_runs
from features.market.types import AssetClass
from tests.support.histories import PRICES, STOCKS, edit, frame_of, in_sessions, stock

pytestmark = pytest.mark.thorough

N_DAYS = 21


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def clean() -> BarColumns:
    return in_sessions(stock("AAPL", N_DAYS), held())


def found(bars) -> list[list[int]]:
    return stale_runs(bars, held().days.row_of(bars.ts), buckets(AssetClass.STOCKS, bars.ts)).tolist()


def stuck(bars, first: int, last: int):
    """Give bars of which those in [first, last) repeat the first."""
    return edit(bars, slice(first, last), **{name: float(getattr(bars, name)[first]) for name in PRICES})


@pytest.mark.parametrize("symbol", STOCKS)
def test_a_plain_tape_never_stands_still(symbol: str) -> None:
    assert found(stock(symbol, N_DAYS)) == []


@pytest.mark.parametrize("length", [20, 60, 300])
def test_a_stuck_price_is_found_where_it_is(length: int) -> None:
    assert found(stuck(clean(), 1_180, 1_180 + length)) == [[1_180, 1_180 + length]]


def test_a_run_ends_with_its_day() -> None:
    assert found(stuck(clean(), 360, 420)) == [[360, 390], [390, 420]]


def test_a_few_equal_bars_are_chance() -> None:
    assert found(stuck(clean(), 1_000, 1_005)) == []


@pytest.mark.parametrize("still", [5, 20])
def test_a_cheap_name_that_repeats_itself_every_day_is_not_stuck(still: int) -> None:
    rng = np.random.default_rng(3)
    moves = np.where(rng.random(len(clean())) < 1 / still, rng.choice([-0.01, 0.01], len(clean())), 0.0)
    price = 1.0 + np.abs(np.cumsum(moves))
    cheap = edit(clean(), slice(None), **dict.fromkeys(PRICES, 0.0))
    cheap = edit(cheap, slice(None), **{name: lambda x: x + price for name in PRICES})
    repeats = np.mean(price[1:] == price[:-1])
    assert repeats > 0.7
    assert found(cheap) == []
    stands = found(edit(cheap, slice(1_955, 2_335), **dict.fromkeys(PRICES, 1.5)))
    assert stands == ([[1_955, 2_335]] if still == 5 else [])  # 19 moves a day: a day without is no wonder


def test_bars_out_of_hours_are_not_judged() -> None:
    bars = stock("AAPL", N_DAYS)
    early = np.flatnonzero(held().days.row_of(bars.ts) < 0)[:60]
    assert found(edit(bars, early, **dict.fromkeys(PRICES, 100.0))) == []
