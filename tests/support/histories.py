"""Whole histories of made-up bars, a series each, and the frame they are held against; and damage to put into them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.calendar import Sessions
from features.market.quality.series import Frame, frame
from features.market.types import NS_PER_S, AssetClass
from features.synthetic.holidays import is_half_day, is_holiday
from features.synthetic.hours import weekday
from features.synthetic.names import names
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.store.calendar import sessions

MINUTE = 60 * NS_PER_S
DAY = 86_400 * NS_PER_S
FIRST = date(2025, 3, 3)
"""A Monday, a week before New York's clocks change."""
PRICES = ("open", "high", "low", "close", "vwap")


def day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


STOCKS = tuple(name for name, _ in names(AssetClass.STOCKS, 20))
"""The stocks of a small tape."""


def stock(name: str, n_days: int) -> BarColumns:
    """Give the minutes of one of them, extended hours included."""
    return histories(AssetClass.STOCKS, len(STOCKS), n_days)[name]


def walk(ts: np.ndarray, seed: int = 1) -> BarColumns:
    """Give bars of a random walk at given times: cheap, for what needs no market."""
    rng = np.random.default_rng(seed)
    n = len(ts)
    close = np.round(100 * np.exp(np.cumsum(5e-4 * rng.standard_t(5, n))), 2)
    open_ = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(open_, close) + np.round(rng.exponential(0.03, n), 2)
    low = np.minimum(open_, close) - np.round(rng.exponential(0.03, n), 2)
    trades = np.ceil(rng.lognormal(4, 0.6, n))
    return BarColumns(ts, open_, high, low, close, 100 * trades, (high + low) / 2, trades)


@cache
def histories(asset_class: AssetClass, n_symbols: int, n_days: int, first: date = FIRST) -> dict[str, BarColumns]:
    """Give the minutes of the first symbols of a plain tape over calendar days, by symbol."""
    tape = Tape(TapeConfig(asset_class, n_symbols))
    start = day_number(first)
    blocks = [b for b in (tape.day(day) for day in range(start, start + n_days)) if len(b)]
    ts = np.concatenate([b.ts for b in blocks])
    out = {}
    for k, symbol in enumerate(tape.symbols):
        columns = [np.concatenate([getattr(b, name)[:, k] for b in blocks]) for name in COLUMN_NAMES[1:]]
        there = ~np.isnan(columns[3])
        out[symbol] = BarColumns(ts[there], *(c[there] for c in columns))
    return out


@cache
def frame_of(asset_class: AssetClass, n_days: int, first: date = FIRST, bar_s: int = 60) -> Frame:
    """Give the frame of calendar days, of the real calendar."""
    start = day_number(first)
    found = sessions(asset_class, first, date.fromordinal(first.toordinal() + n_days))
    return frame(asset_class, found, bar_s, (start * DAY, (start + n_days) * DAY))


def no_sessions() -> Sessions:
    return Sessions(np.empty(0, np.int64), np.empty(0, np.int64))


def in_sessions(bars: BarColumns, held: Frame) -> BarColumns:
    """Give the bars in regular hours."""
    return bars.take(held.days.row_of(bars.ts) >= 0)


def edit(
    bars: BarColumns, rows: slice | np.ndarray, **change: Callable[[np.ndarray], np.ndarray] | float
) -> BarColumns:
    """Give bars with some values changed: by a function of the old ones, or to a number."""
    columns = {}
    for name, new in change.items():
        column = getattr(bars, name).copy()
        column[rows] = new(column[rows]) if callable(new) else new
        columns[name] = column
    return replace(bars, **columns)


def scaled(bars: BarColumns, rows: slice | np.ndarray, price: float, volume: float = 1.0) -> BarColumns:
    """Give bars with prices and volume multiplied."""
    by = dict.fromkeys(PRICES, lambda x: x * price)
    return edit(bars, rows, **by, volume=lambda x: x * volume)


def without(bars: BarColumns, rows: slice | np.ndarray) -> BarColumns:
    keep = np.ones(len(bars), bool)
    keep[rows] = False
    return bars.take(keep)


def joined(*parts: BarColumns) -> BarColumns:
    return BarColumns(*(np.concatenate([getattr(p, name) for p in parts]) for name in COLUMN_NAMES))


def trading_dates(first: date, n_days: int) -> list[int]:
    """Give New York's session days by the synthetic market's own rule: another calendar than the exchange's."""
    start = day_number(first)
    return [d for d in range(start, start + n_days) if weekday(d) < 5 and not is_holiday(d)]


def closes_at(day: int) -> int:
    """Give the minute of day a session ends."""
    return 780 if is_half_day(day) else 960
