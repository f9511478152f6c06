"""Trading days and their windows, against plain loops over local time."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from features.market.quality.days import TradingDays, buckets, count_windows, trading_days, windows
from features.market.types import NS_PER_S, AssetClass
from tests.support.histories import DAY, MINUTE, closes_at, day_number, frame_of, no_sessions, trading_dates

NEW_YORK = ZoneInfo("America/New_York")


def local(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS_PER_S, NEW_YORK)


def test_stocks_have_the_sessions_of_the_exchange_half_days_included() -> None:
    first, n_days = date(2025, 11, 3), 30
    held = frame_of(AssetClass.STOCKS, n_days, first)
    assert held.days.day.tolist() == trading_dates(first, n_days)
    for day, start, end in zip(held.days.day, held.days.start_ns, held.days.end_ns, strict=True):
        opens, closes = local(int(start)), local(int(end))
        assert day_number(opens.date()) == day
        assert (opens.hour, opens.minute) == (9, 30)
        assert closes.hour * 60 + closes.minute == closes_at(int(day))
    assert len(held.expected) == sum(closes_at(d) - 570 for d in trading_dates(first, n_days))


@pytest.mark.parametrize("first", [date(2025, 3, 3), date(2025, 10, 27), date(2025, 12, 22)])
@pytest.mark.parametrize("asset_class", [AssetClass.FOREX, AssetClass.FUTURES])
def test_minutes_of_the_week_are_those_a_loop_finds(asset_class: AssetClass, first: date) -> None:
    start = day_number(first) * DAY
    days = trading_days(asset_class, no_sessions(), start, start + 14 * DAY)
    found = windows(days, 300).within(start, start + 14 * DAY).ts.tolist()
    expected = [t for t in range(start, start + 14 * DAY, 5 * MINUTE) if trades(asset_class, local(t))]
    assert found == expected


def trades(asset_class: AssetClass, at: datetime) -> bool:
    """Say whether the market is open at a New York time; a day begins the evening before."""
    opens, closes = (17, 17) if asset_class is AssetClass.FOREX else (18, 17)
    if closes <= at.hour < opens:
        return False
    day = at.date() + timedelta(days=1 if at.hour >= opens else 0)
    return day.weekday() < 5 and (day.month, day.day) not in ((12, 25), (1, 1))


def test_crypto_has_every_utc_day() -> None:
    days = trading_days(AssetClass.CRYPTO, no_sessions(), 5 * DAY + 1, 7 * DAY)
    assert (days.day.tolist(), days.start_ns.tolist()) == ([5, 6], [5 * DAY, 6 * DAY])
    assert windows(days, 60).ts.tolist() == list(range(5 * DAY, 7 * DAY, MINUTE))
    assert windows(days, 60, 7 * NS_PER_S).ts[:2].tolist() == [5 * DAY - 53 * NS_PER_S, 5 * DAY + 7 * NS_PER_S]


@pytest.mark.parametrize(("bar_s", "per_day"), [(60, 390), (300, 78), (3_600, 7), (86_400, 1)])
def test_an_hour_that_trades_half_is_a_window(bar_s: int, per_day: int) -> None:
    held = frame_of(AssetClass.STOCKS, 5, bar_s=bar_s)
    assert np.bincount(held.expected.row).tolist() == [per_day] * 5
    assert count_windows(held.days, bar_s).tolist() == [per_day] * 5


def test_neighbouring_days_share_a_daily_window() -> None:
    start = day_number(date(2025, 3, 3)) * DAY
    days = trading_days(AssetClass.FOREX, no_sessions(), start, start + 5 * DAY)
    assert len(days) == 5
    found = windows(days, 86_400)  # Sunday evening begins Monday: six UTC days meet five trading days
    assert len(np.unique(found.ts)) == len(found) == 6
    assert count_windows(days, 86_400).sum() == 6


def test_half_hours_are_local() -> None:
    summer = int(datetime(2025, 7, 1, 13, 30, tzinfo=UTC).timestamp()) * NS_PER_S
    winter = int(datetime(2025, 1, 2, 14, 30, tzinfo=UTC).timestamp()) * NS_PER_S
    assert buckets(AssetClass.STOCKS, np.array([summer, winter])).tolist() == [19, 19]
    assert buckets(AssetClass.CRYPTO, np.array([summer, winter])).tolist() == [27, 29]


def test_rows_and_cuts() -> None:
    days = TradingDays(AssetClass.CRYPTO, np.arange(3), np.array([0, 10, 20]), np.array([5, 15, 25]))
    assert days.row_of(np.array([-1, 0, 4, 5, 14, 24, 25])).tolist() == [-1, 0, 0, -1, 1, 2, -1]
    cut = days.within(3, 12)
    assert (cut.day.tolist(), cut.start_ns.tolist(), cut.end_ns.tolist()) == ([0, 1], [3, 10], [5, 12])
    with pytest.raises(ValueError, match="expected every day to start after"):
        TradingDays(AssetClass.CRYPTO, np.arange(2), np.array([0, 4]), np.array([5, 9]))
    with pytest.raises(ValueError, match="expected 2 starts and ends"):
        TradingDays(AssetClass.CRYPTO, np.arange(2), np.array([0]), np.array([5]))
