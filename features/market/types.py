"""Give the types every stage speaks: asset classes, series and columns of bars."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from features.market.names import NameIndex

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class AssetClass(StrEnum):
    """The six markets the vendor sells; the value is the vendor's name of it in URLs."""

    STOCKS = "stocks"
    CRYPTO = "crypto"
    FOREX = "forex"
    INDICES = "indices"
    OPTIONS = "options"
    FUTURES = "futures"

    @property
    def activity(self) -> str:
        """The column that measures how busy a bar was, as the live feed of the class gives it.

        >>> AssetClass.STOCKS.activity, AssetClass.CRYPTO.activity
        ('trades', 'volume')
        """
        return "volume" if self in (AssetClass.CRYPTO, AssetClass.FOREX) else "trades"

    @property
    def has_sessions(self) -> bool:
        """Whether the class has a daily session on New York time; the others run round the clock in UTC."""
        return self not in (AssetClass.CRYPTO, AssetClass.FOREX)


@dataclass(frozen=True, slots=True)
class Series:
    """One sequence of bars: a symbol (our spelling, without the class) at one bar length."""

    asset_class: AssetClass
    symbol: str
    bar_s: int


@dataclass(frozen=True, slots=True)
class BarBatch:
    """Columns of at most one bar per slot; `slot` is the integer id of the series.

    Attributes
    ----------
    slot
        [N] int32, which series.
    ts, ts_end
        [N] int64, window start and the first instant the bar can be known, UTC ns.
    open, high, low, close
        [N] float64, finite and positive.
    volume, vwap, trades
        [N] float64, NaN where the venue did not say.
    bar_s
        Length of every bar of the batch, seconds.
    recv_ns
        When the frame was received, UTC ns (0 for history).
    """

    slot: I32
    ts: I64
    ts_end: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64
    bar_s: int
    recv_ns: int = 0

    def __post_init__(self) -> None:
        n = len(self.slot)
        for name in COLUMNS:
            if len(getattr(self, name)) != n:
                raise ValueError(f"expected {n} values in {name}, was {len(getattr(self, name))}")
        ordered = np.sort(self.slot)
        if (ordered[1:] == ordered[:-1]).any():
            raise ValueError("expected at most one bar per slot, was several: split into waves first")

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, rows: NDArray[np.intp] | Bool | slice) -> Self:
        """Give the given rows as a batch of their own."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    @classmethod
    def concat(cls, batches: Sequence["BarBatch"]) -> "BarBatch":
        """Join batches of one bar length whose slots do not meet."""
        lengths = {b.bar_s for b in batches}
        if len(lengths) != 1:
            raise ValueError(f"expected batches of one bar length, was {sorted(lengths)}")
        columns = {name: np.concatenate([getattr(b, name) for b in batches]) for name in COLUMNS}
        return cls(**columns, bar_s=batches[0].bar_s, recv_ns=max(b.recv_ns for b in batches))

    @classmethod
    def empty(cls, bar_s: int) -> "BarBatch":
        """Give a batch of no bars."""
        columns: dict[str, Any] = {name: np.empty(0, dtype=DTYPES[name]) for name in COLUMNS}
        return cls(**columns, bar_s=bar_s)


@dataclass(frozen=True, slots=True)
class Hole:
    """Where bars may be missing: windows in the half-open span, and single bars of those that ended at its start.

    Attributes
    ----------
    cause
        restart, reconnect, shed_frames, shed_bars or clock_reset.
    from_ns, to_ns
        Newest window end before the loss and first new window start after it, UTC ns; the same where nothing
        was known before.
    count
        Frames or bars lost, where known.
    bar_s
        The bar length that lost bars, seconds; 0 for all.
    is_filled
        Whether history gave the bars: then they follow at once, and nothing is missing.
    blind_s
        Seconds of the receive clock without a connection, where known.
    """

    cause: str
    from_ns: int
    to_ns: int
    count: int = 0
    bar_s: int = 0
    is_filled: bool = False
    blind_s: float = 0.0


FAULT_REASONS = ("bad_price", "high_below_low")
"""Why a bar's prices cannot be true, by a fault's code."""


@dataclass(frozen=True, slots=True)
class FaultBatch:
    """Columns of bars the venue said of known series, refused for their prices and sound in all else.

    Their numbers are not kept: no value of such a bar can be trusted. A slot may repeat.

    Attributes
    ----------
    slot
        [K] int32, which series.
    ts, ts_end
        [K] int64, window start and the first instant the bar could be known, UTC ns.
    code
        [K] uint8, index into `FAULT_REASONS`.
    bar_s
        Length of every bar of the batch, seconds.
    recv_ns
        When the frame was received, UTC ns (0 for history).
    """

    slot: I32
    ts: I64
    ts_end: I64
    code: U8
    bar_s: int
    recv_ns: int = 0

    def __post_init__(self) -> None:
        n = len(self.slot)
        for name in ("ts", "ts_end", "code"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"expected {n} values in {name}, was {len(getattr(self, name))}")
        if self.code.max(initial=0) >= len(FAULT_REASONS):
            raise ValueError(f"expected codes below {len(FAULT_REASONS)}, was {self.code.max()}")

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, rows: NDArray[np.intp] | Bool | slice) -> Self:
        """Give the given rows as a batch of their own."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ("slot", "ts", "ts_end", "code")})


COLUMNS = tuple(f.name for f in fields(BarBatch) if f.name not in ("bar_s", "recv_ns"))
DTYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(np.int32 if name == "slot" else np.int64 if name in ("ts", "ts_end") else np.float64)
    for name in COLUMNS
}


class SlotTable:
    """Numbers series densely in the order they are first seen, up to a cap.

    >>> table = SlotTable(AssetClass.STOCKS)
    >>> table.slot("AAPL", 60), table.slot("MSFT", 60), table.slot("AAPL", 60)
    (0, 1, 0)
    >>> table[1].symbol
    'MSFT'
    """

    def __init__(self, asset_class: AssetClass, cap: int = 200_000, series: Iterable[Series] = ()) -> None:
        self.asset_class = asset_class
        self.cap = cap
        self._series: list[Series] = []
        self._slots: dict[int, NameIndex] = {}  # by bar length
        for s in series:
            self.slot(s.symbol, s.bar_s)

    def slot(self, symbol: str, bar_s: int) -> int:
        """Give the slot of a series, a new one if it was never seen, -1 when the table is full."""
        names = self._names(bar_s)
        found = names.get(symbol)
        if found is not None:
            return found
        if len(self._series) >= self.cap:
            return -1
        names.add(symbol, len(self._series))
        self._series.append(Series(self.asset_class, symbol, bar_s))
        return len(self._series) - 1

    def find(self, symbols: Sequence[str], bar_s: int) -> I32:
        """Give the slots of many series, -1 for one that has none; numbers nothing new.

        >>> SlotTable(AssetClass.STOCKS, series=[Series(AssetClass.STOCKS, "A", 60)]).find(["B", "A"], 60)
        array([-1,  0], dtype=int32)
        """
        return self._names(bar_s).find(symbols)

    def _names(self, bar_s: int) -> "NameIndex":
        names = self._slots.get(bar_s)
        if names is None:
            from features.market.names import NameIndex  # brings numba: most who speak these types need none

            names = self._slots[bar_s] = NameIndex()
        return names

    def __getitem__(self, slot: int) -> Series:
        return self._series[slot]

    def __len__(self) -> int:
        return len(self._series)

    def since(self, start: int) -> list[Series]:
        """Give the series numbered from `start` on."""
        return self._series[start:]
