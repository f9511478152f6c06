"""Integer New York time equals zoneinfo's; sessions know their hours."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from features.market import calendar
from features.market.calendar import Sessions, is_regular, is_trading
from features.market.types import I64, NS_PER_S, AssetClass

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = date(1970, 1, 1)
FIRST_S = int(datetime(2007, 1, 1, tzinfo=UTC).timestamp())
LAST_S = int(datetime(2036, 1, 1, tzinfo=UTC).timestamp())


def oracle(second: int) -> tuple[int, int, int]:
    """Give the offset, day number and second of day by zoneinfo."""
    local = datetime.fromtimestamp(second, NEW_YORK)
    offset = local.utcoffset()
    assert offset is not None
    return (
        int(offset.total_seconds()),
        (local.date() - EPOCH).days,
        local.hour * 3600 + local.minute * 60 + local.second,
    )


def ns(text: str) -> int:
    """Give UTC ns of a New York wall time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS_PER_S


@settings(deadline=None)  # the first call compiles
@given(st.integers(FIRST_S, LAST_S), st.integers(0, NS_PER_S - 1))
def test_scalar_equals_zoneinfo(second: int, rest_ns: int) -> None:
    ts = second * NS_PER_S + rest_ns
    offset, day, of_day = oracle(second)
    assert calendar.ny_offset(ts) == offset
    assert tuple(calendar.ny_seconds(ts)) == (day, of_day)


def test_every_hour_and_both_sides_of_every_change_equal_zoneinfo() -> None:
    hours = np.arange(FIRST_S, LAST_S, 3600)
    seconds = np.concatenate([hours[::5], hours[np.isin(hours % 86400, (6 * 3600, 7 * 3600))] - 1])
    expected = np.array([oracle(int(s)) for s in seconds])
    ts = seconds * NS_PER_S
    np.testing.assert_array_equal(calendar.ny_offset_s(ts), expected[:, 0])
    np.testing.assert_array_equal(calendar.ny_day(ts), expected[:, 1])
    np.testing.assert_array_equal(calendar.minute_of_day(ts), expected[:, 2] // 60)
    assert set(expected[:, 0]) == {-14400, -18000}


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_year(second: int) -> None:
    assert calendar.utc_year(second * NS_PER_S) == datetime.fromtimestamp(second, UTC).year


def test_usable_inside_a_kernel() -> None:
    @njit
    def minutes(ts: I64) -> int:
        total = 0
        for i in range(ts.shape[0]):
            _, second = calendar.ny_seconds(ts[i])
            total += second // 60
        return total

    ts = np.array([ns("2026-03-08 09:30"), ns("2026-11-01 09:30")])
    assert minutes(ts) == 2 * 570


# A half day, a holiday between, and the Monday after the autumn change.
DAYS = ["2026-10-30", "2026-11-02", "2026-11-27"]
CLOSES = ["16:00", "16:00", "13:00"]


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(
        np.array([ns(f"{d} 09:30") for d in DAYS]),
        np.array([ns(f"{d} {c}") for d, c in zip(DAYS, CLOSES, strict=True)]),
    )


@pytest.mark.parametrize(
    ("when", "regular", "extended", "row"),
    [
        ("2026-10-30 03:59", False, False, 0),
        ("2026-10-30 04:00", False, True, 0),
        ("2026-10-30 09:30", True, True, 0),
        ("2026-10-30 15:59", True, True, 0),
        ("2026-10-30 16:00", False, True, 0),
        ("2026-10-30 20:00", False, False, 0),
        ("2026-11-02 04:00", False, True, 1),
        ("2026-11-02 09:29", False, True, 1),
        ("2026-11-26 12:00", False, False, -1),
        ("2026-11-27 12:59", True, True, 2),
        ("2026-11-27 13:00", False, True, 2),
        ("2026-11-27 17:00", False, False, 2),
        ("2026-12-25 12:00", False, False, -1),
    ],
)
def test_hours(sessions: Sessions, when: str, regular: bool, extended: bool, row: int) -> None:
    at = np.array([ns(when)])
    assert sessions.is_open(at)[0] == regular
    assert sessions.is_extended(at)[0] == extended
    assert sessions.day_index(at)[0] == row
    assert is_trading(AssetClass.STOCKS, sessions, ns(when)) == extended
    assert is_trading(AssetClass.OPTIONS, sessions, ns(when)) == regular
    assert [is_regular(a, sessions, ns(when)) for a in (AssetClass.STOCKS, AssetClass.OPTIONS)] == [regular] * 2
    assert is_trading(AssetClass.CRYPTO, sessions, ns(when))


@pytest.mark.parametrize(
    ("when", "forex", "futures"),
    [
        ("2026-09-18 16:59", True, True),  # Friday
        ("2026-09-18 17:00", False, False),
        ("2026-09-19 12:00", False, False),
        ("2026-09-20 16:59", False, False),  # Sunday
        ("2026-09-20 17:30", True, False),
        ("2026-09-20 18:00", True, True),
        ("2026-09-22 17:30", True, False),  # CME's daily break
        ("2026-09-22 03:00", True, True),
    ],
)
def test_week(sessions: Sessions, when: str, forex: bool, futures: bool) -> None:
    assert is_trading(AssetClass.FOREX, sessions, ns(when)) == forex
    assert is_trading(AssetClass.FUTURES, sessions, ns(when)) == futures


def test_no_sessions_means_never_open() -> None:
    none = Sessions(np.empty(0, np.int64), np.empty(0, np.int64))
    at = np.array([ns("2026-09-18 12:00")])
    assert len(none) == 0
    assert not none.is_open(at)[0]
    assert none.day_index(at)[0] == -1


def test_sessions_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="out of order"):
        Sessions(np.array([10, 5]), np.array([20, 8]))
    with pytest.raises(ValueError, match="expected 2 closes, was 1"):
        Sessions(np.array([10, 30]), np.array([20]))
