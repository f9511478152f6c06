"""Infer how long bars are from the distances between the starts of each series."""

from dataclasses import dataclass

import numpy as np

from features.market.bars import common_step_ms
from features.market.calendar import ny_seconds
from features.market.types import F64, I64, NS_PER_MS, AssetClass

DAY_S = 86_400
USUAL_S = (1, 5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 14_400, DAY_S)
SURE_STEPS = 20
"""Of so many distances the commonest is the length; of fewer they may be a thin name's."""

FEW_STEPS = 4
ON_GRID_SHARE = 0.9
"""Of the distances, the share a length must divide: the others' rows are refused, so they may be many."""

SAME_STEPS = 30
"""So many equal distances in a row, longer than a bar, are longer bars: a thin name's are so once in 2**30 times."""

_NIGHT_MS = 20 * 3_600_000
_DAY_MS = DAY_S * 1_000


@dataclass(frozen=True, slots=True)
class Length:
    """What some bars say of their length.

    Attributes
    ----------
    bar_s
        Seconds; None where they say nothing.
    n_steps
        Of how many distances.
    other_s
        Another length some of them surely have, seconds; None where all are alike.
    """

    bar_s: int | None
    n_steps: int
    other_s: int | None = None

    @property
    def is_sure(self) -> bool:
        """Whether it can be told from these bars alone."""
        return self.bar_s is not None and self.n_steps >= SURE_STEPS

    @property
    def is_likely(self) -> bool:
        """Whether it can be told where nothing says otherwise."""
        return self.is_sure or (self.bar_s in USUAL_S and self.n_steps >= FEW_STEPS)


def length_of(asset_class: AssetClass, row: F64, ms: F64) -> Length:
    """Infer the length of bars sorted by series, then time.

    >>> day = np.arange(30) * 86_400_000.0
    >>> length_of(AssetClass.CRYPTO, np.zeros(30), day).bar_s
    86400
    """
    steps = steps_of(row, ms)
    if len(steps):
        distances, counts = np.unique(_whole_days(steps), return_counts=True)
        bar_ms = common_step_ms(distances, counts, ON_GRID_SHARE)
        if bar_ms is None:
            return Length(None, len(steps))
        return Length(bar_ms // 1000, len(steps), other_length(steps, bar_ms // 1000))
    is_one_day = len(ms) > 1 and bool((ms == ms[0]).all()) and _is_midnight(asset_class, int(ms[0]))
    return Length(DAY_S, SURE_STEPS) if is_one_day else Length(None, 0)  # every symbol's one bar of a day


def steps_of(row: F64, ms: F64) -> I64:
    """Give the distances, ms, between neighbours of the same series; repeats of a window give none."""
    steps: I64 = np.diff(ms)[np.diff(row) == 0].astype(np.int64)
    return steps[steps > 0]


def other_length(steps: I64, bar_s: int) -> int | None:
    """Give a longer length than `bar_s` that a run of bars surely has, seconds; None where there is no such run.

    >>> other_length(np.repeat([60_000, 300_000], [400, 30]), 60)
    300
    """
    if len(steps) < SAME_STEPS:
        return None
    starts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    runs = np.diff(starts, append=len(steps))
    lengths = steps[starts]
    found = lengths[(runs >= SAME_STEPS) & (lengths > bar_s * 1000) & np.isin(lengths, np.array(USUAL_S) * 1000)]
    return int(found[0]) // 1000 if len(found) else None


def grid_s(bar_s: int) -> int:
    """Give what all starts leave the same rest by, seconds: 1 where a change of the clocks moves them.

    >>> grid_s(60), grid_s(86_400)
    (60, 1)
    """
    return bar_s if 900 % bar_s == 0 else 900 if bar_s % 900 == 0 and bar_s < DAY_S else 1


def _whole_days(steps: I64) -> I64:
    """Round distances over a night: days begin an hour earlier or later when the clocks change."""
    days = np.round(steps / _DAY_MS).astype(np.int64) * _DAY_MS
    return np.where(steps >= _NIGHT_MS, days, steps)


def _is_midnight(asset_class: AssetClass, ms: int) -> bool:
    if not asset_class.has_sessions:
        return ms % _DAY_MS == 0
    return int(ny_seconds(ms * NS_PER_MS)[1]) == 0
