"""Write bars as the vendor's stream does: one JSON object per event, joined into frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, NS_PER_MS, NS_PER_S, AssetClass
from features.market.wire import TOPICS
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.totals import Totals

NOTHING = msgspec.UNSET
Number = float | int
_encode = msgspec.json.Encoder().encode


class StockEvent(msgspec.Struct, gc=False, omit_defaults=True):
    """A or AM of a stock; of an option without the decimal strings. `op` is absent before the open."""

    ev: str
    sym: str
    v: Number
    dv: str | msgspec.UnsetType
    av: Number
    dav: str | msgspec.UnsetType
    vw: float
    o: float
    c: float
    h: float
    l: float  # noqa: E741  (the vendor's name)
    a: float
    z: float
    s: int
    e: int
    op: float | msgspec.UnsetType = NOTHING


class CryptoEvent(msgspec.Struct, gc=False):
    """XA or XAS."""

    ev: str
    pair: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    v: float
    vw: float | msgspec.UnsetType
    z: int
    s: int
    e: int


class ForexEvent(msgspec.Struct, gc=False):
    """CA or CAS: `v` is the number of quotes."""

    ev: str
    pair: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    v: Number
    s: int
    e: int


class IndexEvent(msgspec.Struct, gc=False, omit_defaults=True):
    """A or AM of an index."""

    ev: str
    sym: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    s: int
    e: int
    op: float | msgspec.UnsetType = NOTHING


class FuturesEvent(msgspec.Struct, gc=False):
    """A or AM of a future: here `dv` is a number, the notional value."""

    ev: str
    sym: str
    v: Number
    dv: float
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    n: Number
    s: int
    e: int


def numbers(x: F64) -> list[Number]:
    """Give a column as whole numbers where all are whole (the vendor writes 41250, not 41250.0)."""
    whole: list[Number] = x.astype(np.int64).tolist() if bool(np.all(x == np.rint(x))) else x.tolist()
    return whole


@dataclass(frozen=True, slots=True)
class _Common:
    """What every event has, as lists of one value per event."""

    ev: list[str]
    name: list[str]
    o: list[float]
    c: list[float]
    h: list[float]
    low: list[float]
    s: list[int]
    e: list[int]


def encode(asset_class: AssetClass, symbols: Sequence[str], bar_s: int, bars: Bars, totals: Totals) -> list[bytes]:
    """Give each bar as an encoded event, in the order of the bars.

    `totals` holds the day's sums with these bars in them.
    """
    s = (bars.ts // NS_PER_MS).tolist()
    o, c, h, low = (x.tolist() for x in (bars.open, bars.close, bars.high, bars.low))
    common = _Common(
        [TOPICS[asset_class][1 if bar_s < 60 else 60]] * len(bars),
        [symbols[row] for row in bars.row.tolist()],
        o,
        c,
        h,
        low,
        s,
        [t + bar_s * (NS_PER_S // NS_PER_MS) for t in s],
    )
    return [_encode(event) for event in _MAKERS[asset_class](common, bars, totals)]


def _stocks(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    v, av = numbers(bars.volume), numbers(totals.volume[bars.row])
    vw, z = _vwap(bars).tolist(), _mean_size(bars).tolist()
    a = np.round(totals.vwap(bars.row), 4).tolist()
    rest = (vw, k.o, k.c, k.h, k.low, a, z, k.s, k.e, totals.opens(bars.row))
    return map(StockEvent, k.ev, k.name, v, map(repr, v), av, map(repr, av), *rest)


def _options(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    for event in _stocks(k, bars, totals):
        assert isinstance(event, StockEvent)
        event.dv = event.dav = NOTHING
        yield event


def _crypto(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    # The vendor sends z 0 for crypto, so a bar does not say how many trades it had.
    v, vw, z = bars.volume.tolist(), _vwap(bars).tolist(), [0] * len(bars)
    return map(CryptoEvent, k.ev, k.name, k.o, k.c, k.h, k.low, v, vw, z, k.s, k.e)


def _forex(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    return map(ForexEvent, k.ev, k.name, k.o, k.c, k.h, k.low, numbers(bars.volume), k.s, k.e)


def _indices(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    return map(IndexEvent, k.ev, k.name, k.o, k.c, k.h, k.low, k.s, k.e, totals.opens(bars.row))


def _futures(k: _Common, bars: Bars, totals: Totals) -> Iterator[msgspec.Struct]:
    v, notional = numbers(bars.volume), np.round(_vwap(bars) * bars.volume, 2).tolist()
    n = numbers(np.nan_to_num(bars.trades))
    return map(FuturesEvent, k.ev, k.name, v, notional, k.o, k.c, k.h, k.low, n, k.s, k.e)


_MAKERS = {
    AssetClass.STOCKS: _stocks,
    AssetClass.OPTIONS: _options,
    AssetClass.CRYPTO: _crypto,
    AssetClass.FOREX: _forex,
    AssetClass.INDICES: _indices,
    AssetClass.FUTURES: _futures,
}


def _vwap(bars: Bars) -> F64:
    """Give the average price, a bar's middle where the file does not say."""
    return np.where(np.isnan(bars.vwap), 0.5 * (bars.high + bars.low), bars.vwap)


def _mean_size(bars: Bars) -> F64:
    """Give the average trade, fine enough that volume over it is the number of trades; 0 where unknown."""
    known = bars.trades > 0
    size: F64 = np.where(known, bars.volume / np.where(known, bars.trades, 1), 0.0)
    return size


def frames(events: Sequence[bytes], batch: int, max_bytes: int) -> list[bytes]:
    """Join events into JSON arrays of at most `batch` events and `max_bytes` bytes.

    >>> frames([b"{}"] * 3, batch=2, max_bytes=100)
    [b'[{},{}]', b'[{}]']
    """
    found: list[bytes] = []
    start, size = 0, 2
    for i, event in enumerate(events):
        if i > start and (i - start >= batch or size + len(event) + 1 > max_bytes):
            found.append(b"[" + b",".join(events[start:i]) + b"]")
            start, size = i, 2
        size += len(event) + 1
    if len(events) > start:
        found.append(b"[" + b",".join(events[start:]) + b"]")
    return found


def pick(events: Sequence[bytes], rows: NDArray[np.intp], wanted: set[int]) -> list[bytes]:
    """Give the events of the wanted symbols."""
    return [event for event, row in zip(events, rows.tolist(), strict=True) if row in wanted]
