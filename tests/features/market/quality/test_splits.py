"""Splits not applied: put into made-up bars and found; crashes, news and small nights are none."""

from dataclasses import replace

import numpy as np
import pytest

from features.market.quality.profile import DayTable, day_table, grid_closes
from features.market.quality.series import Frame
from features.market.quality.splits import KnownSplits, Split, splits
from features.market.types import AssetClass
from tests.support.histories import STOCKS, frame_of, in_sessions, scaled, stock

pytestmark = pytest.mark.thorough

N_DAYS = 28


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def table(symbol: str = "AAPL", price: float = 1.0, volume: float = 1.0, from_row: int = 9) -> DayTable:
    """Give a symbol's days, prices and volume multiplied from one on."""
    bars = in_sessions(stock(symbol, N_DAYS), held())
    row = held().days.row_of(bars.ts)
    bars = scaled(bars, np.flatnonzero(row >= from_row), price, volume)
    return day_table(bars, row, grid_closes(bars, row, held().days), held().days)


def found(days: DayTable, known: KnownSplits | None = None) -> list[Split]:
    return list(splits(days.day, days.first, days.last, days.volume, known))


@pytest.mark.parametrize("symbol", STOCKS)
def test_a_plain_tape_has_none(symbol: str) -> None:
    assert found(table(symbol)) == []


@pytest.mark.parametrize(
    ("new", "old"), [(2, 1), (3, 2), (4, 1), (5, 1), (7, 1), (10, 1), (20, 1), (1, 4), (1, 10), (1, 50)]
)
@pytest.mark.parametrize("symbol", ["AAPL", "TSLA", "INTC"])
def test_a_split_is_found_on_its_day(symbol: str, new: int, old: int) -> None:
    (split,) = found(table(symbol, old / new, new / old))
    assert (split.new, split.old, split.is_known) == (new, old, False)
    assert split.day == held().days.day[9]
    assert split.price_ratio == pytest.approx(old / new, rel=0.1)
    assert split.volume_ratio == pytest.approx(new / old, rel=1.0)


@pytest.mark.parametrize(
    ("price", "volume"), [(0.5, 12.0), (0.5, 0.9), (0.62, 1.6), (1.9, 6.0), (0.8, 1.25), (0.1, 1.0)]
)
def test_crashes_and_news_are_none(price: float, volume: float) -> None:
    assert found(table(price=price, volume=volume)) == []


def test_a_listed_split_needs_no_volume() -> None:
    days = table(price=0.5, volume=9.0)
    listed = KnownSplits(np.array([held().days.day[9]]), np.array([2.0]))
    (split,) = found(days, listed)
    assert (split.new, split.old, split.is_known) == (2, 1, True)
    assert found(days, KnownSplits(np.array([held().days.day[9]]), np.array([3.0]))) == []
    assert found(days, KnownSplits(np.array([held().days.day[8]]), np.array([2.0]))) == []
    assert found(replace(days, volume=days.volume * np.nan), listed)[0].is_known
    assert found(table(), listed) == []  # applied: nothing jumps


def test_few_days_are_enough_and_one_is_not() -> None:
    days = table(price=0.25, volume=4.0, from_row=1)
    two = DayTable(*(getattr(days, name)[:2] for name in ("day", "first", "last", "volume", "variance")))
    assert found(DayTable(*(getattr(two, n)[:1] for n in ("day", "first", "last", "volume", "variance")))) == []
    assert [(s.new, s.old) for s in found(days)] == [(4, 1)]
