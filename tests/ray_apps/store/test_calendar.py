"""Session arrays hold the exchange's holidays and half days, for any span."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from features.market.calendar import ny_seconds
from features.market.types import NS_PER_S, AssetClass
from ray_apps.store.calendar import sessions

pytestmark = pytest.mark.thorough

STOCKS = AssetClass.STOCKS


def test_a_year() -> None:
    year = sessions(STOCKS, date(2026, 1, 1), date(2026, 12, 31))
    assert len(year) == 251
    assert {ny_seconds(t)[1] for t in year.open_ns.tolist()} == {9 * 3600 + 1800}
    hours = (year.close_ns - year.open_ns) / (3600 * NS_PER_S)
    assert set(hours) == {6.5, 3.5}


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        (date(2026, 11, 26), date(2026, 11, 26), 0),  # Thanksgiving
        (date(2026, 11, 27), date(2026, 11, 27), 1),
        (date(2026, 9, 19), date(2026, 9, 20), 0),  # a weekend
        (date(2026, 9, 14), date(2026, 9, 20), 5),
    ],
)
def test_short_spans(first: date, last: date, count: int) -> None:
    assert len(sessions(STOCKS, first, last)) == count


def test_the_half_day_closes_at_one() -> None:
    day = sessions(AssetClass.OPTIONS, date(2026, 11, 27), date(2026, 11, 27))
    at = np.array([int(datetime(2026, 11, 27, h, tzinfo=UTC).timestamp()) * NS_PER_S for h in (17, 18)])
    assert day.is_open(at).tolist() == [True, False]


@pytest.mark.parametrize("asset_class", [AssetClass.CRYPTO, AssetClass.FOREX, AssetClass.FUTURES])
def test_classes_without_sessions(asset_class: AssetClass) -> None:
    assert len(sessions(asset_class, date(2026, 1, 1), date(2026, 12, 31))) == 0


def test_a_span_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a last day from 2026-01-02 on, was 2026-01-01"):
        sessions(STOCKS, date(2026, 1, 2), date(2026, 1, 1))
