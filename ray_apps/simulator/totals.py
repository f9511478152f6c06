"""Keep a day's sums: the stream's accumulated volume, average price and official open."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, NS_PER_S, AssetClass
from ray_apps.simulator.sources import Bars, Source

_SAYS_SUMS = (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.INDICES)
"""Classes whose events carry any of the day's sums."""


class Totals:
    """Sums over the day's bars of every symbol, up to the last window added.

    Windows are added in order; after a jump the day so far is added up anew from the source.
    """

    def __init__(self, source: Source, bar_s: int) -> None:
        self._source, self._bar_s = source, bar_s
        self._next_ns = self._day_ns = -1
        n = len(source.symbols)
        self.volume: F64 = np.zeros(n)
        self._notional: F64 = np.zeros(n)
        self._open: F64 = np.full(n, np.nan)

    def add(self, start_ns: int, bars: Bars) -> None:
        """Add the bars of the window that starts at `start_ns`."""
        if self._source.asset_class not in _SAYS_SUMS:
            return
        day_ns = self._source.day_start(start_ns)
        if start_ns != self._next_ns or day_ns != self._day_ns:
            self._begin(day_ns, start_ns)
        self._sum(start_ns, bars)
        self._next_ns = start_ns + self._bar_s * NS_PER_S

    def vwap(self, rows: NDArray[np.intp]) -> F64:
        """Give the day's average price of some symbols."""
        volume = self.volume[rows]
        found: F64 = self._notional[rows] / np.where(volume > 0, volume, 1)
        return found

    def opens(self, rows: NDArray[np.intp]) -> list[float | msgspec.UnsetType]:
        """Give the official open of some symbols, nothing before there is one."""
        return [msgspec.UNSET if x != x else x for x in self._open[rows].tolist()]

    def _begin(self, day_ns: int, until_ns: int) -> None:
        """Start a day and add what came before `until_ns`."""
        self._day_ns = day_ns
        for column in (self.volume, self._notional):
            column[:] = 0
        self._open[:] = np.nan
        minute = max(self._source.lengths_s)
        step = minute * NS_PER_S
        at = day_ns
        while at + step <= until_ns:
            self._sum(at, self._source.window(at, minute))
            at += step
        while at < until_ns:
            self._sum(at, self._source.window(at, self._bar_s))
            at += self._bar_s * NS_PER_S

    def _sum(self, start_ns: int, bars: Bars) -> None:
        rows, volume = bars.row, np.nan_to_num(bars.volume)
        price = np.where(np.isnan(bars.vwap), 0.5 * (bars.high + bars.low), bars.vwap)
        self.volume[rows] += volume
        self._notional[rows] += volume * price
        if self._source.regular(start_ns):
            first = np.isnan(self._open[rows])
            self._open[rows[first]] = bars.open[first]
