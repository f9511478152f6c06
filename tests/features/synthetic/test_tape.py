import hashlib
import subprocess
import sys
from datetime import date

import exchange_calendars
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.market.types import AssetClass
from features.synthetic.block import VALUES, TapeBlock
from features.synthetic.holidays import is_half_day, is_holiday
from features.synthetic.hours import MINUTE_NS, weekday
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import FIRST_DAY, Tape, TapeConfig

pytestmark = pytest.mark.thorough

EPOCH = date(1970, 1, 1).toordinal()
DAY = 20_711  # Tuesday 2026-09-15
CLASSES = list(AssetClass)
TAPES = {c: Tape(TapeConfig(c, 40)) for c in CLASSES}


def digest(block: TapeBlock) -> str:
    found = hashlib.sha256(block.ts.tobytes())
    for name in VALUES:
        found.update(getattr(block, name).tobytes())
    return found.hexdigest()


def same(a: TapeBlock, b: TapeBlock) -> None:
    np.testing.assert_array_equal(a.ts, b.ts)
    for name in VALUES:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def check_bars(block: TapeBlock) -> None:
    """What must hold of any bar."""
    at = block.present
    for name in ("open", "high", "low"):
        assert (np.isnan(getattr(block, name)) == ~at).all()
    o, h, low, c = (getattr(block, name)[at] for name in ("open", "high", "low", "close"))
    assert (low > 0).all()
    assert (low <= np.minimum(o, c)).all()
    assert (np.maximum(o, c) <= h).all()
    vwap = block.vwap[at]
    known = ~np.isnan(vwap)
    assert ((low <= vwap) & (vwap <= h) | ~known).all()
    trades, volume = block.trades[at][known], block.volume[at][known]
    assert (trades >= 1).all()
    assert (trades == np.rint(trades)).all()
    assert (volume > 0).all()


