"""Give the bars a simulator sends: windows of the whole market, and histories of one symbol."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, NS_PER_S, AssetClass
from features.synthetic.block import VALUES, TapeBlock
from features.synthetic.inject import Label

DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars as columns [n]: of many symbols in one window, or of one symbol in many.

    Attributes
    ----------
    row
        Number of the symbol in the source.
    ts
        Window start, UTC ns.
    """

    row: NDArray[np.intp]
    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: "slice | NDArray[np.intp] | NDArray[np.bool_]") -> "Bars":
        """Give some of the bars."""
        return Bars(self.row[rows], self.ts[rows], *(getattr(self, name)[rows] for name in VALUES))


class Source(Protocol):
    """What a simulator plays for one asset class."""

    asset_class: AssetClass
    symbols: tuple[str, ...]
    lengths_s: tuple[int, ...]
    """Bar lengths it can stream; the longest is the one REST serves as minutes."""
    first_ns: int
    """Start of the first window with a bar."""

    def window(self, start_ns: int, bar_s: int, rows: NDArray[np.intp] | None = None) -> Bars:
        """Give the bars of one window, of all symbols or of these, in order of `row`."""
        ...

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give the bars of one symbol whose windows start in [start, end), in order of time."""
        ...

    def day_start(self, ts_ns: int) -> int:
        """Give the start of the trading day a time belongs to: accumulated volumes count from there."""
        ...

    def regular(self, ts_ns: int) -> bool:
        """Say whether the window that starts here lies in regular hours."""
        ...

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give the truth about injected anomalies that begin in [start, end)."""
        ...


def empty() -> Bars:
    """Give no bars."""
    none = np.empty(0)
    return Bars(np.empty(0, np.intp), np.empty(0, np.int64), none, none, none, none, none, none, none)


def join(parts: list[Bars]) -> Bars:
    """Give bars one after another."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts]) if parts else getattr(empty(), name)
        for name in ("row", "ts", *VALUES)
    }
    return Bars(**columns)


def between(bars: Bars, start_ns: int, end_ns: int) -> Bars:
    """Give the bars, in order of time, that start in [start, end)."""
    a, b = np.searchsorted(bars.ts, (start_ns, end_ns))
    return bars if b - a == len(bars) else bars.take(slice(int(a), int(b)))


def bars_of(block: TapeBlock, rows: NDArray[np.intp]) -> Bars:
    """Give the bars present in a block, by time, then symbol."""
    at, column = np.nonzero(block.present)
    return Bars(rows[column], block.ts[at], *(getattr(block, name)[at, column] for name in VALUES))
