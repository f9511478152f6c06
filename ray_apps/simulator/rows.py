"""Write bars as REST's rows."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from features.market.types import F64, NS_PER_MS
from ray_apps.simulator.sources import Bars

NOTHING = msgspec.UNSET


class AggRow(msgspec.Struct, gc=False, omit_defaults=True):
    """One aggregate; what its class does not have is left out, the ticker where the path says it."""

    v: float | msgspec.UnsetType
    vw: float | msgspec.UnsetType
    o: float
    c: float
    h: float
    l: float  # noqa: E741  (the vendor's name)
    t: int
    n: int | msgspec.UnsetType
    T: str | msgspec.UnsetType = NOTHING


def agg_rows(bars: Bars, tickers: Iterable[str] | None = None, t_ms: int | None = None) -> list[AggRow]:
    """Give bars as rows, perhaps with their tickers, and with another time than their window's start."""
    t = (bars.ts // NS_PER_MS).tolist() if t_ms is None else repeat(t_ms)
    o, c, h, low = (x.tolist() for x in (bars.open, bars.close, bars.high, bars.low))
    names = repeat(NOTHING) if tickers is None else tickers
    v, vw = known(bars.volume), known(bars.vwap)
    return list(map(AggRow, v, vw, o, c, h, low, t, whole(bars.trades), names))


def said(**values: Any) -> dict[str, Any]:
    """Give what is known.

    >>> said(a=1, b=NOTHING)
    {'a': 1}
    """
    return {name: value for name, value in values.items() if value is not NOTHING}


def known(x: F64) -> list[Any]:
    """Give a column without what is not known.

    >>> known(np.array([1.5, np.nan]))
    [1.5, UNSET]
    """
    nan = np.isnan(x)
    return [NOTHING if bad else v for v, bad in zip(x.tolist(), nan, strict=True)] if nan.any() else list(x.tolist())


def whole(x: F64) -> list[Any]:
    """Give a column of whole numbers without what is not known."""
    nan = np.isnan(x)
    if not nan.any():
        return list(x.astype(np.int64).tolist())
    return [NOTHING if bad else int(v) for v, bad in zip(x.tolist(), nan, strict=True)]
