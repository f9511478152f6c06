"""Judge the rows of a history one by one and against each other, and keep the good ones in order."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.judge import judge
from features.market.types import I64, NS_PER_S, Bool

NEVER = 2**62
"""Later than all bars, UTC ns."""
VWAP_SLACK = 1e-4
"""Vendors round the mean price and the range apart: so far outside, as part of the price, it is still inside."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The good rows of a history and what was wrong with the others.

    Attributes
    ----------
    bars
        [T] good bars, oldest first, one a window.
    refused
        Rows left out, by reason: `features.market.judge.REASONS`, `duplicate` (repeats another exactly), `conflict`
        (another row of the window differs; the last is kept).
    doubtful
        Rows kept, by what is odd: `out_of_order` (older than a row before it), `vwap_outside` (not between low and
        high), `no_volume` (a row of a window without a trade).
    """

    bars: BarColumns
    refused: Counter[str]
    doubtful: Counter[str]


def sound_rows(bars: BarColumns, bar_s: int, needs_volume: bool, now_ns: int = NEVER) -> Rows:
    """Keep the rows that can be used.

    Parameters
    ----------
    bars
        [N] rows as they came; their grid may lie off whole multiples of the bar length.
    bar_s
        Their length, seconds.
    needs_volume
        Whether a row without volume is incomplete (all classes but indices).
    now_ns
        A window that begins later is refused as future.
    """
    phase = grid_phase(bars.ts, bar_s)
    verdict = judge(replace(bars, ts=bars.ts - phase), bar_s, needs_volume, (-(2**62), now_ns + bar_s * NS_PER_S))
    refused = Counter(verdict.errors)
    good = bars if not refused else bars.take(verdict.reason == 0)
    doubtful = Counter({"out_of_order": int((good.ts < np.maximum.accumulate(good.ts)).sum()) if len(good) else 0})
    good = _ordered(good, refused)
    outside = (good.vwap > good.high * (1 + VWAP_SLACK)) | (good.vwap < good.low * (1 - VWAP_SLACK))
    doubtful["vwap_outside"] = int(outside.sum())
    doubtful["no_volume"] = int((good.volume == 0).sum())
    return Rows(good, refused, +doubtful)


def printed(bars: BarColumns) -> BarColumns:
    """Give the bars in which something traded: all, where no volume is known."""
    traded = bars.volume > 0
    return bars if traded.all() or not traded.any() else bars.take(traded)


def grid_phase(ts: I64, bar_s: int) -> int:
    """Give how far the commonest start lies beyond a multiple of the bar length, ns.

    >>> grid_phase(np.array([0, 60, 61, 120]) * NS_PER_S, 60)
    0
    """
    if not len(ts):
        return 0
    values, counts = np.unique(ts % (bar_s * NS_PER_S), return_counts=True)
    return int(values[np.argmax(counts)])


def _ordered(bars: BarColumns, refused: Counter[str]) -> BarColumns:
    """Sort by time and keep the last row of each window, counting the others."""
    step = np.diff(bars.ts)
    if not (step <= 0).any():
        return bars
    ordered = bars.take(np.argsort(bars.ts, kind="stable"))
    is_last = np.append(np.diff(ordered.ts) != 0, True)
    same = _equals_next(ordered) & ~is_last
    refused += Counter({"duplicate": int(same.sum()), "conflict": int((~is_last & ~same).sum())})
    return ordered.take(is_last)


def _equals_next(bars: BarColumns) -> Bool:
    """Say of each row whether the next one repeats it."""
    same = np.ones(len(bars), np.bool_)
    same[-1:] = False
    for name in COLUMN_NAMES:
        column = getattr(bars, name)
        both_absent = np.isnan(column[:-1]) & np.isnan(column[1:])
        same[:-1] &= (column[:-1] == column[1:]) | both_absent
    return same
