"""Correlations against pandas, and clocks that only the other series can tell."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.market.bars import BarColumns
from features.market.quality.correlation import clock_lags, correlations
from features.market.quality.days import HOUR_NS, TradingDays, trading_days
from features.market.quality.profile import GridCloses, grid_closes
from features.market.quality.series import Frame
from features.market.types import AssetClass
from tests.support.histories import DAY, edit, frame_of, histories, no_sessions, walk

N_DAYS = 21


def held() -> Frame:
    return frame_of(AssetClass.STOCKS, N_DAYS)


def grid_of(bars, days: TradingDays | None = None) -> GridCloses:
    days = days or held().days
    return grid_closes(bars, days.row_of(bars.ts), days)


def series(grid: GridCloses) -> pd.Series:
    return pd.Series(grid.move, pd.to_datetime(grid.ts, utc=True))


NAMES = ("AAPL", "MSFT", "NVDA", "TSLA")


def together(n: int, seed: int = 3) -> list[BarColumns]:
    """Give random walks whose moves are half common."""
    ts = held().expected.ts
    common = walk(ts, seed)
    own = [walk(ts, seed + 1 + k) for k in range(n)]
    return [replace(o, open=np.sqrt(o.open * common.open), close=np.sqrt(o.close * common.close)) for o in own]


def test_five_minute_correlations_are_those_of_pandas() -> None:
    grids = [grid_of(bars) for bars in together(len(NAMES))]
    found = correlations(grids, held().days)
    assert found.step_s == 300
    table = pd.DataFrame({name: series(g) for name, g in zip(NAMES, grids, strict=True)})
    bound = 8 * 1.4826 * table[table != 0].abs().median()
    np.testing.assert_allclose(found.matrix, table.clip(-bound, bound, axis=1).corr(), rtol=1e-9)
    np.testing.assert_allclose(np.diag(found.matrix), 1.0)


def test_hourly_correlations_over_a_longer_span_and_pairs_with_holes() -> None:
    """The hours of stocks begin with the session."""
    held = frame_of(AssetClass.STOCKS, 33)
    bars = [walk(held.expected.ts, k) for k in range(3)]
    bars[1] = bars[1].take(np.random.default_rng(4).random(len(bars[1])) < 0.02)
    grids = [grid_of(b, held.days) for b in bars]
    found = correlations(grids, held.days)
    assert found.step_s == 3_600
    steps = []
    for g in grids:
        start = held.days.start_ns[held.days.row_of(g.ts)]
        steps.append(series(g).groupby(start + (g.ts - start) // HOUR_NS * HOUR_NS).sum())
    table = pd.concat(steps, axis=1)
    bound = 8 * 1.4826 * table[table != 0].abs().median()
    np.testing.assert_allclose(found.matrix, table.clip(-bound, bound, axis=1).corr(min_periods=30), rtol=1e-9)


def test_one_wrong_price_makes_no_correlation() -> None:
    grids = [grid_of(bars) for bars in together(2)]
    before = correlations(grids, held().days).matrix[0, 1]
    for g in grids:
        g.move[700] += 3.0
    assert correlations(grids, held().days).matrix[0, 1] == pytest.approx(before, abs=0.05)


def test_series_that_never_meet_have_none() -> None:
    apart = (bars.take(slice(k, k + 390)) for k, bars in zip((0, 390), together(2), strict=True))
    grids = [grid_of(bars) for bars in apart]
    assert np.isnan(correlations(grids, held().days).matrix[0, 1])
    assert correlations([], held().days).matrix.shape == (0, 0)


def market(n_series: int, n_days: int, seed: int = 1) -> tuple[list[GridCloses], TradingDays]:
    """Give five-minute moves of series round the clock that go together by half."""
    days = trading_days(AssetClass.CRYPTO, no_sessions(), 0, (n_days + 2) * DAY)
    rng = np.random.default_rng(seed)
    ts = DAY + np.arange(n_days * 288) * (DAY // 288)
    common = rng.standard_t(4, len(ts))
    return [
        GridCloses(ts, days.row_of(ts), np.ones(len(ts)), 1e-3 * (common + rng.standard_t(4, len(ts))))
        for _ in range(n_series)
    ], days


def late(grid: GridCloses, hours: int, days: TradingDays, from_ns: int = 0) -> GridCloses:
    ts = np.where(grid.ts >= from_ns, grid.ts + hours * HOUR_NS, grid.ts)
    keep = np.concatenate([ts[1:] > ts[:-1], [True]])
    return GridCloses(ts[keep], days.row_of(ts[keep]), grid.close[keep], grid.move[keep])


@pytest.mark.parametrize("hours", [1, -1, 4, -8])
def test_a_clock_apart_from_the_others_is_found(hours: int) -> None:
    grids, days = market(5, 60)
    grids[2] = late(grids[2], hours, days)
    found = clock_lags(grids, days)
    assert {(lag.series, lag.hours) for lag in found} == {(2, hours)}
    assert len(found) == 2  # stretches of thirty days
    assert all(lag.correlation > 0.5 > lag.unmoved + 0.25 for lag in found)


def test_a_clock_that_slips_in_spring_is_found_from_then_on() -> None:
    grids, days = market(5, 60)
    grids[0] = late(grids[0], 1, days, from_ns=31 * DAY)
    assert [(lag.series, lag.hours, lag.from_ns > 25 * DAY) for lag in clock_lags(grids, days)] == [(0, 1, True)]


def test_series_that_go_their_own_way_have_no_clock() -> None:
    rng = np.random.default_rng(9)
    for seed in range(3):
        grids, days = market(6, 60, seed)
        assert clock_lags(grids, days) == ()
        alone = [GridCloses(g.ts, g.row, g.close, rng.standard_t(3, len(g.ts))) for g in grids]
        assert clock_lags(alone, days) == ()
    assert clock_lags(grids[:2], days) == ()


@pytest.mark.thorough
def test_made_up_coins_keep_one_clock() -> None:
    held = frame_of(AssetClass.CRYPTO, 6)
    tape = histories(AssetClass.CRYPTO, 4, 6)
    grids = [grid_of(b, held.days) for b in tape.values()]
    assert clock_lags(grids, held.days) == ()
    moved = edit(next(iter(tape.values())), slice(None), ts=lambda t: t + HOUR_NS)
    moved = moved.take(moved.ts < held.days.end_ns[-1])
    found = clock_lags([grid_of(moved, held.days), *grids[1:]], held.days)
    assert [(lag.series, lag.hours) for lag in found] == [(0, 1)]
