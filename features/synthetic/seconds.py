"""Refine minute bars into second bars that add up to them exactly."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, NS_PER_S, Bool
from features.synthetic.block import VALUES, Grid, TapeBlock
from features.synthetic.draws import GROUP, Purpose, generator, normal
from features.synthetic.hours import MINUTE_NS

F32 = NDArray[np.float32]


class Minutes(Protocol):
    """Whatever gives minute bars of numbered symbols."""

    symbols: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """Steps of price and volume."""
        ...

    def block(self, start_ns: int, n_minutes: int, columns: NDArray[np.intp] | None = None) -> TapeBlock:
        """Give consecutive minutes."""
        ...


def seconds_of(
    minutes: Minutes, seed: int, class_index: int, ts_ns: int, columns: NDArray[np.intp] | None
) -> TapeBlock:
    """Give the seconds [60, N] of the minute that contains a time; with `columns` of these symbols only."""
    if columns is None:
        return refine(minutes.block(ts_ns, 1), seed, class_index, minutes.grid)
    parts: dict[int, TapeBlock] = {}
    for group in sorted({int(c) // GROUP for c in columns}):
        whole = np.arange(group * GROUP, min((group + 1) * GROUP, len(minutes.symbols)))
        part = minutes.block(ts_ns, 1, whole)
        parts[group] = refine(part, seed, class_index, minutes.grid.take(whole), group)
    out = TapeBlock.empty(next(iter(parts.values())).ts, len(columns))
    for name in VALUES:
        for at, column in enumerate(columns):
            group, within = divmod(int(column), GROUP)
            getattr(out, name)[:, at] = getattr(parts[group], name)[:, within]
    return out


def refine(minute: TapeBlock, seed: int, class_index: int, grid: Grid, first_group: int = 0) -> TapeBlock:
    """Give the seconds [60, N] of one minute of bars [1, N].

    First open, highest high, lowest low and last close are the minute's; trades sum to its trades, and
    volume, in the symbol's lots, to its volume. A second without a trade has no bar. Depends on
    the bars given (so injected ones refine too), the seed and the minute. The first column is the first symbol
    of group `first_group`.
    """
    if len(minute) != 1:
        raise ValueError(f"expected the bars of one minute, was {len(minute)}")
    ts: I64 = minute.ts[0] + NS_PER_S * np.arange(60, dtype=np.int64)
    out = TapeBlock.empty(ts, minute.close.shape[1])
    number = int(minute.ts[0] // MINUTE_NS)
    for group in range(-(-minute.close.shape[1] // GROUP)):
        columns = slice(group * GROUP, (group + 1) * GROUP)
        part = minute.take(slice(None), columns)
        rng = generator(seed, class_index, Purpose.SECONDS, number, first_group + group)
        # Drawn for the whole group, whatever its size, so that a universe's head refines alike.
        weights = rng.standard_exponential((2, 60, GROUP), dtype=np.float32)
        noise = normal(rng, 3, 60, GROUP)
        n = part.close.shape[1]
        filled = _refine_group(part, weights[..., :n], noise[..., :n], grid.take(columns))
        for name, column in filled.items():
            getattr(out, name)[:, columns] = column
    return out


def _refine_group(minute: TapeBlock, weights: F32, noise: F32, grid: Grid) -> dict[str, F64]:
    present = minute.present[0]
    has_trades = ~np.isnan(minute.trades[0])
    # Classes without volume (indices) tick every second.
    wanted = np.where(present, np.where(has_trades, minute.trades[0], 600), 0)
    trades = _split(wanted, weights[0])
    active = trades > 0
    units = np.rint(np.nan_to_num(minute.volume[0]) * grid.lots)
    # One lot per trade first, the rest by chance.
    rest = np.maximum(units - wanted, 0)
    volume = (_split(rest, np.where(active, weights[1] * trades, 0)) + trades) / grid.lots
    opens, highs, lows, closes = _prices(minute, active, noise, grid.ticks)
    middle = 0.5 * (highs + lows) + 0.1 * noise[2] * (highs - lows)
    ticks = grid.ticks
    vwap = np.clip(np.rint(middle * ticks * 100) / (ticks * 100), lows, highs)
    columns = {"open": opens, "high": highs, "low": lows, "close": closes}
    columns |= {"volume": volume, "vwap": vwap, "trades": trades}
    for name, column in columns.items():
        column[~active] = np.nan
        if name in ("volume", "vwap", "trades"):
            column[:, ~has_trades] = np.nan
    return columns


def _split(total: F64, weights: NDArray[np.floating]) -> F64:
    """Split whole numbers [N] into 60 whole parts [60, N] by weights: steps of the rounded running sum."""
    running = np.cumsum(weights, axis=0, dtype=np.float64)
    scale = np.where(running[-1] > 0, running[-1], 1)
    running = np.rint(running / scale * total)
    running[-1] = total
    return np.diff(running, axis=0, prepend=0)


def _prices(minute: TapeBlock, active: Bool, noise: F32, ticks: F64) -> tuple[F64, F64, F64, F64]:
    """Give the seconds' prices: a bridge from open to close within the minute's range."""
    o, h, low, c = (np.nan_to_num(x[0]) for x in (minute.open, minute.high, minute.low, minute.close))
    steps = np.cumsum(np.where(active, noise[0], 0), axis=0, dtype=np.float64)
    count = np.cumsum(active, axis=0)
    n_active = np.maximum(count[-1], 1)
    share = count / n_active
    spread = (h - low) / (2 * np.sqrt(n_active))
    path = o + share * (c - o) + spread * (steps - share * steps[-1])
    closes = np.clip(np.rint(path * ticks) / ticks, low, h)
    first = active & (count == 1)
    last = active & (count == n_active)
    closes = np.where(last, c, closes)
    # An inactive second carries the last price, so the row above is the price before.
    before = np.vstack([o[None], closes[:-1]])
    opens = np.where(first, o, before)
    reach = np.abs(noise[1]) * 0.5 * spread
    highs = np.minimum(np.rint((np.maximum(opens, closes) + reach) * ticks) / ticks, h)
    lows = np.maximum(np.rint((np.minimum(opens, closes) - reach) * ticks) / ticks, low)
    highs, lows = np.maximum(highs, np.maximum(opens, closes)), np.minimum(lows, np.minimum(opens, closes))
    columns = np.arange(len(o))
    highs[np.argmax(np.where(active, highs, -np.inf), axis=0), columns] = h
    lows[np.argmin(np.where(active, lows, np.inf), axis=0), columns] = low
    return opens, highs, lows, closes
