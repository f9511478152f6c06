"""Find splits that were not applied: prices that jump overnight by a ratio of small numbers, volume the other way."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from features.market.quality.outliers import MAD_TO_SD
from features.market.types import F64, I64

RATIOS = (Fraction(3, 2), Fraction(5, 2), *map(Fraction, (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)))
"""New shares for one old; a reverse split is one of these upside down. Smaller ones are lost in ordinary nights."""
LEAST_MOVE = 0.3
LEAST_NIGHTS = 8.0
"""In usual nights: how far the jump must lie beyond."""
TOLERANCE = 0.06
"""Log distance from the ratio: the night's own move comes on top."""
TOLERANCE_NIGHTS = 4.0
VOLUME_DAYS = 5
VOLUME_TOLERANCE = 0.75
"""As part of the jump: how far the turnover in money may be from what it was. News multiplies it."""


@dataclass(frozen=True, slots=True)
class KnownSplits:
    """Splits the vendor lists for one symbol.

    Attributes
    ----------
    day
        [K] int64, the first day at the new price, days since 1970.
    ratio
        [K] float64, new shares for one old.
    """

    day: I64
    ratio: F64


@dataclass(frozen=True, slots=True)
class Split:
    """A jump that looks like a split.

    Attributes
    ----------
    day
        First day at the new price, days since 1970.
    new, old
        So many new shares for so many old.
    price_ratio
        That day's first price over the last one before.
    volume_ratio
        Median daily volume of the five days from then on over that of the five before.
    is_known
        Whether the vendor lists it: then the bars are not adjusted.
    """

    day: int
    new: int
    old: int
    price_ratio: float
    volume_ratio: float
    is_known: bool


def splits(day: I64, first: F64, last: F64, volume: F64, known: KnownSplits | None = None) -> tuple[Split, ...]:
    """Find splits in days of a series.

    Parameters
    ----------
    day
        [D] int64, days with bars in regular hours, days since 1970, oldest first.
    first, last, volume
        [D] float64, first and last price of the session, its volume (NaN where there is none).
    known
        What the vendor lists; one of these needs no volume to be believed.

    Examples
    --------
    >>> price = np.array([100.0] * 6 + [25.2] * 6)
    >>> found, = splits(np.arange(12), price, price, 1e6 / price)
    >>> found.day, found.new, found.old, round(found.volume_ratio, 2)
    (6, 4, 1, 3.97)
    """
    if len(day) < 2:
        return ()
    night = np.log(first[1:] / last[:-1])
    usual = float(np.median(np.abs(night - np.median(night)))) * MAD_TO_SD
    tolerance = min(max(TOLERANCE_NIGHTS * usual, TOLERANCE / 2), TOLERANCE)
    found = []
    for i in np.flatnonzero(np.abs(night) >= max(LEAST_MOVE, LEAST_NIGHTS * usual)) + 1:
        ratio, distance = _nearest(-float(night[i - 1]))
        before, after = volume[max(i - VOLUME_DAYS, 0) : i], volume[i : i + VOLUME_DAYS]
        turned = _median(after) / _median(before)
        is_known = known is not None and _is_listed(known, int(day[i]), float(ratio))
        if distance <= tolerance and (is_known or _is_inverse(float(night[i - 1]), turned)):
            price = float(np.exp(night[i - 1]))
            found.append(Split(int(day[i]), ratio.numerator, ratio.denominator, price, turned, is_known))
    return tuple(found)


def _nearest(log_ratio: float) -> tuple[Fraction, float]:
    """Give the ratio nearest to new shares per old, and how far it is."""
    both = [*RATIOS, *(1 / r for r in RATIOS)]
    best = min(both, key=lambda r: abs(np.log(float(r)) - log_ratio))
    return best, abs(float(np.log(float(best))) - log_ratio)


def _median(x: F64) -> float:
    seen = x[x > 0]
    return float(np.median(seen)) if len(seen) else float("nan")


def _is_inverse(night: float, turned: float) -> bool:
    """Say whether volume moved against the price, so that the money turned over stayed about what it was."""
    return bool(turned > 0) and abs(np.log(turned) + night) <= VOLUME_TOLERANCE * abs(night)


def _is_listed(known: KnownSplits, day: int, ratio: float) -> bool:
    return bool(np.any((known.day == day) & (np.abs(np.log(known.ratio / ratio)) < TOLERANCE)))
