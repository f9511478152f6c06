"""Handle runs of bars: their length, coarser bars, the windows that are missing, and the waves of a burst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.jit import kernel
from features.market.types import COLUMNS, F64, I64, NS_PER_S, BarBatch, Bool


@dataclass(frozen=True, slots=True)
class BarColumns:
    """Columns of bars that do not say whose they are: a history, or bars whose slots are not known yet.

    Attributes
    ----------
    ts
        [T] int64, window start, UTC ns.
    open, high, low, close, volume, vwap, trades
        [T] float64; the last three NaN where the venue did not say.
    """

    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64

    def __post_init__(self) -> None:
        n = len(self.ts)
        for name in COLUMN_NAMES:
            if len(getattr(self, name)) != n:
                raise ValueError(f"expected {n} values in {name}, was {len(getattr(self, name))}")

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: NDArray[np.intp] | Bool | slice) -> "BarColumns":
        """Give the given rows."""
        return BarColumns(*(getattr(self, name)[rows] for name in COLUMN_NAMES))


COLUMN_NAMES = tuple(f.name for f in fields(BarColumns))
ON_GRID_SHARE = 0.99
"""Of the distances between rows, the share a bar length must divide; a few rows may lie off its grid."""


def aggregate(bars: BarColumns, from_s: int, to_s: int) -> BarColumns:
    """Give the coarser bars of a history: first open, highest high, lowest low, last close, summed volume.

    A window without any bar gives none, as at the venue. A sum over bars none of which says a value is NaN;
    the vwap is weighted by volume over the bars that say both. O(T).

    Parameters
    ----------
    bars
        [T] bars of one series, `from_s` seconds each, oldest first.
    from_s, to_s
        Bar lengths, seconds; the second a multiple of the first.

    Examples
    --------
    >>> two = np.array([1.0, 2.0])
    >>> fine = BarColumns(np.array([0, 60]) * NS_PER_S, two, two + 1, two - 1, two, two, two, two * np.nan)
    >>> hour = aggregate(fine, 60, 3600)
    >>> hour.high, hour.low, hour.volume, hour.vwap, hour.trades
    (array([3.]), array([0.]), array([3.]), array([1.667]), array([nan]))
    """
    if from_s <= 0 or to_s % from_s:
        raise ValueError(f"expected a multiple of {from_s} s, was {to_s} s")
    if len(bars) == 0 or from_s == to_s:
        return bars
    step = np.diff(bars.ts)
    if step.min(initial=1) <= 0:
        raise ValueError(f"expected windows in increasing order, was one {int(step.min())} ns after another")
    window = bars.ts // (to_s * NS_PER_S)
    first = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
    last = np.append(first[1:], len(window)) - 1
    weight = np.where(np.isnan(bars.vwap), np.nan, bars.volume)
    total = _sums(weight, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.where(total > 0, _sums(weight * bars.vwap, first) / total, np.nan)
    return BarColumns(
        ts=window[first] * (to_s * NS_PER_S),
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=_sums(bars.volume, first),
        vwap=vwap,
        trades=_sums(bars.trades, first),
    )


def _sums(x: F64, first: NDArray[np.intp]) -> F64:
    """Sum each run of `x` over its numbers; NaN where a run has none."""
    absent = np.isnan(x)
    total: F64 = np.add.reduceat(np.where(absent, 0.0, x), first)
    return np.where(np.logical_and.reduceat(absent, first), np.nan, total)


def windows(start_ns: I64, end_ns: I64, bar_s: int) -> I64:
    """Give the starts of all whole windows inside half-open, ordered spans (sessions, say).

    >>> windows(np.array([0, 600]) * NS_PER_S, np.array([120, 660]) * NS_PER_S, 60) // NS_PER_S
    array([  0,  60, 600])
    """
    step = bar_s * NS_PER_S
    runs = [
        np.arange(-(-start // step) * step, end - step + 1, step, dtype=np.int64)
        for start, end in zip(start_ns.tolist(), end_ns.tolist(), strict=True)
    ]
    return np.concatenate(runs) if runs else np.empty(0, np.int64)


def gaps(ts: I64, expected: I64, bar_s: int) -> I64:
    """Give the spans of expected windows that have no bar, as rows of (from, to), half-open, UTC ns.

    Windows that do not touch (a night lies between) make separate spans. A missing minute of a thin name is
    no fault: who asks must know that the series prints every window.

    >>> seen = np.array([0, 180]) * NS_PER_S
    >>> gaps(seen, np.arange(5) * 60 * NS_PER_S, 60) // NS_PER_S
    array([[ 60, 180],
           [240, 300]])
    """
    step = bar_s * NS_PER_S
    missing = expected[~np.isin(expected, ts)]
    if not len(missing):
        return np.empty((0, 2), np.int64)
    starts = np.diff(missing, prepend=missing[0] - 2 * step) != step
    ends = np.append(starts[1:], True)
    return np.stack([missing[starts], missing[ends] + step], axis=1)


def infer_bar_ms(t: I64) -> int | None:
    """Give the bar length of sorted starts: the commonest distance that divides (nearly) all others, else their gcd.

    None where neither is a whole number of seconds, or fewer than two rows are there.

    >>> infer_bar_ms(np.array([0, 60_000, 120_000, 300_000]))
    60000
    >>> infer_bar_ms(np.array([0, 10_000, 25_000]))
    5000
    """
    distances, counts = np.unique(np.diff(t), return_counts=True)
    common = common_step_ms(distances, counts)
    if common is not None:
        return common
    gcd = int(np.gcd.reduce(distances)) if len(distances) else 0
    return gcd if gcd > 0 and gcd % 1000 == 0 else None


def common_step_ms(distances: I64, counts: NDArray[np.intp], share: float = ON_GRID_SHARE) -> int | None:
    """Give the commonest distance that divides a share of all, None where there is none; they may be of many series.

    >>> common_step_ms(np.array([60_000, 90_000, 180_000]), np.array([30, 1, 9])) is None
    True
    >>> common_step_ms(np.array([60_000, 90_000, 180_000]), np.array([30, 1, 9]), share=0.9)
    60000
    """
    for i in np.argsort(-counts, kind="stable")[:20]:
        d = int(distances[i])
        if d > 0 and d % 1000 == 0 and counts[distances % d == 0].sum() >= share * counts.sum():
            return d
    return None


def waves(columns: Mapping[str, NDArray[np.generic]], bar_s: int, recv_ns: int) -> tuple[BarBatch, ...]:
    """Split rows in arrival order into batches of at most one bar per slot.

    Each slot's bars keep their order, and the market's windows theirs: where a row begins a newer window than
    all before it, a new wave begins. A minute's burst is one wave; a repeat of a slot in it makes one more.

    Parameters
    ----------
    columns
        The columns of `BarBatch`, [N] each, slots possibly repeated.
    bar_s, recv_ns
        As in `BarBatch`.
    """
    slot, ts = columns["slot"], columns["ts"]
    if not len(slot):
        return ()
    if _is_one_wave(slot, ts):
        return (BarBatch(**columns, bar_s=bar_s, recv_ns=recv_ns),)  # type: ignore[arg-type]
    epoch = np.zeros(len(ts), np.int64)
    np.cumsum(np.diff(np.maximum.accumulate(ts)) > 0, out=epoch[1:])
    turn = _occurrence(epoch * (int(np.max(slot)) + 1) + slot.astype(np.int64))
    order = np.lexsort((turn, epoch))
    cuts = np.flatnonzero((np.diff(epoch[order]) != 0) | (np.diff(turn[order]) != 0)) + 1
    return tuple(
        BarBatch(**{name: columns[name][rows] for name in COLUMNS}, bar_s=bar_s, recv_ns=recv_ns)  # type: ignore[arg-type]
        for rows in np.split(order, cuts)
    )


def merge(batches: Sequence[BarBatch]) -> tuple[BarBatch, ...]:
    """Join batches in arrival order into as few as possible, still one bar per slot each, lengths apart.

    The newest receive time of those joined stands for all of them.
    """
    if len(batches) < 2:
        return tuple(batches)
    out: list[BarBatch] = []
    for bar_s in sorted({b.bar_s for b in batches}):
        same = [b for b in batches if b.bar_s == bar_s]
        columns = {name: np.concatenate([getattr(b, name) for b in same]) for name in COLUMNS}
        out.extend(waves(columns, bar_s, max(b.recv_ns for b in same)))
    return tuple(out)


@kernel
def _is_one_wave(slot: NDArray[np.generic], ts: NDArray[np.generic]) -> bool:
    """Say whether no row begins a newer window than the first and no slot, from 0 on, stands there twice."""
    seen = np.zeros(slot.max() + 1, np.bool_)
    for i in range(slot.shape[0]):
        if ts[i] > ts[0] or seen[slot[i]]:
            return False
        seen[slot[i]] = True
    return True


def _occurrence(key: I64) -> I64:
    """Give how many earlier rows have the same key."""
    order = np.argsort(key, kind="stable")
    fresh = np.ones(len(key), np.bool_)
    fresh[1:] = np.diff(key[order]) != 0
    start = np.flatnonzero(fresh)
    turn = np.empty(len(key), np.int64)
    turn[order] = np.arange(len(key)) - np.repeat(start, np.diff(start, append=len(key)))
    return turn
