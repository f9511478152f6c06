"""Add up a day of a whole market: one bar per symbol."""

import asyncio

import numpy as np

from features.market.types import NS_PER_S
from ray_apps.simulator.aggs import day_numbers, day_start
from ray_apps.simulator.sources import Bars, Source

_YIELD_EVERY = 30


async def market_day(source: Source, start_ns: int, known_ns: int) -> Bars:
    """Give every symbol's bar of the day that starts here, in order of symbols, as far as it is known.

    Volume and trades count all hours; prices the regular ones where there are any. Lets other tasks run.
    """
    day = int(day_numbers(source, np.array([start_ns]))[0])
    bar_s = max(source.lengths_s)
    step = bar_s * NS_PER_S
    end = min(day_start(source, day + 1), known_ns - step + 1)
    n = len(source.symbols)
    whole, regular = _Sum(n), _Sum(n)
    for i, at in enumerate(range(start_ns, end, step)):
        if at < source.first_ns:
            continue
        bars = source.window(at, bar_s)
        whole.add(bars)
        if source.regular(at):
            regular.add(bars)
        if i % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    rows = np.flatnonzero(~np.isnan(whole.close))
    has_regular = ~np.isnan(regular.close)
    o, h, low, c = (
        np.where(has_regular, getattr(regular, name), getattr(whole, name))[rows]
        for name in ("open", "high", "low", "close")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.round(whole.notional / whole.volume, 4)[rows]
    volume = np.round(whole.volume, 8)[rows]
    ts = np.full(len(rows), start_ns, dtype=np.int64)
    return Bars(rows, ts, o, h, low, c, volume, vwap, whole.trades[rows])


class _Sum:
    """Running bar of each symbol."""

    def __init__(self, n: int) -> None:
        self.open, self.close = np.full(n, np.nan), np.full(n, np.nan)
        self.high, self.low = np.full(n, np.nan), np.full(n, np.nan)
        self.volume, self.notional, self.trades = np.zeros(n), np.zeros(n), np.zeros(n)

    def add(self, bars: Bars) -> None:
        rows = bars.row
        self.open[rows] = np.where(np.isnan(self.open[rows]), bars.open, self.open[rows])
        self.high[rows] = np.fmax(self.high[rows], bars.high)
        self.low[rows] = np.fmin(self.low[rows], bars.low)
        self.close[rows] = bars.close
        self.volume[rows] += bars.volume
        self.notional[rows] += bars.volume * bars.vwap
        self.trades[rows] += bars.trades
