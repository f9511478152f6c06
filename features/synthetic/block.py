"""Hold the bars of many symbols over consecutive minutes as arrays."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, Bool


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of prices and volumes: a price is a multiple of 1 / ticks, a volume of 1 / lots; [N] each."""

    ticks: F64
    lots: F64

    def take(self, columns: slice | NDArray[np.intp]) -> Self:
        """Give the steps of some symbols."""
        return type(self)(self.ticks[columns], self.lots[columns])


@dataclass(frozen=True, slots=True)
class TapeBlock:
    """Bars [T, N] of N symbols over T windows; NaN in `close` (and everywhere else) = no bar.

    Attributes
    ----------
    ts
        [T] window starts, UTC ns.
    open, high, low, close
        Prices, multiples of the symbol's tick.
    volume, vwap, trades
        Volume, its average price and the number of trades; NaN where the class has none (indices).
    """

    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64

    @property
    def present(self) -> Bool:
        """[T, N] whether there is a bar."""
        return ~np.isnan(self.close)

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: slice | NDArray[np.intp], columns: slice | NDArray[np.intp] = slice(None)) -> Self:
        """Give the given rows and columns."""
        return type(self)(self.ts[rows], *(getattr(self, name)[rows][:, columns] for name in VALUES))

    def copy(self) -> Self:
        """Give a block whose arrays may be written."""
        return type(self)(self.ts.copy(), *(getattr(self, name).copy() for name in VALUES))

    @classmethod
    def empty(cls, ts: I64, n_symbols: int) -> "TapeBlock":
        """Give a block without any bar."""
        return cls(ts, *(np.full((len(ts), n_symbols), np.nan) for _ in VALUES))


VALUES = tuple(f.name for f in fields(TapeBlock) if f.name != "ts")
