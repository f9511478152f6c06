"""Find the bars a series should have and has not: gaps against its calendar and its own habits, day by day."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.jit import kernel
from features.market.quality.days import TradingDays, Windows
from features.market.quality.habit import improbable_runs, n_runs, shares, usual
from features.market.types import F64, I64, NS_PER_S, Bool

REGULAR = 1e-3
"""A series that begins to be silent less often than this, per window, prints always: every absent bar is a gap."""
FEW_RUNS = 3
"""So many silences in a short history (1 in 50 windows at most) do not make a series irregular either."""
USUAL = 0.25
"""What a series does on three days of four is what is expected of it."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How full a series is, over its own life: from its first bar to its last.

    Attributes
    ----------
    day
        [D] int64, trading days of its life, days since 1970.
    n_windows, n_bars
        [D] int64, windows of the day, and those that have a bar.
    usual_share
        Part of a day's windows that have a bar on three days of four.
    gaps
        [G, 2] int64, half-open spans without bars that its habits make improbable, UTC ns; a gap may hold a night.
    gap_bars
        [G] float64, the bars it would usually have had in each.
    """

    day: I64
    n_windows: I64
    n_bars: I64
    usual_share: float
    gaps: I64
    gap_bars: F64

    @property
    def missing_share(self) -> float:
        """Bars lost in gaps, as part of those and the present ones; 0 where there is neither."""
        lost, present = float(self.gap_bars.sum()), float(self.n_bars.sum())
        return lost / (lost + present) if lost + present > 0 else 0.0

    def share_of(self, n_windows: I64, rows: NDArray[np.intp]) -> F64:
        """Give the bars of some of its days as part of those usual in days of so many windows, [K], at most 1."""
        expected = self.usual_share * n_windows
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(expected > 0, np.minimum(self.n_bars[rows] / expected, 1.0), 0.0)


def coverage(ts: I64, days: TradingDays, expected: Windows, bar_s: int) -> Coverage:
    """Hold the bars of a series against its calendar.

    Parameters
    ----------
    ts
        [T] int64, window starts of the bars that printed, oldest first, one a window, UTC ns.
    days, expected
        When its class trades, and the windows of that; they reach beyond the series.
    bar_s
        Length of the bars, seconds.
    """
    step = bar_s * NS_PER_S
    life = expected.within(int(ts[0]), int(ts[-1]) + 1) if len(ts) else expected.within(0, 0)
    if not len(life):
        none = np.empty(0, np.int64)
        return Coverage(none, none, none, 0.0, np.empty((0, 2), np.int64), np.empty(0))
    has_bar = _is_in(life.ts, ts)
    first, last = int(life.row[0]), int(life.row[-1]) + 1
    row = life.row - first
    n_windows = np.bincount(row, minlength=last - first)
    n_bars = np.bincount(row[has_bar], minlength=last - first)
    prints = shares(row, life.bucket, last - first, has_bar)
    found = _gaps(has_bar, row, life.bucket, usual(prints, USUAL))
    typical = np.nan_to_num(usual(prints, 0.5))[life.bucket]
    lost = np.concatenate([[0.0], np.cumsum(typical)])
    bounds = np.stack([life.ts[found[:, 0]], life.ts[found[:, 1] - 1] + step], axis=1)
    share = n_bars[n_windows > 0] / n_windows[n_windows > 0]
    return Coverage(
        days.day[first:last],
        n_windows,
        n_bars,
        float(np.quantile(share, USUAL, method="higher")),
        bounds,
        np.maximum(lost[found[:, 1]] - lost[found[:, 0]], 1.0),
    )


def _gaps(has_bar: Bool, row: I64, bucket: I64, p: F64) -> I64:
    """Give the improbable silences as rows of (from, to) into the windows."""
    n_bars = int(has_bar.sum())
    never = np.zeros(len(has_bar), np.bool_)
    silences = n_runs(~has_bar, never)
    if silences <= max(REGULAR * n_bars, min(FEW_RUNS, n_bars / 50)):
        return improbable_runs(~has_bar, never, np.full(len(has_bar), -np.inf), 1.0, 1)
    prints = np.nan_to_num(p)[bucket]
    prints *= _levels(has_bar, row, prints)[row]
    # No less than the rate at which silences begin: a half hour that was full on three days of four need not always be.
    q = np.maximum(1.0 - prints, (silences + 1) / (n_bars + 2)).clip(max=1.0)
    return improbable_runs(~has_bar, never, np.log(q), float(n_bars), 1)


@kernel
def _levels(has_bar: Bool, row: I64, prints: F64) -> F64:
    """Give how much of what is usual each day prints outside its longest silence, at most 1: a quiet day is no hole."""
    n_days = row[-1] + 1
    seen, expected = np.zeros(n_days), np.zeros(n_days)
    run, run_expected = np.zeros(n_days), np.zeros(n_days)
    longest, longest_expected = np.zeros(n_days), np.zeros(n_days)
    for i in range(row.shape[0]):
        d = row[i]
        expected[d] += prints[i]
        if has_bar[i]:
            seen[d] += 1.0
            run[d], run_expected[d] = 0.0, 0.0
        else:
            run[d] += 1.0
            run_expected[d] += prints[i]
            if run[d] > longest[d]:
                longest[d], longest_expected[d] = run[d], run_expected[d]
    out = np.ones(n_days)
    for d in range(n_days):
        if expected[d] > longest_expected[d]:
            out[d] = min(1.0, seen[d] / (expected[d] - longest_expected[d]))
    return out


def _is_in(wanted: I64, ts: I64) -> Bool:
    """Say of sorted instants whether each stands among others, sorted too."""
    at = np.searchsorted(ts, wanted).clip(max=len(ts) - 1)
    found: Bool = ts[at] == wanted
    return found
