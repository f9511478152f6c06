"""Clocks that are off: days put hours aside and found; early ends, late starts and busy evenings are none."""

from datetime import date

import numpy as np
import pytest

from features.market.bars import BarColumns
from features.market.quality.days import HOUR_NS, trading_days, windows
from features.market.quality.series import Frame
from features.market.quality.slips import slips
from features.market.types import AssetClass
from tests.support.histories import (
    DAY,
    MINUTE,
    STOCKS,
    day_number,
    edit,
    frame_of,
    in_sessions,
    no_sessions,
    scaled,
    stock,
    without,
)

pytestmark = pytest.mark.thorough

N_DAYS = 28


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def bars_of(name: str = "AAPL") -> BarColumns:
    return stock(name, N_DAYS)


def found(bars: BarColumns) -> list[tuple[int, int]]:
    """Give (hours, days) of each slip."""
    seen = slips(bars.ts, bars.volume, held().days, 60)
    return list(zip(seen.hours.tolist(), seen.n_spans.tolist(), strict=True))


def moved(bars: BarColumns, hours: int, first: int = 0, last: int | None = None) -> BarColumns:
    """Give bars of which those of the trading days [first, last) are stamped hours late, in order again."""
    start = held().days.start_ns[first] - 6 * HOUR_NS
    end = held().days.start_ns[last] - 6 * HOUR_NS if last is not None else 2**62
    rows = np.flatnonzero((bars.ts >= start) & (bars.ts < end))
    late = edit(bars, rows, ts=lambda t: t + hours * HOUR_NS)
    return late.take(np.argsort(late.ts, kind="stable"))


@pytest.mark.parametrize("symbol", STOCKS)
def test_a_plain_tape_keeps_its_hours(symbol: str) -> None:
    assert found(stock(symbol, N_DAYS)) == []
    assert found(in_sessions(stock(symbol, N_DAYS), held())) == []


@pytest.mark.parametrize("hours", [1, -1, 3, -4, -5, 8, -9])
@pytest.mark.parametrize("extended", [True, False], ids=["extended hours", "regular"])
def test_a_clock_off_by_hours_is_found(hours: int, extended: bool) -> None:
    bars = bars_of() if extended else in_sessions(bars_of(), held())
    assert found(moved(bars, hours)) == [(hours, 20)]


@pytest.mark.parametrize("extended", [True, False])
def test_some_days_off_are_told_by_their_days(extended: bool) -> None:
    bars = bars_of() if extended else in_sessions(bars_of(), held())
    late = slips(*(getattr(moved(bars, 1, 5, 9), n) for n in ("ts", "volume")), held().days, 60)
    assert (late.hours.tolist(), late.n_spans.tolist()) == ([1], [4])
    assert (late.from_ns[0], late.to_ns[0]) == (held().days.start_ns[5], held().days.end_ns[8])


def test_local_time_taken_for_utc_shows_the_change_of_clocks() -> None:
    """New York's clock went from five to four hours behind on the second Sunday."""
    regular = in_sessions(bars_of(), held())
    row = held().days.row_of(regular.ts)
    behind = np.where(held().days.day[row] < day_number(date(2025, 3, 9)), 5, 4)
    assert found(edit(regular, slice(None), ts=lambda t: t - behind * HOUR_NS)) == [(-5, 5), (-4, 15)]


def test_utc_taken_without_summer_time_is_an_hour_off_in_summer() -> None:
    regular = in_sessions(bars_of(), held())
    row = held().days.row_of(regular.ts)
    summer = held().days.day[row] >= day_number(date(2025, 3, 9))
    assert found(edit(regular, np.flatnonzero(summer), ts=lambda t: t + HOUR_NS)) == [(1, 15)]


def test_what_is_not_a_slip() -> None:
    second = (bars_of().ts - held().days.start_ns[3]) // HOUR_NS
    late_start = np.flatnonzero((second >= -6) & (second < 1))
    assert found(without(bars_of(), late_start)) == []
    evening = np.flatnonzero((second >= 6) & (second < 9))
    assert found(scaled(bars_of(), evening, 1.0, 50.0)) == []
    early_end = np.flatnonzero((second >= 4) & (second < 12))
    assert found(without(bars_of(), early_end)) == []


def test_too_few_bars_say_nothing() -> None:
    regular = in_sessions(bars_of(), held())
    thin = regular.take(np.arange(0, len(regular), 60))
    assert found(moved(thin, 1)) == []


@pytest.mark.parametrize(("asset_class", "hours"), [(AssetClass.FOREX, 2), (AssetClass.FUTURES, -1)])
def test_weeks_and_nights_have_edges_too(asset_class: AssetClass, hours: int) -> None:
    start = day_number(date(2025, 3, 3)) * DAY
    days = trading_days(asset_class, no_sessions(), start, start + 28 * DAY)
    ts = windows(days, 60).ts
    nan = np.full(len(ts), np.nan)
    assert len(slips(ts, nan, days, 60)) == 0
    off = slips(ts + hours * HOUR_NS, nan, days, 60)
    assert set(off.hours.tolist()) == {hours}
    assert off.n_spans.sum() == len(days.merged())


def test_crypto_never_closes() -> None:
    days = trading_days(AssetClass.CRYPTO, no_sessions(), 0, 40 * DAY)
    ts = windows(days, 60).ts
    assert len(slips(ts, np.full(len(ts), np.nan), days, 60)) == 0


@pytest.mark.parametrize("minutes", [60, 200, 330])
def test_a_day_that_is_cut_short_before_its_session_is_none(minutes: int) -> None:
    """As the store has it in the morning: the last bars are of the hours before the open."""
    bars = bars_of()
    end = held().days.start_ns[12] - 330 * MINUTE + minutes * MINUTE
    assert found(bars.take(bars.ts < end)) == []
    assert found(moved(bars.take(bars.ts < end), 1)) == [(1, 12)]
    evening = held().days.end_ns[4] + 30 * MINUTE
    assert found(bars.take(bars.ts >= evening)) == []
