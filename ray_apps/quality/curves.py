"""Put the curves of many series over the day together, and name its half hours."""

from collections.abc import Sequence

import numpy as np

from features.market.quality.days import BUCKETS
from features.market.types import F64


def median_curve(curves: Sequence[F64], quantile: float = 0.5) -> F64:
    """Give each half hour's median, or another quantile, over the series that have one, [48]; NaN where none has.

    >>> median_curve([np.full(48, 1.0), np.full(48, 3.0)])[:2]
    array([2., 2.])
    """
    block = np.array(curves).reshape(-1, BUCKETS)
    seen = ~np.isnan(block).all(axis=0)
    out = np.full(BUCKETS, np.nan)
    if seen.any():
        out[seen] = np.nanquantile(block[:, seen], quantile, axis=0)
    return out


def clock(bucket: int) -> str:
    """Give the time a half hour begins.

    >>> clock(19), clock(48)
    ('09:30', '24:00')
    """
    return f"{bucket // 2:02}:{bucket % 2 * 30:02}"
