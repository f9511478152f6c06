"""Measure the rate the detectors really have: count the half-hours that looked rarer than one a day.

Busy windows cluster, so the nominal rate is too high, for real stocks two to three times. Counted over the whole
universe and given back once a day, the ratio of realised to nominal peaks rescales every rate of the day after the
next.
"""

import math
from typing import NamedTuple

import numpy as np

from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool

PEAK_NS = 1_800 * NS_PER_S
"""Peaks are taken over half an hour, the cooldown of an episode."""
PEAK_RATE = 1.0
"""So many peaks a series and day are nominal: enough to measure in days, few enough that they seldom share a half-hour.

At 3 a day they do: on a null tape .84 of the nominal half-hours were counted at 3 a day and .99 at 1, while episodes
came at 1.0 of the budget of .03.
"""
PRIOR_PEAKS = 30.0
HALFLIFE_DAYS = 20.0
MIN_SERIES = 4
"""Fewer series tell too little about how busy windows cluster."""

BUCKET, SMALLEST, DAY = range(3)
UNDO = 3
GAVE_PEAK, GAVE_SERIES = 6, 7
WIDTH = 8
"""Columns of a series: its half-hour, the smallest rate in it, its day; the same before the newest bar; what that bar
added to the totals."""


class Rates(NamedTuple):
    """Smallest rates [T, N] of bars with their ends and days; `revise` [N] as in `Windows`."""

    present: Bool
    ok: Bool
    revise: Bool
    end: I64
    day: I64
    rate: F64


def peak_level(shares: float) -> float:
    """Give the rate below which `PEAK_RATE` looks a day fall when kinds with so much of the budget are judged.

    >>> peak_level(0.95), peak_level(0.5)
    (1.053, 2.0)
    """
    return PEAK_RATE / shares if shares > 0.0 else 0.0


@kernel
def fold_peaks(rows: I64, bars: Rates, level: float, first_day: int, state: F64, totals: F64) -> None:
    """Fold rates into `state` [S, WIDTH]; add finished peaks and series seen to `totals` [days, 2].

    A peak is a half-hour whose smallest rate is below `level`, see `peak_level`.
    A peak is credited to the day on which it became known: that of the first bar after its half-hour.
    """
    for n in range(rows.shape[0]):
        s = state[rows[n]]
        for t in range(bars.ok.shape[0]):
            if not bars.present[t, n]:
                continue
            rate, day = bars.rate[t, n], bars.day[t, n]
            total = totals[day - first_day]
            if bars.revise[n]:
                total[0] -= s[GAVE_PEAK]
                total[1] -= s[GAVE_SERIES]
                s[:UNDO] = s[UNDO : 2 * UNDO]
            else:
                s[UNDO : 2 * UNDO] = s[:UNDO]
            s[GAVE_PEAK] = s[GAVE_SERIES] = 0.0
            if not bars.ok[t, n] or math.isinf(rate):
                continue
            if day != s[DAY]:
                s[DAY] = day
                s[GAVE_SERIES] = 1.0
            bucket = float((bars.end[t, n] - 1) // PEAK_NS)
            if bucket != s[BUCKET]:
                if s[BUCKET] > 0.0 and s[SMALLEST] < level:
                    s[GAVE_PEAK] = 1.0
                s[BUCKET] = bucket
                s[SMALLEST] = math.inf
            s[SMALLEST] = min(s[SMALLEST], rate)
            total[0] += s[GAVE_PEAK]
            total[1] += s[GAVE_SERIES]


class Rescale:
    """Remembers the days' peaks of a universe and gives each day's factor on every rate."""

    def __init__(self) -> None:
        self.days: dict[int, list[float]] = {}
        self.factors: dict[int, float] = {}
        self.realised = 0.0
        self.nominal = 0.0

    def credit(self, day: int, peaks: float, series: float) -> None:
        """Add what one shard counted on a day."""
        total = self.days.setdefault(day, [0.0, 0.0])
        total[0] += peaks
        total[1] += series

    def factor(self, day: int) -> float:
        """Give the factor for a day, from the days up to two before it: those are complete everywhere."""
        if day in self.factors:
            return self.factors[day]
        for past in sorted(d for d in self.days if d <= day - 2):
            peaks, series = self.days.pop(past)
            if series < MIN_SERIES:
                continue
            decay = 0.5 ** (1.0 / HALFLIFE_DAYS)
            self.realised = self.realised * decay + peaks
            self.nominal = self.nominal * decay + series * PEAK_RATE
        value = (PRIOR_PEAKS + self.realised) / (PRIOR_PEAKS + self.nominal)
        self.factors = {d: f for d, f in self.factors.items() if d >= day - 3} | {day: value}
        return value

    def snapshot(self) -> dict[str, F64]:
        """Give the arrays of the state."""
        days = np.array([[d, *v] for d, v in sorted(self.days.items())], dtype=np.float64).reshape(-1, 3)
        factors = np.array(sorted(self.factors.items()), dtype=np.float64).reshape(-1, 2)
        return {"days": days, "factors": factors, "sums": np.array([self.realised, self.nominal])}

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        self.days = {int(d): [p, s] for d, p, s in arrays["days"].tolist()}
        self.factors = {int(d): f for d, f in arrays["factors"].tolist()}
        self.realised, self.nominal = arrays["sums"].tolist()
