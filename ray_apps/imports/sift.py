"""Turn the rows of a piece into bars: sorted by series and time, one a window, the bad ones counted and named."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.market.bars import BarColumns
from features.market.pushed import EARLIEST_MS, LATEST_MS
from features.market.types import F64, I32, NS_PER_MS, Bool
from ray_apps.imports.layout import PRICES
from ray_apps.imports.pieces import Piece
from ray_apps.imports.spelling import ours
from ray_apps.imports.times import UNREADABLE, Clock, said_ms, texts_of, to_ms
from ray_apps.imports.told import Told
from ray_apps.store.sieve import Rows, refuse_bad_values, refuse_missing

FUTURE_MS = 5_000
"""By so much may another clock be ahead, as in the feed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Between which instants bars may lie, Unix ms: those kept by the store, and over by now.

    Attributes
    ----------
    floor_ms
        Start of the oldest; `why` says who sets it.
    """

    now_ms: float
    floor_ms: float = EARLIEST_MS
    why: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Good rows of a piece.

    Attributes
    ----------
    rows
        Columns `row` (which of `names`), `t` (ms) and values; sorted by row, then t; with what was refused.
    n_repeats
        Rows dropped because they repeat another one exactly.
    """

    rows: Rows
    names: tuple[str, ...]
    n_repeats: int

    def __len__(self) -> int:
        return len(self.rows.line)

    @property
    def row(self) -> I32:
        """Give whose each bar is, [T]."""
        return self.rows.columns["row"].astype(np.int32)

    def columns(self) -> BarColumns:
        """Give them as the store takes them."""
        c = self.rows.columns
        absent: F64 = np.full(len(self), np.nan)
        vwap = c.get("vw", absent)
        return BarColumns(
            c["t"].astype(np.int64) * NS_PER_MS, c["o"], c["h"], c["l"], c["c"], c.get("v", absent),
            np.where(vwap > 0, vwap, np.nan),  # a window without a trade says 0
            c.get("n", absent),
        )  # fmt: skip


class Sift:
    """Checks the rows of one file.

    Parameters
    ----------
    symbol
        Whose bars they are where the file names no symbols.
    bar_s
        Their length, seconds; 0 where it is not known yet.
    """

    def __init__(self, clock: Clock, told: Told, symbol: str | None, limits: Limits, bar_s: int) -> None:
        self._clock = clock
        self._told = told
        self._symbol = symbol
        self._limits = limits
        self._bar_ms = bar_s * 1_000
        self._ours: dict[str, str | None] = {}

    def take(self, piece: Piece) -> Bars:
        """Give a piece's bars."""
        rows, times = piece.rows, piece.times
        names, of = self._named(piece)
        rows.columns["row"] = of
        if self._told.symbol is not None and piece.symbols is not None:
            wanted = of == (names.index(self._told.symbol) if self._told.symbol in names else -1)
            rows.keep(wanted)
            times = times.filter(pa.array(wanted))
        elif piece.symbols is not None:
            expected = f"a symbol of {self._told.asset_class}"
            _count(rows, np.isnan(of), "bad_symbol", expected, piece.symbols)
        rows.columns["t"] = to_ms(times, self._clock)
        is_read = rows.columns["t"] != UNREADABLE
        _count(rows, ~is_read, "bad_time", _readable(self._clock), times)
        rows.keep(is_read & ~np.isnan(rows.columns["row"]))
        refuse_missing(rows, ("t", *PRICES, *(("v",) if "v" in rows.columns else ())))
        self._refuse_times(rows)
        refuse_bad_values(rows)
        return Bars(rows, names, _sort(rows))

    def _named(self, piece: Piece) -> tuple[tuple[str, ...], F64]:
        """Give the symbols of a piece and which of them each row is of, [T]; NaN for one of none."""
        if piece.symbols is None:
            assert self._symbol is not None
            return (self._symbol,), np.zeros(len(piece.rows.line))
        texts: list[str] = piece.symbols.dictionary.to_pylist()
        for text in texts:
            if text not in self._ours:
                self._ours[text] = ours(self._told.asset_class, text)
        spelled = [self._ours[text] for text in texts]
        names = tuple(dict.fromkeys(name for name in spelled if name is not None))
        number = {name: float(k) for k, name in enumerate(names)}
        by_code = np.array([np.nan if name is None else number[name] for name in spelled] + [np.nan])
        found: F64 = by_code[piece.symbols.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        return names, found

    def _refuse_times(self, rows: Rows) -> None:
        """Drop rows whose window cannot be, is not over yet, or is no longer kept."""
        limits = self._limits
        t = rows.columns["t"]
        expected = "a start between 1973 and 2100, on a millisecond"
        rows.refuse(~((t >= EARLIEST_MS) & (t <= LATEST_MS) & (t == np.floor(t))), "bad_time", expected, "t", said_ms)
        ends = rows.columns["t"] + self._bar_ms
        expected = f"a window that is over by now, {said_ms(limits.now_ms)}"
        rows.refuse(ends > limits.now_ms + FUTURE_MS, "future", expected, "t", said_ms)
        expected = f"{said_ms(limits.floor_ms)} or later, {limits.why}"
        rows.refuse(rows.columns["t"] < limits.floor_ms, "too_old", expected, "t", said_ms)


def _readable(clock: Clock) -> str:
    if clock.unit is not None:
        return f"a number of {clock.unit} since 1970"
    return f"an ISO 8601 time that {clock.zone} has once" if clock.zone else "an ISO 8601 time with its zone"


def _count(rows: Rows, bad: Bool, reason: str, expected: str, column: pa.Array) -> None:
    """Count rows that will be dropped for a value that is no number, and name the first."""
    if not bad.any():
        return
    rows.refused[reason] += int(bad.sum())
    at = rows.first(bad)
    for i, text in zip(at, texts_of(column, at), strict=True):
        rows.say(int(rows.line[i]), expected, text)


def _sort(rows: Rows) -> int:
    """Sort by series and time; drop exact repeats, giving their number, and of rows that differ keep the last."""
    row, t = rows.columns["row"], rows.columns["t"]
    if not _rises(row, t):
        rows.keep(np.lexsort((t, row)))
        row, t = rows.columns["row"], rows.columns["t"]
    is_repeat = np.zeros(len(t), dtype=bool)
    is_repeat[:-1] = (t[1:] == t[:-1]) & (row[1:] == row[:-1])
    if not is_repeat.any():
        return 0
    same = is_repeat.copy()
    for column in rows.columns.values():
        same[:-1] &= (column[:-1] == column[1:]) | (np.isnan(column[:-1]) & np.isnan(column[1:]))
    differs = is_repeat & ~same
    rows.refuse(differs, "conflict", "one row per window (the last is kept)", "t", said_ms)
    rows.keep(~same[~differs])
    return int(same.sum())


def _rises(row: F64, t: F64) -> bool:
    """Say whether rows are sorted by series and time already."""
    step = np.diff(row)
    return bool(((step > 0) | ((step == 0) & (np.diff(t) > 0))).all())