@settings(max_examples=30, deadline=None)
@given(
    asset_class=st.sampled_from(CLASSES),
    day=st.integers(FIRST_DAY, FIRST_DAY + 3_000),
    at=st.integers(0, 1439),
)
def test_bars_keep_their_invariants(asset_class: AssetClass, day: int, at: int) -> None:
    tape = TAPES[asset_class]
    block = tape.block((day * 1440 + at) * MINUTE_NS, 7)
    check_bars(block)
    scaled = block.close[block.present] * np.broadcast_to(tape.grid.ticks, block.close.shape)[block.present]
    np.testing.assert_allclose(scaled, np.rint(scaled), rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(asset_class=st.sampled_from(CLASSES), at=st.integers(570, 959))
def test_seconds_add_up_to_their_minute(asset_class: AssetClass, at: int) -> None:
    tape = TAPES[asset_class]
    start = (DAY * 1440 + 240 + at) * MINUTE_NS
    minute, seconds = tape.minute(start), tape.seconds(start)
    check_bars(seconds)
    assert (seconds.ts == minute.ts[0] + np.arange(60) * 10**9).all()
    at_all = seconds.present.any(axis=0)
    np.testing.assert_array_equal(at_all, minute.present[0])
    for column in np.flatnonzero(at_all):
        bars = seconds.take(np.flatnonzero(seconds.present[:, column]), slice(column, column + 1))
        assert bars.open[0, 0] == minute.open[0, column]
        assert bars.high.max() == minute.high[0, column]
        assert bars.low.min() == minute.low[0, column]
        assert bars.close[-1, 0] == minute.close[0, column]
        if not np.isnan(minute.trades[0, column]):
            assert bars.trades.sum() == minute.trades[0, column]
            lots = tape.grid.lots[column]
            assert np.rint(bars.volume * lots).sum() == np.rint(minute.volume[0, column] * lots)


@pytest.mark.parametrize("asset_class", [AssetClass.STOCKS, AssetClass.CRYPTO])
def test_bars_do_not_depend_on_what_was_asked_before(asset_class: AssetClass) -> None:
    fresh, used = (Tape(TapeConfig(asset_class, 40)) for _ in range(2))
    for day in (DAY + 40, DAY - 300, DAY + 1):
        used.minute((day * 1440 + 900) * MINUTE_NS)
    start = (DAY * 1440 + 850) * MINUTE_NS
    whole = fresh.block(start, 40)
    same(whole.take(slice(13, 31)), used.block(start + 13 * MINUTE_NS, 18))
    columns = np.array([33, 2])
    same(whole.take(slice(None), columns), used.block(start, 40, columns))


@pytest.mark.parametrize("asset_class", CLASSES)
def test_a_symbols_long_history_is_made_without_the_others(asset_class: AssetClass) -> None:
    fresh, used = (Tape(TapeConfig(asset_class, 40)) for _ in range(2))
    start, n, columns = (DAY * 1440 + 1_003) * MINUTE_NS, 1_000, np.array([39, 2])
    whole = used.block(start, n).take(slice(None), columns)
    assert whole.present.any()
    same(whole, fresh.block(start, n, columns))
    # Out of the group's own day too, where it is at hand.
    same(whole, used.block(start, n, columns))


def test_a_universe_is_the_head_of_a_larger_one() -> None:
    small, large = Tape(TapeConfig(AssetClass.CRYPTO, 30)), Tape(TapeConfig(AssetClass.CRYPTO, 300))
    start = (DAY * 1440 + 100) * MINUTE_NS
    same(small.block(start, 5), large.block(start, 5).take(slice(None), slice(0, 30)))
    same(small.seconds(start), large.seconds(start).take(slice(None), slice(0, 30)))


@pytest.mark.integration
def test_another_process_plays_the_same_bars() -> None:
    code = (
        "from tests.features.synthetic.test_tape import *;"
        "print(digest(Tape(TapeConfig(AssetClass.STOCKS, 20)).day(DAY)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == digest(Tape(TapeConfig(AssetClass.STOCKS, 20)).day(DAY))
    assert digest(Tape(TapeConfig(AssetClass.STOCKS, 20, seed=8)).day(DAY)) != other.stdout.strip()


def test_sessions_are_new_yorks() -> None:
    tape = TAPES[AssetClass.STOCKS]
    block = tape.day(DAY)
    assert len(block) == 960
    assert block.ts[0] == (DAY * 1440 + 8 * 60) * MINUTE_NS  # 04:00 in summer time
    winter = tape.day(DAY + 91)
    assert winter.ts[0] == ((DAY + 91) * 1440 + 9 * 60) * MINUTE_NS
    liquid = ~tape.is_thin
    assert block.present[330:720, liquid].mean() > 0.97
    # The open is busy, the hours before it are not.
    assert np.nanmean(block.trades[330:340]) > 20 * np.nanmean(block.trades[:330])
    rare = Tape(TapeConfig(AssetClass.STOCKS, 600)).block(int(block.ts[0]), 300).present[:, 500:]
    assert rare.mean() < 0.8
    saturday = DAY + 5 - weekday(DAY)
    assert len(tape.day(saturday)) == 0
    assert not tape.block(saturday * 1440 * MINUTE_NS, 1440).present.any()


def test_holidays_are_the_exchanges() -> None:
    calendar = exchange_calendars.get_calendar("XNYS", start="2020-01-02", end="2027-11-01")
    open_days = {day.toordinal() - EPOCH for day in calendar.sessions}
    early = {day.toordinal() - EPOCH for day in calendar.early_closes}
    first, last = min(open_days), max(open_days)
    assert {d for d in range(first, last + 1) if weekday(d) < 5 and not is_holiday(d)} == open_days
    assert {d for d in range(first, last + 1) if is_half_day(d)} == early


def test_half_days_end_early() -> None:
    day = date(2026, 11, 27).toordinal() - EPOCH
    block = TAPES[AssetClass.STOCKS].day(day)
    assert len(TAPES[AssetClass.STOCKS].day(day - 1)) == 0
    assert block.present[330:540].any()
    assert not block.present[780:].any()
    assert not TAPES[AssetClass.INDICES].day(day).present[210:].any()


def test_seconds_of_some_symbols_are_those_of_all() -> None:
    tape = Tape(TapeConfig(AssetClass.CRYPTO, 300))
    start, columns = (DAY * 1440 + 100) * MINUTE_NS, np.array([299, 4])
    same(tape.seconds(start, columns), tape.seconds(start).take(slice(None), columns))


def test_forex_rests_at_the_weekend() -> None:
    tape = TAPES[AssetClass.FOREX]
    friday = DAY + 4 - weekday(DAY)
    hours_open = tape.block(friday * 1440 * MINUTE_NS, 3 * 1440).present.any(axis=1).reshape(-1, 60).any(axis=1)
    assert hours_open[:21].all()  # 17:00 New York = 21:00 UTC in summer
    assert not hours_open[21 : 21 + 48].any()
    assert hours_open[69:].all()


def test_no_bars_before_the_first_day() -> None:
    assert not TAPES[AssetClass.CRYPTO].block((FIRST_DAY * 1440 - 5) * MINUTE_NS, 5).present.any()
    assert TAPES[AssetClass.CRYPTO].block(FIRST_DAY * 1440 * MINUTE_NS, 1).present.any()


def test_days_join_without_a_jump_round_the_clock() -> None:
    tape = Tape(TapeConfig(AssetClass.CRYPTO, 20))
    block = tape.block(DAY * 1440 * MINUTE_NS, 2 * 1440)
    gap = np.abs(np.log(block.open[1440] / block.close[1439]))
    assert np.median(gap) < 3e-4


def test_a_plain_tape_is_null() -> None:
    tape = TAPES[AssetClass.STOCKS]
    played = InjectedTape(tape)
    start = DAY * 1440 * MINUTE_NS
    assert played.labels(start, start + 7 * 1440 * MINUTE_NS) == []
    same(played.day(DAY), tape.day(DAY))


def test_tails_are_those_of_real_minutes() -> None:
    # High against the last close over the rms return: 1 in 100 beyond 2.5 to 4.5, 1 in 10,000 beyond 8 to 20.
    block = Tape(TapeConfig(AssetClass.CRYPTO, 100)).block(DAY * 1440 * MINUTE_NS, 3 * 1440)
    close, high = np.log(block.close), np.log(block.high)
    returns = np.diff(close, axis=0)
    z = (high[1:] - close[:-1]) / np.sqrt(np.nanmean(returns**2, axis=0))
    z = z[~np.isnan(z)]
    assert 2.5 < np.quantile(z, 0.99) < 4.5
    assert 8 < np.quantile(z, 0.9999) < 20


@pytest.mark.parametrize(("n", "seed"), [(0, 7), (5, -1)])
def test_a_wrong_config_is_refused(n: int, seed: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        TapeConfig(AssetClass.STOCKS, n, seed)
    with pytest.raises(ValueError, match="expected at most"):
        Tape(TapeConfig(AssetClass.FOREX, 5_000))
