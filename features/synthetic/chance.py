"""Give chance numbers as a function of whole numbers alone, whatever else is asked and in any order."""

import numpy as np

from features.market.types import F64, I64

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def chance(*keys: int | I64) -> F64:
    """Give numbers in [0, 1), one per element of the keys broadcast together (at least one).

    Each key is folded in with the finalizer of SplitMix64 (Steele, Lea and Flood 2014).

    >>> chance(7, np.arange(3)).round(3)
    array([0.722, 0.156, 0.874])
    >>> bool(chance(7, 2)[0] == chance(7, np.arange(3))[2])
    True
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        state = state + np.atleast_1d(np.asarray(key, dtype=np.int64)).view(np.uint64) + _STEP
        state = (state ^ (state >> np.uint64(30))) * _MIX[0]
        state = (state ^ (state >> np.uint64(27))) * _MIX[1]
        state ^= state >> np.uint64(31)
    unit: F64 = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return unit
