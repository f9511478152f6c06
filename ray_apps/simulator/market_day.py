"""Add up a day of a whole market: one bar per symbol, as far as the day has come."""

import asyncio
from collections.abc import Iterator

import numpy as np

from features.market.types import F64, NS_PER_S
from features.synthetic.block import VALUES
from ray_apps.simulator.aggs import day_number, day_start
from ray_apps.simulator.sources import Bars, Source

_YIELD_EVERY = 30


async def market_day(source: Source, start_ns: int, known_ns: int) -> Bars:
    """Give every symbol's bar of the day that starts here, in order of symbols, as far as it is known."""
    day = RunningDay(source, day_number(source, start_ns))
    await day.upto(known_ns)
    return day.bars()


class RunningDay:
    """A day's bars so far, and the newest minute of each symbol.

    Volume and trades count all hours; prices the regular ones where there are any.
    """

    def __init__(self, source: Source, day: int) -> None:
        self.day = day
        self._source, self._start_ns = source, day_start(source, day)
        self._next_ns, self._end_ns = self._start_ns, day_start(source, day + 1)
        n = len(source.symbols)
        self._whole, self._regular = _Sum(n), _Sum(n)
        self._newest: dict[str, F64] = {name: np.full(n, np.nan) for name in VALUES}
        self._newest_ts = np.zeros(n, np.int64)

    @property
    def known_ns(self) -> int:
        """How far the day was added up."""
        return self._next_ns

    async def upto(self, known_ns: int) -> None:
        """Add what is over by then; lets other tasks run."""
        for i, at in enumerate(self._starts(known_ns)):
            # Before anything is awaited, so that two callers do not both add it.
            self._next_ns = at + max(self._source.lengths_s) * NS_PER_S
            self._add(at)
            if i % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _starts(self, known_ns: int) -> Iterator[int]:
        step = max(self._source.lengths_s) * NS_PER_S
        while self._next_ns + step <= min(known_ns, self._end_ns):
            yield self._next_ns

    def _add(self, start_ns: int) -> None:
        if start_ns < self._source.first_ns:
            return
        bars = self._source.window(start_ns, max(self._source.lengths_s))
        self._whole.add(bars)
        if self._source.regular(start_ns):
            self._regular.add(bars)
        for name, column in self._newest.items():
            column[bars.row] = getattr(bars, name)
        self._newest_ts[bars.row] = bars.ts

    def bars(self) -> Bars:
        """Give the day's bar of each symbol that has one, in order of symbols."""
        whole, regular = self._whole, self._regular
        rows = np.flatnonzero(~np.isnan(whole.close))
        has_regular = ~np.isnan(regular.close)
        o, h, low, c = (
            np.where(has_regular, getattr(regular, name), getattr(whole, name))[rows]
            for name in ("open", "high", "low", "close")
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            vwap = np.round(whole.notional / whole.volume, 4)[rows]
        volume = np.round(whole.volume, 8)[rows]
        ts = np.full(len(rows), self._start_ns, dtype=np.int64)
        return Bars(rows, ts, o, h, low, c, volume, vwap, whole.trades[rows])

    def minutes(self) -> Bars:
        """Give the newest minute of each symbol that has one, in order of symbols."""
        rows = np.flatnonzero(self._newest_ts)
        return Bars(rows, self._newest_ts[rows], *(self._newest[name][rows] for name in VALUES))


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
