"""Sum a series up: its days, how much it moves in one, and how volume and moves are spread over the day."""

from dataclasses import dataclass

import numpy as np

from features.market.bars import BarColumns
from features.market.quality.days import BUCKET_S, BUCKETS, DAY_NS, TradingDays, buckets, seconds_of_day
from features.market.types import F64, I64, NS_PER_S, AssetClass, Bool

GRID_S = 300
"""Moves are of five minutes: shorter ones hold the bounce between bid and ask (Liu, Patton and Sheppard 2015)."""
DAYS_A_YEAR = {True: 252.0, False: 365.0}
"""Trading days of classes with sessions, and of those round the clock."""


@dataclass(frozen=True, slots=True)
class DayTable:
    """A series' days that have bars in trading hours, oldest first, [D] each.

    Attributes
    ----------
    day
        int64, days since 1970.
    first, last
        First open and last close.
    volume
        NaN where no bar says one.
    variance
        Sum of squared five-minute log moves, from the first open on.
    """

    day: I64
    first: F64
    last: F64
    volume: F64
    variance: F64

    def __len__(self) -> int:
        return len(self.day)


@dataclass(frozen=True, slots=True)
class GridCloses:
    """Last closes on a five-minute grid that starts with each trading day, [G] each; steps without a bar are left out.

    Attributes
    ----------
    ts
        int64, start of the step, UTC ns.
    row
        int64, the trading day's row.
    close, move
        float64, last close of the step; log move from the step before of the same day (the day's first: from its open).
    """

    ts: I64
    row: I64
    close: F64
    move: F64


@dataclass(frozen=True, slots=True)
class Volatility:
    """How much a series moves.

    Attributes
    ----------
    daily
        Root of the mean over days of squared moves, the night's included; log.
    annual
        The same of a year.
    overnight_share
        Part of the daily variance that falls between two days; 0 round the clock.
    """

    daily: float
    annual: float
    overnight_share: float


def grid_closes(bars: BarColumns, row: I64, days: TradingDays) -> GridCloses:
    """Give the closes on the grid.

    Parameters
    ----------
    bars
        [T] bars in trading hours, oldest first.
    row
        [T] int64, the row of `days` each falls into.
    """
    if not len(bars):
        none = np.empty(0, np.int64)
        return GridCloses(none, none, np.empty(0), np.empty(0))
    step = GRID_S * NS_PER_S
    ts = days.start_ns[row] + (bars.ts - days.start_ns[row]) // step * step
    last = np.append(np.diff(ts) != 0, True)
    ts, day, close = ts[last], row[last], bars.close[last]
    before = np.concatenate([bars.open[:1], close[:-1]])
    begins = np.diff(day, prepend=-1) != 0
    before[begins] = bars.open[np.diff(row, prepend=-1) != 0]
    return GridCloses(ts, day, close, np.log(close / before))


def day_table(bars: BarColumns, row: I64, grid: GridCloses, days: TradingDays) -> DayTable:
    """Give the days of bars in trading hours, as in `grid_closes`."""
    if not len(bars):
        none = np.empty(0)
        return DayTable(row, none, none, none, none)
    first = np.flatnonzero(np.diff(row, prepend=-1) != 0)
    last = np.append(first[1:], len(row)) - 1
    n = len(days)
    seen = row[first]
    has_volume = np.bincount(row, weights=bars.volume > 0, minlength=n)[seen] > 0
    volume = np.bincount(row, weights=np.nan_to_num(bars.volume), minlength=n)[seen]
    variance: F64 = np.bincount(grid.row, weights=grid.move**2, minlength=n)[seen].astype(np.float64)
    return DayTable(days.day[seen], bars.open[first], bars.close[last], np.where(has_volume, volume, np.nan), variance)


def volatility(table: DayTable, asset_class: AssetClass, skip: I64) -> Volatility:
    """Give how much a series moves; nights before the days in `skip` (splits) do not count.

    >>> one = np.ones(3)
    >>> table = DayTable(np.arange(3), one, one, one, one * 4e-4)
    >>> volatility(table, AssetClass.CRYPTO, np.empty(0, np.int64))
    Volatility(daily=0.02, annual=0.382, overnight_share=0.0)
    """
    nan = float("nan")
    if not len(table):
        return Volatility(nan, nan, nan)
    nights = np.log(table.first[1:] / table.last[:-1])[~np.isin(table.day[1:], skip)]
    intraday = float(table.variance.mean())
    overnight = float((nights**2).mean()) if len(nights) else 0.0
    total = intraday + overnight
    daily = float(np.sqrt(total))
    year = DAYS_A_YEAR[asset_class.has_sessions]
    return Volatility(daily, daily * float(np.sqrt(year)), overnight / total if total > 0 else 0.0)


def volume_by_time(bars: BarColumns, asset_class: AssetClass) -> F64:
    """Give the part of a day's volume each half hour has, [48], the mean over days; NaN where no volume is known.

    All bars count, those out of trading hours too; days are local dates.
    """
    second = seconds_of_day(asset_class, bars.ts)
    if not len(second):
        return np.full(BUCKETS, np.nan)
    # Six hours from midnight, the change of clocks cannot put a bar into another date.
    date = (bars.ts - second * NS_PER_S + DAY_NS // 4) // DAY_NS
    date -= date.min()
    cell = date * BUCKETS + second // BUCKET_S
    volume = np.bincount(cell, weights=np.nan_to_num(bars.volume), minlength=(int(date.max()) + 1) * BUCKETS)
    per_day = volume.reshape(-1, BUCKETS)
    total = per_day.sum(axis=1)
    if not (total > 0).any():
        return np.full(BUCKETS, np.nan)
    share: F64 = (per_day[total > 0] / total[total > 0, None]).mean(axis=0)
    return share


def moves_by_time(grid: GridCloses, asset_class: AssetClass) -> F64:
    """Give the root mean square over days of each half hour's move, [48], from five-minute ones; NaN where none is."""
    half_hour = buckets(asset_class, grid.ts)
    squares = np.bincount(half_hour, weights=grid.move**2, minlength=BUCKETS)
    seen: Bool = np.diff(grid.row * BUCKETS + half_hour, prepend=-1) != 0
    n_days = np.bincount(half_hour[seen], minlength=BUCKETS)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(squares / np.where(n_days > 0, n_days, np.nan)), np.float64)
