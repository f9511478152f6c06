"""Find source outages: windows in which series that nearly always print were silent together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.market.types import F64, I64

LEAST_SERIES = 3
LEAST_SHARE = 0.2
"""Of the steady series: fewer at once are each one's own affair."""
STEADY = 0.95
"""A series that prints in so many of its windows on most days is a witness; a thinner one follows the market's mood."""
FALSE_WINDOWS = 0.01
OWN_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Silences:
    """Windows in which a steady series had no bar.

    Attributes
    ----------
    ts
        [K] int64, their starts, UTC ns.
    n_windows
        Of how many windows.
    """

    ts: I64
    n_windows: int


@dataclass(frozen=True, slots=True)
class Outages:
    """Spans in which many series were silent at once, half-open, UTC ns; `n_series` is the most at one time."""

    from_ns: I64
    to_ns: I64
    n_series: I64

    def __len__(self) -> int:
        return len(self.from_ns)


def outages(silences: Sequence[Silences], step_ns: int) -> Outages:
    """Find windows in which more of the steady series were silent than their own rates allow.

    Each is silent at its own rate, so the number silent at once is about Poisson with the sum of the rates (Le Cam
    1960). Windows in a row are joined.

    >>> quiet = [Silences(np.array([60 * k, 6_000]), 10_000) for k in range(4)]
    >>> found = outages(quiet, 60)
    >>> found.from_ns, found.to_ns, found.n_series
    (array([6000]), array([6060]), array([4]))
    """
    none = np.empty(0, np.int64)
    if len(silences) < LEAST_SERIES:
        return Outages(none, none, none)
    ts, count = np.unique(np.concatenate([s.ts for s in silences]), return_counts=True)
    mean = sum(_rate(s, step_ns) for s in silences)
    n_windows = max(s.n_windows for s in silences)
    least = max(LEAST_SERIES, math.ceil(LEAST_SHARE * len(silences)))
    while least <= len(silences) and _poisson_tail(least, mean) * n_windows > FALSE_WINDOWS:
        least += 1
    ts, count = ts[count >= least], count[count >= least]
    if not len(ts):
        return Outages(none, none, none)
    first = np.flatnonzero(np.diff(ts, prepend=ts[0] - 2 * step_ns) != step_ns)
    last = np.append(first[1:], len(ts)) - 1
    return Outages(ts[first], ts[last] + step_ns, np.maximum.reduceat(count, first))


def _rate(s: Silences, step_ns: int) -> float:
    """Give how often a series is silent of its own, per window: what is longer than `OWN_WINDOWS` is not its own."""
    begins = np.flatnonzero(np.diff(s.ts, prepend=s.ts[:1] - 2 * step_ns) != step_ns)
    lengths = np.diff(begins, append=len(s.ts))
    return float(np.minimum(lengths, OWN_WINDOWS).sum()) / s.n_windows


def _poisson_tail(k: int, mean: float) -> float:
    """Give P(X >= k).

    >>> round(_poisson_tail(2, 0.1), 5)
    0.00468
    """
    terms: F64 = (
        np.array([math.exp(-mean + j * math.log(mean) - math.lgamma(j + 1)) for j in range(k, k + 50)])
        if (mean > 0)
        else np.zeros(1)
    )
    return float(min(terms.sum(), 1.0))
