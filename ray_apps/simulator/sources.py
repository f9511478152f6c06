"""Give the bars a simulator sends: windows of the whole market, and histories of one symbol."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, NS_PER_S, AssetClass
from features.synthetic.block import VALUES, TapeBlock
from features.synthetic.hours import MINUTE_NS, day_of, is_regular
from features.synthetic.inject import Label
from features.synthetic.schedule import InjectedTape

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

    def window(self, start_ns: int, bar_s: int) -> Bars:
        """Give the bars of one window, in order of `row`."""
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


def _bars(block: TapeBlock, rows: NDArray[np.intp]) -> Bars:
    """Give the bars present in a block, by time, then symbol."""
    at, column = np.nonzero(block.present)
    return Bars(rows[column], block.ts[at], *(getattr(block, name)[at, column] for name in VALUES))


class SyntheticSource:
    """A synthetic tape, with or without injected anomalies."""

    def __init__(self, tape: InjectedTape) -> None:
        self._tape = tape
        self.asset_class = tape.tape.config.asset_class
        self.symbols = tape.symbols
        self.lengths_s: tuple[int, ...] = (60, 1)
        self.first_ns = tape.tape.config.first_day * DAY_NS
        self._rows = np.arange(len(self.symbols))
        self._second: tuple[int, TapeBlock] | None = None

    def window(self, start_ns: int, bar_s: int) -> Bars:
        """Give the bars of one minute or second."""
        if bar_s == 60:
            return _bars(self._tape.minute(start_ns), self._rows)
        minute = start_ns // MINUTE_NS * MINUTE_NS
        if self._second is None or self._second[0] != minute:
            self._second = (minute, self._tape.seconds(minute))
        second = (start_ns - minute) // NS_PER_S
        return _bars(self._second[1].take(slice(second, second + 1)), self._rows)

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give one symbol's bars."""
        if bar_s == 1:
            return self._second_history(row, start_ns, end_ns)
        first = -(-start_ns // MINUTE_NS)
        n = -(-end_ns // MINUTE_NS) - first
        if n <= 0:
            return empty()
        columns = np.array([row])
        return _bars(self._tape.block(first * MINUTE_NS, n, columns), columns)

    def _second_history(self, row: int, start_ns: int, end_ns: int) -> Bars:
        columns = np.array([row])
        parts = []
        for minute in range(start_ns // MINUTE_NS, -(-end_ns // MINUTE_NS)):
            block = self._tape.seconds(minute * MINUTE_NS, columns)
            found = _bars(block, columns)
            parts.append(found.take((found.ts >= start_ns) & (found.ts < end_ns)))
        return join(parts)

    def day_start(self, ts_ns: int) -> int:
        """Give the first minute of the day's rows."""
        day = day_of(self.asset_class, ts_ns)
        span = self._tape.tape.span(day)
        return span.start_ns if span is not None else ts_ns // MINUTE_NS * MINUTE_NS

    def regular(self, ts_ns: int) -> bool:
        """Say whether a window lies in regular hours."""
        return is_regular(self.asset_class, ts_ns)

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give the injected anomalies that begin in a span."""
        return [i for i in self._tape.labels(start_ns, end_ns) if i.start_ms < end_ns // 1_000_000]
