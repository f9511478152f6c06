"""Hold series against each other: how their moves go together, and whose clock runs hours off the others'."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.market.quality.days import DAY_NS, HOUR_NS, TradingDays
from features.market.quality.outliers import MAD_TO_SD
from features.market.quality.profile import GRID_S, GridCloses
from features.market.types import F64, I64, NS_PER_S

HOUR_S = 3_600
FINE_DAYS = 31
"""Up to so many days the moves are of five minutes, beyond of an hour: shorter ones correlate less (Epps 1979)."""
CLIP_SD = 8.0
"""Moves are clipped at so many robust standard deviations: one wrong price makes or breaks a correlation."""
LEAST_COMMON = 30
LAG_DAYS = 30
FURTHEST_LAG_H = 12
LEAST_CORRELATION = 0.1
MOST_UNMOVED = 0.5
"""As part of the moved correlation: what may be left without moving."""
LAG_SD = 6.0
"""How far beyond chance (1 / sqrt n) a lagged correlation must be: some thousand are tried."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlations of log moves of K series, [K, K]; NaN where too few steps are common.

    Attributes
    ----------
    step_s
        Length of the moves, seconds.
    matrix
        Pearson's, of clipped moves over the steps both have.
    """

    step_s: int
    matrix: F64


@dataclass(frozen=True, slots=True)
class ClockLag:
    """A series that goes with the others only when moved by hours.

    Attributes
    ----------
    series
        Which of those given.
    from_ns, to_ns
        The stretch looked at, UTC ns.
    hours
        How much later than they should its bars are stamped; negative: earlier.
    correlation, unmoved
        With the mean of the others, moved and as it is.
    """

    series: int
    from_ns: int
    to_ns: int
    hours: int
    correlation: float
    unmoved: float


def correlations(grids: Sequence[GridCloses], days: TradingDays) -> Correlation:
    """Give the correlations of series' moves inside trading days.

    Parameters
    ----------
    grids
        K series; best no more than some tens.
    days
        Trading days that hold all of them.
    """
    span = max((int(g.ts[-1]) for g in grids if len(g.ts)), default=0)
    span -= min((int(g.ts[0]) for g in grids if len(g.ts)), default=0)
    step_s = GRID_S if span <= FINE_DAYS * DAY_NS else HOUR_S
    steps = [_steps(g, days, step_s) for g in grids]
    all_steps = np.unique(np.concatenate([ts for ts, _ in steps])) if steps else np.empty(0, np.int64)
    moves = np.full((len(all_steps), len(grids)), np.nan)
    for k, (ts, move) in enumerate(steps):
        moves[np.searchsorted(all_steps, ts), k] = _clipped(move)
    return Correlation(step_s, _pairwise(moves, moves))


def clock_lags(grids: Sequence[GridCloses], days: TradingDays) -> tuple[ClockLag, ...]:
    """Find series whose five-minute moves go with the mean of the others' when moved by whole hours, not as they are.

    For classes that never close, whose sessions cannot tell; needs three series. Every thirty days are asked apart,
    since clocks slip with the seasons.
    """
    steps = [_steps(g, days, GRID_S) for g in grids]
    seen = [ts for ts, _ in steps if len(ts)]
    if len(seen) < 3:
        return ()
    step_ns = GRID_S * NS_PER_S
    first, last = min(int(ts[0]) for ts in seen), max(int(ts[-1]) for ts in seen)
    moves = np.full(((last - first) // step_ns + 1, len(grids)), np.nan)
    for k, (ts, move) in enumerate(steps):
        moves[(ts - first) // step_ns, k] = _clipped(move)
    stretch = LAG_DAYS * DAY_NS // step_ns
    found = []
    for begin in range(0, len(moves), stretch):
        part = moves[begin : begin + stretch]
        start, end = first + begin * step_ns, first + (begin + len(part)) * step_ns
        found += [ClockLag(k, start, end, *lag) for k, lag in enumerate(_lags(part)) if lag is not None]
    return tuple(found)


def _steps(grid: GridCloses, days: TradingDays, step_s: int) -> tuple[I64, F64]:
    """Sum five-minute moves up to longer steps of the trading day; give their starts and moves."""
    if not len(grid.ts):
        return grid.ts, grid.move
    start = days.start_ns[days.row_of(grid.ts)]
    step = step_s * NS_PER_S
    ts = start + (grid.ts - start) // step * step
    first = np.flatnonzero(np.diff(ts, prepend=ts[0] - 1))
    return ts[first], np.add.reduceat(grid.move, first)


def _clipped(move: F64) -> F64:
    moved = np.abs(move[move != 0])
    bound = CLIP_SD * MAD_TO_SD * float(np.median(moved)) if len(moved) else 0.0
    return np.clip(move, -bound, bound)


def _pairwise(x: F64, y: F64) -> F64:
    """Give the correlations of the columns of x [T, K] with those of y [T, L] over the rows both have, [K, L]."""
    has_x, has_y = (~np.isnan(a) for a in (x, y))
    x0, y0 = np.where(has_x, x, 0.0), np.where(has_y, y, 0.0)
    mx, my = has_x.astype(np.float64), has_y.astype(np.float64)
    n = mx.T @ my
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = x0.T @ my / n, mx.T @ y0 / n
        cov = x0.T @ y0 / n - mean_x * mean_y
        var_x, var_y = (x0**2).T @ my / n - mean_x**2, mx.T @ y0**2 / n - mean_y**2
        r = cov / np.sqrt(var_x * var_y)
    return np.where(n >= LEAST_COMMON, np.clip(r, -1.0, 1.0), np.nan)


def _lags(moves: F64) -> list[tuple[int, float, float] | None]:
    """Give each column's hours off the mean of the others, with both correlations; None where it is not off."""
    has = ~np.isnan(moves)
    moved = np.where(has, moves, 0.0)
    n = has.sum(axis=0)
    size = np.sqrt((moved**2).sum(axis=0) / np.maximum(n, 1))
    units = moved / np.where(size > 0, size, 1.0)
    total, count = units.sum(axis=1), has.sum(axis=1)
    hours = np.arange(-FURTHEST_LAG_H, FURTHEST_LAG_H + 1)
    reach = FURTHEST_LAG_H * HOUR_NS // (GRID_S * NS_PER_S)
    padding = np.full(reach, np.nan)
    out: list[tuple[int, float, float] | None] = []
    for k in range(moves.shape[1]):
        others = count - has[:, k]
        mean = np.where(others >= 2, (total - units[:, k]) / np.maximum(others, 1), np.nan)
        padded = np.concatenate([padding, mean, padding])
        starts = reach - hours * HOUR_NS // (GRID_S * NS_PER_S)
        lagged = np.stack([padded[s : s + len(mean)] for s in starts.tolist()], axis=1)
        r = np.nan_to_num(_pairwise(moves[:, k : k + 1], lagged)[0], nan=0.0)
        best, unmoved = int(np.argmax(r)), float(r[FURTHEST_LAG_H])
        least = max(LEAST_CORRELATION, LAG_SD / float(np.sqrt(max(n[k], 1))))
        is_off = r[best] >= least and unmoved <= MOST_UNMOVED * r[best]
        out.append((int(hours[best]), float(r[best]), unmoved) if is_off else None)
    return out
