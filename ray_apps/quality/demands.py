"""Hold the quality of bars against bounds a person sets."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from features.market.quality.findings import Flaw
from features.market.quality.summary import Quality
from features.market.types import F64, Bool
from ray_apps.quality.told import percent
from ray_apps.words import counted


@dataclass(frozen=True, slots=True)
class Demands:
    """Bounds, None where there is none. Shares are of each symbol, counts of all together.

    Attributes
    ----------
    max_missing
        Largest part of a symbol's bars lost in gaps, between its first bar and its last.
    min_coverage
        Least part of a symbol's usual bars over the whole span.
    max_gaps
        Gaps of symbols, and outages of the source.
    max_stale, max_slips, max_splits
        Stale runs, slips of the clock, splits not applied.
    max_outliers
        Price and volume outliers.
    max_bad_rows
        Rows refused: wrong prices, repeats, rows off the grid.
    max_findings
        Findings of all kinds; bad rows are none.
    """

    max_missing: float | None = None
    min_coverage: float | None = None
    max_gaps: int | None = None
    max_stale: int | None = None
    max_outliers: int | None = None
    max_bad_rows: int | None = None
    max_slips: int | None = None
    max_splits: int | None = None
    max_findings: int | None = None

    def crossed(self, quality: Quality) -> list[str]:
        """Give a line for each bound that is crossed."""
        lines = []
        for f in fields(self):
            bound = getattr(self, f.name)
            said = None if bound is None else _CHECKS[f.name](quality, bound)
            if said is not None:
                lines.append(f"--{f.name.replace('_', '-')}: expected {said}")
        return lines


def bad_rows(quality: Quality) -> int:
    """Count the rows refused in all series."""
    return sum(sum(s.refused.values()) for s in quality.series)


def _missing(quality: Quality, bound: float) -> str | None:
    shares = np.array([s.coverage.missing_share for s in quality.series])
    return _worst(quality, shares, shares > bound, -1, f"at most {percent(bound)} of a symbol's bars missing")


def _coverage(quality: Quality, bound: float) -> str | None:
    covered = quality.covered
    return _worst(quality, covered, covered < bound, 1, f"at least {percent(bound)} of a symbol's usual bars")


def _worst(quality: Quality, shares: F64, is_beyond: Bool, sign: int, expected: str) -> str | None:
    if not is_beyond.any():
        return None
    worst = int(np.argmin(sign * shares))
    more = int(is_beyond.sum()) - 1
    others = f" and {counted(more, 'more symbol')} beyond it" if more else ""
    return f"{expected}, was {percent(float(shares[worst]))} of {quality.series[worst].symbol}{others}"


def _count(one: str, many: str, *flaws: Flaw) -> Callable[[Quality, float], str | None]:
    def check(quality: Quality, bound: float) -> str | None:
        n = sum(quality.n_flaws[flaw] for flaw in flaws)
        return f"at most {counted(int(bound), one, many)}, was {n:,}" if n > bound else None

    return check


def _bad_rows(quality: Quality, bound: float) -> str | None:
    n = bad_rows(quality)
    return f"at most {counted(int(bound), 'bad row')}, was {n:,}" if n > bound else None


_CHECKS: dict[str, Callable[[Quality, float], str | None]] = {
    "max_missing": _missing,
    "min_coverage": _coverage,
    "max_gaps": _count("gap or outage", "gaps and outages", Flaw.GAP, Flaw.OUTAGE),
    "max_stale": _count("stale run", "stale runs", Flaw.STALE),
    "max_outliers": _count("outlier", "outliers", Flaw.PRICE_OUTLIER, Flaw.VOLUME_OUTLIER),
    "max_bad_rows": _bad_rows,
    "max_slips": _count("slip of the clock", "slips of the clock", Flaw.SLIP),
    "max_splits": _count("split not applied", "splits not applied", Flaw.SPLIT),
    "max_findings": _count("finding", "findings", *Flaw),
}
