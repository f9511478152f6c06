"""Give bars as a rectangle [T, N] over slots: one minute of the market, or years of one symbol, in one shape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.market.calendar import ny_day
from features.market.types import F64, I32, I64, NS_PER_S, BarBatch, Bool

CELLS = 16_384
"""Cells [T, N] folded at once: the block's arrays then stay in the cache's reach."""
DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class BarBlock:
    """Bars of one bar length; absent bars are NaN in `close`.

    Attributes
    ----------
    slot
        [N] int32, distinct.
    ts
        [T, N] int64 window starts, UTC ns, rising along T (any value where absent).
    open, high, low, close, volume, trades
        [T, N] float64.
    bar_s
        Length of every bar, seconds.
    revise
        [N] bool: the single row replaces the newest bar of the series (T = 1), else None.
    """

    slot: I32
    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    trades: F64
    bar_s: int
    revise: Bool | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of time and columns of series."""
        t, n = self.close.shape
        return t, n


COLUMNS = ("ts", "open", "high", "low", "close", "volume", "trades")
"""The columns [T, N] of a block."""


def block_of(batch: BarBatch, revise: Bool | None = None) -> BarBlock:
    """Give a batch as the block of one row, without copying.

    >>> block_of(BarBatch.empty(60)).shape
    (1, 0)
    """
    return BarBlock(
        batch.slot, batch.ts[None], batch.open[None], batch.high[None], batch.low[None], batch.close[None],
        batch.volume[None], batch.trades[None], batch.bar_s, revise,
    )  # fmt: skip


def rows_of(block: BarBlock, at: slice | Bool) -> BarBlock:
    """Give rows of time as a block of their own; a slice is not copied."""
    return BarBlock(
        block.slot, block.ts[at], block.open[at], block.high[at], block.low[at], block.close[at], block.volume[at],
        block.trades[at], block.bar_s,
    )  # fmt: skip


def plain(block: BarBlock) -> BarBlock:
    """Give the block with columns in C order and writable: kernels are compiled once, for those alone."""
    columns = {name: getattr(block, name) for name in COLUMNS}
    odd = {name: c for name, c in columns.items() if not (c.flags.c_contiguous and c.flags.writeable)}
    plainer: dict[str, Any] = {name: np.array(c, order="C") for name, c in odd.items()}
    return replace(block, **plainer) if odd else block


def columns_of(block: BarBlock, mine: Bool) -> BarBlock:
    """Give the given series [N] of a block as a block of their own."""
    return BarBlock(
        block.slot[mine], block.ts[:, mine], block.open[:, mine], block.high[:, mine], block.low[:, mine],
        block.close[:, mine], block.volume[:, mine], block.trades[:, mine], block.bar_s,
    )  # fmt: skip


def align(slots: list[int], columns: list[dict[str, F64 | I64]], bar_s: int) -> BarBlock:
    """Lay several series over the union of their window starts.

    `columns[i]` holds t (int64 ns, rising), o, h, l, c, v and optionally n (float64) of `slots[i]`.
    """
    grid = np.unique(np.concatenate([c["t"] for c in columns]))
    out = {name: np.full((len(grid), len(slots)), np.nan) for name in "ohlcvn"}
    for j, series in enumerate(columns):
        at = np.searchsorted(grid, series["t"])
        for name, target in out.items():
            if name in series:
                target[at, j] = series[name]
    ts = np.broadcast_to(grid[:, None], (len(grid), len(slots)))
    return BarBlock(
        np.array(slots, dtype=np.int32), ts, out["o"], out["h"], out["l"], out["c"], out["v"], out["n"], bar_s
    )


def pivot(slot: I32, columns: Mapping[str, F64 | I64], bar_s: int) -> BarBlock:
    """Lay rows [R] of many series, any order, at most one a series and instant, over the union of their starts.

    `columns` holds those of `COLUMNS`, [R] each.
    """
    slots, n = np.unique(slot, return_inverse=True)
    grid, t = np.unique(columns["ts"], return_inverse=True)
    laid = {name: np.full((len(grid), len(slots)), np.nan) for name in COLUMNS[1:]}
    for name, target in laid.items():
        target[t, n] = columns[name]
    ts = np.broadcast_to(grid[:, None], (len(grid), len(slots)))
    return BarBlock(slots.astype(np.int32), np.asarray(ts, dtype=np.int64), **laid, bar_s=bar_s)


def window_parts(
    block: BarBlock, window_s: int, *, sessions: bool, cells: int = CELLS
) -> Iterator[tuple[BarBlock, Bool]]:
    """Cut a block at days and at `cells`, between windows; say which rows [T] close one. Rows without a bar go.

    A window holds the bars that end in it; days are New York's where there are `sessions`, else UTC's.
    """
    present = np.isfinite(block.close)
    has_bars: Bool = np.asarray(present.any(axis=1))
    if not has_bars.all():
        block, present = rows_of(block, has_bars), present[has_bars]
    t, n = block.shape
    if not t:
        return
    end = np.where(present, block.ts, np.iinfo(np.int64).min).max(axis=1) + block.bar_s * NS_PER_S
    window = -(-end // (window_s * NS_PER_S))
    closes = np.append(window[1:] != window[:-1], True)
    day = ny_day(end - 1) if sessions else (end - 1) // DAY_NS
    stops = np.flatnonzero(closes) + 1
    is_day_end = np.append(day[1:] != day[:-1], True)[stops - 1]
    step = max(1, cells // n)
    start = i = 0
    while i < len(stops):
        reach = int(np.searchsorted(stops, start + step))
        day_end = i + int(np.argmax(is_day_end[i:]))
        i = min(reach, day_end, len(stops) - 1)
        yield rows_of(block, slice(start, int(stops[i]))), closes[start : stops[i]]
        start = int(stops[i])
        i += 1
