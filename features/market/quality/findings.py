"""Name what can be wrong with a series, each thing where it is and how large."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from features.market.quality.days import DAY_NS
from features.market.quality.gaps import Coverage
from features.market.quality.outliers import Outliers
from features.market.quality.slips import Slips
from features.market.quality.splits import Split
from features.market.types import F64, I64, NS_PER_S

MOST_KEPT = 200
"""Of a kind and series the largest so many are kept by place; all are counted."""


class Flaw(StrEnum):
    """What can be wrong."""

    GAP = "gap"
    STALE = "stale"
    PRICE_OUTLIER = "price_outlier"
    VOLUME_OUTLIER = "volume_outlier"
    SLIP = "slip"
    SPLIT = "split"
    LITTLE_DATA = "little_data"
    OUTAGE = "outage"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    flaw
        What it is.
    symbol
        Of which series; empty where it is of many.
    from_ns, to_ns
        The half-open span it lies in, UTC ns.
    n
        How many: bars a gap lost (to the next whole), bars of a stale run, days of a slip, bars of a series with
        little data or of another length, series of an outage; 1 of the others.
    size
        How large: price of a stale run; log distance of a price outlier; ratio of a volume outlier to the usual
        volume; hours of a slip (later is positive); new shares per old one of a split; bars lost of a gap;
        seconds of longer bars.
    score
        How far beyond the usual, where that is the measure: usual moves of a price outlier, robust standard
        deviations of a volume outlier; of a split the volume's ratio, after to before; of a slip told by other series
        the correlation it gains; else NaN.
    is_listed
        Whether the vendor lists a split.
    """

    flaw: Flaw
    symbol: str
    from_ns: int
    to_ns: int
    n: int
    size: float
    score: float = float("nan")
    is_listed: bool = False


def gaps(symbol: str, found: Coverage) -> list[Finding]:
    """Give gaps, the largest first."""
    lost = found.gap_bars
    return [
        Finding(Flaw.GAP, symbol, int(found.gaps[i, 0]), int(found.gaps[i, 1]), round(float(lost[i])), float(lost[i]))
        for i in _largest(lost)
    ]


def stale(symbol: str, runs: I64, ts: I64, close: F64, step_ns: int) -> list[Finding]:
    """Give stale runs of rows [first, after last), the longest first."""
    length = runs[:, 1] - runs[:, 0]
    return [
        Finding(
            Flaw.STALE, symbol, int(ts[runs[i, 0]]), int(ts[runs[i, 1] - 1]) + step_ns, int(length[i]),
            float(close[runs[i, 0]]),
        )
        for i in _largest(length)
    ]  # fmt: skip


def outliers(flaw: Flaw, symbol: str, found: Outliers, ts: I64, step_ns: int) -> list[Finding]:
    """Give outliers, the furthest first."""
    return [
        Finding(
            flaw, symbol, int(ts[found.row[i]]), int(ts[found.row[i]]) + step_ns, 1, float(found.size[i]),
            float(found.score[i]),
        )
        for i in _largest(found.score)
    ]  # fmt: skip


def slips(symbol: str, found: Slips) -> list[Finding]:
    """Give slips of the clock, the longest first."""
    return [
        Finding(
            Flaw.SLIP, symbol, int(found.from_ns[i]), int(found.to_ns[i]), int(found.n_spans[i]), float(found.hours[i])
        )
        for i in _largest(found.n_spans)
    ]


def longer(symbol: str, runs: I64, ts: I64) -> list[Finding]:
    """Give stretches of longer bars, rows of (first, after last, seconds), the longest first."""
    count = runs[:, 1] - runs[:, 0]
    return [
        Finding(
            Flaw.LENGTH, symbol, int(ts[runs[i, 0]]), int(ts[runs[i, 1] - 1] + runs[i, 2] * NS_PER_S), int(count[i]),
            float(runs[i, 2]),
        )
        for i in _largest(count)
    ]  # fmt: skip


def splits(symbol: str, found: tuple[Split, ...]) -> list[Finding]:
    """Give splits in their order."""
    return [
        Finding(
            Flaw.SPLIT, symbol, s.day * DAY_NS, (s.day + 1) * DAY_NS, 1, s.new / s.old, s.volume_ratio, s.is_known
        )
        for s in found[:MOST_KEPT]
    ]  # fmt: skip


def _largest(size: F64 | I64) -> list[int]:
    order: list[int] = np.argsort(-size, kind="stable")[:MOST_KEPT].tolist()
    return order
