"""Bars of another length put into a series are found where they are; thin and full series have none."""

import numpy as np
import pytest

from features.market.bars import aggregate
from features.market.quality.lengths import LEAST_BARS, longer_bars
from features.market.quality.series import judge_series
from features.market.types import AssetClass
from tests.support.histories import DAY, MINUTE, day_number, frame_of, histories, in_sessions, joined, walk

MINUTES = np.arange(4 * 1_440, dtype=np.int64) * MINUTE


@pytest.mark.parametrize("length", [2, 5, 15])
def test_longer_bars_are_found_before_between_and_behind(length: int) -> None:
    for first, last in ((0, 2_880), (1_440, 4_320), (2_880, 5_760)):
        there = np.ones(len(MINUTES), bool)
        there[first:last] = np.arange(last - first) % length == 0
        ts = MINUTES[there]
        ((begin, end, seconds),) = longer_bars(ts, 60).tolist()
        assert seconds == 60 * length
        assert abs(ts[begin] - MINUTES[first]) <= length * MINUTE
        assert abs(ts[end - 1] - MINUTES[last - 1]) <= length * MINUTE


def test_hours_of_sessions_are_told_by_their_step_not_by_their_nights() -> None:
    held = frame_of(AssetClass.STOCKS, 28)
    ts = held.expected.ts
    hours = ts[(ts - held.days.start_ns[held.days.row_of(ts)]) % (60 * MINUTE) == 0]
    assert longer_bars(hours, 60).tolist() == [[0, len(hours), 3_600]]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 1.0])
def test_thin_series_keep_to_no_coarser_grid(share: float) -> None:
    rng = np.random.default_rng(3)
    ts = np.arange(500_000, dtype=np.int64) * MINUTE
    assert len(longer_bars(ts[rng.random(len(ts)) < share], 60)) == 0


def test_too_few_say_nothing() -> None:
    assert len(longer_bars(np.arange(LEAST_BARS - 1) * 5 * MINUTE, 60)) == 0
    assert len(longer_bars(np.arange(LEAST_BARS) * 5 * MINUTE, 60)) == 1
    assert len(longer_bars(np.empty(0, np.int64), 60)) == 0


@pytest.mark.thorough
def test_a_tape_has_none_and_a_series_says_its_own() -> None:
    held = frame_of(AssetClass.STOCKS, 7)
    for bars in histories(AssetClass.STOCKS, 20, 7).values():
        assert len(longer_bars(in_sessions(bars, held).ts, 60)) == 0
    crypto = frame_of(AssetClass.CRYPTO, 4)
    bars = walk(MINUTES + int(crypto.days.start_ns[0]))
    mixed = joined(bars.take(slice(0, 2_880)), aggregate(bars.take(slice(2_880, None)), 60, 300))
    found = judge_series("X", mixed, crypto)
    (told,) = [f for f in found.flaws if f.flaw == "length"]
    assert (found.n_flaws["length"], told.size, told.n) == (1, 300.0, 576)
    assert told.to_ns == day_number(crypto.days.day[-1].astype("datetime64[D]").item()) * DAY + DAY
