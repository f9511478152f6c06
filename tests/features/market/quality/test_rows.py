"""Rows that cannot be used, repeats and disorder: each put in and counted, nothing found without."""

import math

import numpy as np
import pytest

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.quality.rows import grid_phase, printed, sound_rows
from features.market.types import NS_PER_S
from tests.support.histories import MINUTE, edit, joined, walk

CLEAN = walk(np.arange(500) * MINUTE)


def test_clean_rows_come_back_as_they_are() -> None:
    kept = sound_rows(CLEAN, 60, True)
    assert (kept.refused.total(), kept.doubtful.total()) == (0, 0)
    for name in COLUMN_NAMES:
        np.testing.assert_array_equal(getattr(kept.bars, name), getattr(CLEAN, name))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"close": 0.0}, "bad_price"),
        ({"low": -1.0}, "bad_price"),
        ({"high": math.nan}, "bad_price"),
        ({"open": math.inf}, "bad_price"),
        ({"vwap": -2.0}, "bad_price"),
        ({"high": lambda x: x * 0.5}, "high_below_low"),
        ({"low": lambda x: x * 1.5}, "high_below_low"),
        ({"volume": -1.0}, "bad_volume"),
        ({"trades": -1.0}, "bad_volume"),
        ({"volume": math.nan}, "missing_field"),
        ({"ts": lambda x: x + NS_PER_S}, "bad_window"),
    ],
)
def test_a_wrong_row_is_refused_by_its_reason(change, reason: str) -> None:
    bad = edit(CLEAN, np.array([7, 300]), **change)
    kept = sound_rows(bad, 60, True)
    assert dict(kept.refused) == {reason: 2}
    assert len(kept.bars) == 498


def test_indices_need_no_volume() -> None:
    bars = edit(CLEAN, slice(None), volume=math.nan, vwap=math.nan, trades=math.nan)
    assert sound_rows(bars, 60, False).refused.total() == 0
    assert dict(sound_rows(bars, 60, True).refused) == {"missing_field": 500}
    assert len(printed(bars)) == 500


def test_repeats_conflicts_and_disorder_are_told_apart() -> None:
    other = edit(CLEAN.take(slice(20, 22)), slice(None), close=lambda x: x + 0.0, volume=1.0)
    rows = joined(CLEAN, CLEAN.take(slice(10, 13)), other)
    kept = sound_rows(rows, 60, True)
    assert dict(kept.refused) == {"duplicate": 3, "conflict": 2}
    assert dict(kept.doubtful) == {"out_of_order": 5}
    assert kept.bars.ts.tolist() == CLEAN.ts.tolist()
    assert kept.bars.volume[20:22].tolist() == [1.0, 1.0]  # the last said counts


def test_a_shuffled_history_is_put_in_order() -> None:
    order = np.random.default_rng(1).permutation(len(CLEAN))
    kept = sound_rows(CLEAN.take(order), 60, True)
    assert kept.bars.ts.tolist() == CLEAN.ts.tolist()
    newest = np.maximum.accumulate(CLEAN.ts[order])
    assert kept.doubtful["out_of_order"] == int((CLEAN.ts[order] < newest).sum())


def test_a_vwap_outside_the_range_is_odd_and_a_row_without_volume_no_bar() -> None:
    odd = edit(edit(CLEAN, slice(5, 8), vwap=lambda x: x * 1.1), slice(20, 24), volume=0.0)
    kept = sound_rows(odd, 60, True)
    assert (dict(kept.refused), dict(kept.doubtful)) == ({}, {"vwap_outside": 3, "no_volume": 4})
    assert len(printed(kept.bars)) == 496


def test_a_grid_off_the_minute_is_a_grid() -> None:
    moved = edit(CLEAN, slice(None), ts=lambda x: x + 7 * NS_PER_S)
    assert grid_phase(moved.ts, 60) == 7 * NS_PER_S
    assert sound_rows(moved, 60, True).refused.total() == 0


def test_no_rows_are_no_bars() -> None:
    none = BarColumns(np.empty(0, np.int64), *[np.empty(0)] * 7)
    kept = sound_rows(none, 60, True)
    assert (len(kept.bars), kept.refused.total(), kept.doubtful.total()) == (0, 0, 0)


def test_windows_that_begin_after_now_are_refused() -> None:
    kept = sound_rows(CLEAN, 60, True, 490 * MINUTE)
    assert dict(kept.refused) == {"future": 9}
    assert int(kept.bars.ts[-1]) == 490 * MINUTE
