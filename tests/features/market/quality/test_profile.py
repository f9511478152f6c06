"""Days, volatility and times of day, against pandas."""

import numpy as np
import pandas as pd
import pytest

from features.market.bars import BarColumns
from features.market.quality.profile import day_table, grid_closes, moves_by_time, volatility, volume_by_time
from features.market.quality.series import Frame
from features.market.types import AssetClass
from tests.support.histories import MINUTE, frame_of, walk

N_DAYS = 21


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def some(share: float) -> BarColumns:
    """Give regular minutes, a part of them."""
    ts = held().expected.ts
    return walk(ts[np.random.default_rng(2).random(len(ts)) < share])


def round_the_clock() -> BarColumns:
    ts = held().expected.ts
    return walk(np.arange(ts[0], ts[-1], 7 * MINUTE))


def as_frame(bars: BarColumns, zone: str = "America/New_York") -> pd.DataFrame:
    table = pd.DataFrame({n: getattr(bars, n) for n in ("open", "high", "low", "close", "volume")})
    table.index = pd.to_datetime(bars.ts, utc=True).tz_convert(zone)
    return table


def moves(bars: BarColumns) -> pd.Series:
    """Give log moves of five minutes, the day's first from its open."""
    table = as_frame(bars)
    close = table.close.resample("5min").last().dropna()
    before = close.groupby(close.index.date).shift()
    first = table.open.groupby(table.index.date).first()
    before = before.fillna(pd.Series(first.reindex(close.index.date).to_numpy(), close.index))
    return np.log(close / before)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_days_are_those_of_pandas(share: float) -> None:
    bars = some(share)
    row = held().days.row_of(bars.ts)
    grid = grid_closes(bars, row, held().days)
    found = day_table(bars, row, grid, held().days)
    frame = as_frame(bars)
    by_day = frame.groupby(frame.index.date)
    np.testing.assert_array_equal(found.first, by_day.open.first())
    np.testing.assert_array_equal(found.last, by_day.close.last())
    np.testing.assert_allclose(found.volume, by_day.volume.sum())
    expected = moves(bars)
    np.testing.assert_allclose(grid.move, expected, atol=1e-12)
    np.testing.assert_allclose(found.variance, (expected**2).groupby(expected.index.date).sum())
    vol = volatility(found, AssetClass.STOCKS, np.empty(0, np.int64))
    nights = np.log(by_day.open.first()[1:].to_numpy() / by_day.close.last()[:-1].to_numpy())
    total = found.variance.mean() + (nights**2).mean()
    assert vol.daily == pytest.approx(np.sqrt(total))
    assert vol.annual == pytest.approx(np.sqrt(252 * total))
    assert vol.overnight_share == pytest.approx((nights**2).mean() / total)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_moves_by_half_hour_are_those_of_pandas(share: float) -> None:
    bars = some(share)
    found = moves_by_time(grid_closes(bars, held().days.row_of(bars.ts), held().days), AssetClass.STOCKS)
    expected = moves(bars)
    half = expected.index.hour * 2 + expected.index.minute // 30
    per_day = (expected**2).groupby([expected.index.date, half]).sum().unstack()
    rms = np.sqrt(per_day.mean())
    assert np.flatnonzero(~np.isnan(found)).tolist() == rms.index.tolist() == list(range(19, 32))
    np.testing.assert_allclose(found[19:32], rms)


@pytest.mark.parametrize(("asset_class", "zone"), [(AssetClass.STOCKS, "America/New_York"), (AssetClass.CRYPTO, "UTC")])
def test_volume_by_half_hour_is_that_of_pandas(asset_class: AssetClass, zone: str) -> None:
    bars = round_the_clock()
    found = volume_by_time(bars, asset_class)
    volume = as_frame(bars, zone).volume
    per_day = volume.groupby([volume.index.date, volume.index.hour * 2 + volume.index.minute // 30]).sum().unstack()
    share = per_day.fillna(0).div(per_day.sum(axis=1), axis=0).mean()
    np.testing.assert_allclose(found[share.index], share)
    assert found.sum() == pytest.approx(1.0)
    assert np.isnan(volume_by_time(BarColumns(bars.ts, *[np.full(len(bars), np.nan)] * 7), asset_class)).all()


def test_a_split_is_no_night() -> None:
    bars = some(1.0)
    row = held().days.row_of(bars.ts)
    table = day_table(bars, row, grid_closes(bars, row, held().days), held().days)
    table.first[9:] /= 2
    table.last[9:] /= 2
    assert volatility(table, AssetClass.STOCKS, np.empty(0, np.int64)).daily > 0.15
    assert volatility(table, AssetClass.STOCKS, table.day[9:10]).daily < 0.05


def test_nothing_gives_nothing() -> None:
    none = BarColumns(np.empty(0, np.int64), *[np.empty(0)] * 7)
    grid = grid_closes(none, none.ts, held().days)
    table = day_table(none, none.ts, grid, held().days)
    assert (len(grid.ts), len(table)) == (0, 0)
    assert np.isnan(volatility(table, AssetClass.STOCKS, none.ts).daily)
    assert np.isnan(moves_by_time(grid, AssetClass.STOCKS)).all()
