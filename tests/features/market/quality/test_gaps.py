"""Gaps against the calendar: holes put in and found, thin names left alone, counts as a plain loop has them."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.market.bars import gaps as missing_spans
from features.market.quality.days import TradingDays, Windows
from features.market.quality.gaps import Coverage, coverage
from features.market.quality.series import Frame
from features.market.types import NS_PER_S, AssetClass
from tests.support.histories import DAY, MINUTE, frame_of

N_DAYS = 28


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def full() -> np.ndarray:
    """Give the windows of a series that always prints."""
    return held().expected.ts


def covered(ts: np.ndarray) -> Coverage:
    return coverage(ts, held().days, held().expected, 60)


def thin(share: float, seed: int, busy_by_day: float = 0.0) -> np.ndarray:
    """Give windows of a name that prints in a part of them, more or less of it by day and around noon."""
    rng = np.random.default_rng(seed)
    of_day = np.exp(busy_by_day * rng.normal(size=len(held().days)))[held().expected.row]
    noon = np.where((held().expected.bucket > 22) & (held().expected.bucket < 29), 0.7, 1.1)
    return held().expected.ts[rng.random(len(held().expected)) < np.minimum(share * of_day * noon, 1.0)]


def test_a_full_series_lacks_nothing() -> None:
    found = covered(full())
    assert (len(found.gaps), found.missing_share, found.usual_share) == (0, 0.0, 1.0)
    assert found.n_bars.tolist() == [390] * 20
    assert found.share_of(found.n_windows, np.arange(20)).tolist() == [1.0] * 20


@pytest.mark.parametrize("length", [1, 2, 30, 389, 390, 1_000])
def test_a_hole_of_a_full_series_is_found_where_it_is(length: int) -> None:
    found = covered(np.delete(full(), slice(700, 700 + length)))
    assert found.gaps.tolist() == [[full()[700], full()[699 + length] + MINUTE]]
    assert found.gap_bars.tolist() == [length]
    assert found.missing_share == pytest.approx(length / len(full()))


def test_single_holes_of_a_full_series_are_those_the_plain_function_gives() -> None:
    ts = np.delete(full(), [50, 51, 900])
    assert covered(ts).gaps.tolist() == missing_spans(ts, held().expected.ts, 60).tolist()


@pytest.mark.parametrize("share", [0.99, 0.9, 0.6, 0.3, 0.1, 0.02])
@pytest.mark.parametrize("busy_by_day", [0.0, 0.3])
def test_a_thin_name_has_no_gaps(share: float, busy_by_day: float) -> None:
    found = [covered(thin(share, seed, busy_by_day)) for seed in range(8)]
    assert sum(len(f.gaps) for f in found) == 0


@pytest.mark.parametrize(("share", "hours"), [(0.9, 1), (0.6, 2), (0.3, 6.5), (0.1, 20)])
def test_a_hole_far_longer_than_a_thin_names_silences_is_found(share: float, hours: float) -> None:
    start = int(held().days.start_ns[6])
    end = start + int(hours * 60) * MINUTE if hours < 7 else int(held().days.end_ns[8])
    for seed in range(4):
        ts = thin(share, seed)
        found = covered(ts[(ts < start) | (ts >= end)])
        assert len(found.gaps) == 1
        assert found.gaps[0, 0] <= start
        assert found.gaps[0, 1] >= end
        lost = np.sum((ts >= start) & (ts < end))
        assert found.gap_bars[0] == pytest.approx(lost, rel=0.35)


def test_a_hole_in_a_single_day_is_found() -> None:
    day = full()[:390]
    found = covered(np.delete(day, np.arange(100, 200)))
    assert found.gaps.tolist() == [[day[100], day[199] + MINUTE]]


def test_a_gap_may_hold_a_night_and_a_missing_day() -> None:
    found = covered(np.delete(full(), np.arange(380, 800)))
    assert found.gaps.tolist() == [[full()[380], full()[799] + MINUTE]]
    assert found.n_bars.tolist()[:3] == [380, 0, 370]


def test_life_is_from_the_first_bar_to_the_last() -> None:
    found = covered(full()[500:3_000])
    assert len(found.gaps) == 0
    assert found.n_windows.tolist() == [280, 390, 390, 390, 390, 390, 270]
    assert found.day.tolist() == held().days.day[1:8].tolist()


def test_bars_out_of_hours_are_nobodys() -> None:
    night = np.array([int(datetime(2025, 3, 4, 2, tzinfo=UTC).timestamp()) * NS_PER_S])
    assert covered(night).n_bars.sum() == 0
    assert covered(np.empty(0, np.int64)).missing_share == 0.0
    assert covered(np.sort(np.append(full(), night))).gaps.tolist() == []


@settings(max_examples=60)
@given(st.sets(st.integers(0, 119), min_size=1), st.integers(1, 4))
def test_days_count_as_a_loop_does(present: set[int], n_days: int) -> None:
    start = np.arange(n_days) * DAY
    days = TradingDays(AssetClass.CRYPTO, np.arange(n_days), start, start + 120 * MINUTE // n_days)
    per_day = 120 // n_days
    ts = np.concatenate([d * DAY + np.arange(per_day) * MINUTE for d in range(n_days)])
    expected = Windows(ts, np.repeat(np.arange(n_days), per_day), ts // (1_800 * NS_PER_S) % 48)
    seen = np.array(sorted(p for p in present if p < len(ts)), np.int64)
    if not len(seen):
        return
    found = coverage(ts[seen], days, expected, 60)
    for row, day in enumerate(found.day.tolist()):
        inside = [k for k in range(len(ts)) if ts[k] // DAY == day and seen[0] <= k <= seen[-1]]
        assert found.n_windows[row] == len(inside)
        assert found.n_bars[row] == sum(k in present for k in inside)
