"""Write trades, quotes and what follows from them as the vendor's stream does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.market.types import I64, NS_PER_MS, AssetClass
from ray_apps.simulator.catalogue import TRF_EXCHANGE
from ray_apps.simulator.spelling import to_rest
from ray_apps.simulator.ticks import BUY, EXTENDED_HOURS, ODD_LOT, OPTION_AUTO, ROUND_LOT, SELL, Ticks, tick_of
from ray_apps.simulator.wire import NOTHING, Number, numbers

_encode = msgspec.json.Encoder().encode
TRF_ID = 202
_RECEIVED_MS = 15
"""From a coin's trade to the vendor's hands."""
_BOOK_LEVELS = 5
INDICATORS = [604]
Absent = msgspec.UnsetType


class StockTrade(msgspec.Struct, gc=False, omit_defaults=True):
    """T of a stock: `s` in shares, `ds` the same with its fraction."""

    ev: str
    sym: str
    x: int
    i: str
    z: int
    p: float
    s: Number
    ds: str
    c: list[int] | Absent
    t: int
    q: int
    trfi: int | Absent = NOTHING
    trft: int | Absent = NOTHING


class OptionTrade(msgspec.Struct, gc=False):
    """T of an option."""

    ev: str
    sym: str
    x: int
    p: float
    s: Number
    c: list[int]
    t: int
    q: int


class StockQuote(msgspec.Struct, gc=False):
    """Q of a stock: sizes in shares."""

    ev: str
    sym: str
    bx: int
    bp: float
    bs: Number
    ax: int
    ap: float
    ask_size: Number = msgspec.field(name="as")
    c: int
    i: list[int]
    t: int
    q: int
    z: int


class OptionQuote(msgspec.Struct, gc=False):
    """Q of an option."""

    ev: str
    sym: str
    bx: int
    ax: int
    bp: float
    ap: float
    bs: Number
    ask_size: Number = msgspec.field(name="as")
    t: int
    q: int


class CoinTrade(msgspec.Struct, gc=False):
    """XT: condition 1 a seller came, 2 a buyer."""

    ev: str
    pair: str
    p: float
    t: int
    s: float
    c: list[int]
    i: str
    x: int
    r: int


class CoinQuote(msgspec.Struct, gc=False):
    """XQ."""

    ev: str
    pair: str
    bp: float
    bs: float
    ap: float
    ask_size: float = msgspec.field(name="as")
    t: int
    x: int
    r: int


class CoinBook(msgspec.Struct, gc=False):
    """XL2: prices and sizes from the best on."""

    ev: str
    pair: str
    b: list[list[float]]
    a: list[list[float]]
    t: int
    x: int
    r: int


class PairQuote(msgspec.Struct, gc=False):
    """C: the pair is in `p`."""

    ev: str
    p: str
    x: int
    a: float
    b: float
    t: int


class IndexValue(msgspec.Struct, gc=False):
    """V: the symbol is in `T`."""

    ev: str
    val: float
    T: str
    t: int


class FutureTrade(msgspec.Struct, gc=False):
    """T of a future."""

    ev: str
    sym: str
    p: float
    s: Number
    t: int
    q: int


class FutureQuote(msgspec.Struct, gc=False):
    """Q of a future: each side has its time."""

    ev: str
    sym: str
    bp: float
    bs: Number
    bt: int
    ap: float
    ask_size: Number = msgspec.field(name="as")
    at: int
    t: int


class FairValue(msgspec.Struct, gc=False):
    """FMV: ns."""

    ev: str
    sym: str
    fmv: float
    t: int


@dataclass(frozen=True, slots=True)
class Said:
    """Encoded events, whose they are, and when each is said, UTC ns."""

    rows: NDArray[np.intp]
    ts: I64
    events: list[bytes]


@dataclass(frozen=True, slots=True)
class _Common:
    """What most events have, as lists of one value per tick."""

    ev: Iterable[str]
    name: list[str]
    t: list[int]
    q: list[int]
    x: list[int]


def say(topic: str, asset_class: AssetClass, symbols: Sequence[str], ticks: Ticks) -> Said:
    """Give a topic's events of some ticks, in their order."""
    is_quote = topic in ("Q", "XQ", "XL2", "C")
    if topic in ("XL2", "FMV"):
        ticks = ticks.take(ticks.is_last)
    ts = ticks.quote_ts if is_quote else ticks.ts
    names = [symbols[row] for row in ticks.row.tolist()]
    common = _Common(
        repeat(topic),
        [fair_name(asset_class, name) for name in names] if topic == "FMV" else names,
        (ts // NS_PER_MS).tolist(),
        ticks.sequence.tolist(),
        ticks.exchange.tolist(),
    )
    maker = _fair_values if topic == "FMV" else _MAKERS[asset_class][topic]
    return Said(ticks.row, ts, [_encode(event) for event in maker(common, ticks)])


def fair_name(asset_class: AssetClass, wire: str) -> str:
    """Give a symbol as FMV spells it: with REST's prefix, a coin's pair with its dash.

    >>> fair_name(AssetClass.CRYPTO, "BTC-USD"), fair_name(AssetClass.FOREX, "EUR/USD")
    ('X:BTC-USD', 'C:EURUSD')
    """
    return f"X:{wire}" if asset_class is AssetClass.CRYPTO else to_rest(asset_class, wire)


def tapes(ticks: Ticks) -> list[int]:
    """Give the tape a stock is on: 1 New York, 2 Arca and others, 3 Nasdaq."""
    return (ticks.row % 3 + 1).tolist()  # type: ignore[no-any-return]


def conditions(asset_class: AssetClass, ticks: Ticks) -> list[list[int]]:
    """Give the conditions of trades."""
    if asset_class is AssetClass.CRYPTO:
        return [[BUY] if buys else [SELL] for buys in ticks.is_buy.tolist()]
    if asset_class is not AssetClass.STOCKS:
        return [[OPTION_AUTO]] * len(ticks)
    kinds: tuple[list[int], ...] = ([], [EXTENDED_HOURS], [ODD_LOT], [EXTENDED_HOURS, ODD_LOT])
    which = 2 * (ticks.size < ROUND_LOT) + ~ticks.is_regular
    return [kinds[i] for i in which.tolist()]


def identities(ticks: Ticks) -> list[str]:
    """Give the ids of trades: unique per symbol."""
    return [str(number) for number in (ticks.ts // 1_000).tolist()]


def _stock_trades(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    is_trf = ticks.exchange == TRF_EXCHANGE
    trfi = [TRF_ID if trf else NOTHING for trf in is_trf.tolist()]
    trft = [t if trf else NOTHING for t, trf in zip(k.t, is_trf.tolist(), strict=True)]
    c: list[Any] = [found or NOTHING for found in conditions(AssetClass.STOCKS, ticks)]
    s, ds = numbers(ticks.size), map(repr, ticks.size.tolist())
    return map(StockTrade, k.ev, k.name, k.x, identities(ticks), tapes(ticks), ticks.price.tolist(), s, ds, c, k.t, k.q,
               trfi, trft)  # fmt: skip


def _option_trades(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    c = conditions(AssetClass.OPTIONS, ticks)
    return map(OptionTrade, k.ev, k.name, k.x, ticks.price.tolist(), numbers(ticks.size), c, k.t, k.q)


def _coin_trades(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    c, r = conditions(AssetClass.CRYPTO, ticks), [t + _RECEIVED_MS for t in k.t]
    return map(CoinTrade, k.ev, k.name, ticks.price.tolist(), k.t, ticks.size.tolist(), c, identities(ticks), k.x, r)


def _future_trades(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    return map(FutureTrade, k.ev, k.name, ticks.price.tolist(), numbers(ticks.size), k.t, k.q)


def _stock_quotes(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    bp, ap, bs, ask_size = _sides(ticks)
    return map(StockQuote, k.ev, k.name, k.x, bp, bs, k.x, ap, ask_size, repeat(0), repeat(INDICATORS), k.t, k.q,
               tapes(ticks))  # fmt: skip


def _option_quotes(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    bp, ap, bs, ask_size = _sides(ticks)
    return map(OptionQuote, k.ev, k.name, k.x, k.x, bp, ap, bs, ask_size, k.t, k.q)


def _coin_quotes(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    bp, ap, _, _ = _sides(ticks)
    r = [t + _RECEIVED_MS for t in k.t]
    return map(CoinQuote, k.ev, k.name, bp, ticks.bid_size.tolist(), ap, ticks.ask_size.tolist(), k.t, k.x, r)


def _coin_books(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    step = tick_of(AssetClass.CRYPTO, ticks.price)[:, None] * np.arange(_BOOK_LEVELS)
    deeper = 1 + np.arange(_BOOK_LEVELS)
    sides = []
    for price, size in ((ticks.bid[:, None] - step, ticks.bid_size), (ticks.ask[:, None] + step, ticks.ask_size)):
        sides.append(np.stack([np.round(price, 10), np.round(size[:, None] * deeper, 4)], axis=2).tolist())
    return map(CoinBook, k.ev, k.name, *sides, k.t, k.x, [t + _RECEIVED_MS for t in k.t])


def _pair_quotes(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    bp, ap, _, _ = _sides(ticks)
    return map(PairQuote, k.ev, k.name, k.x, ap, bp, k.t)


def _future_quotes(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    bp, ap, bs, ask_size = _sides(ticks)
    return map(FutureQuote, k.ev, k.name, bp, bs, k.t, ap, ask_size, k.t, k.t)


def _index_values(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    return map(IndexValue, k.ev, ticks.price.tolist(), k.name, k.t)


def _fair_values(k: _Common, ticks: Ticks) -> Iterator[msgspec.Struct]:
    middle = np.round(0.5 * (ticks.bid + ticks.ask), 10).tolist()
    return map(FairValue, k.ev, k.name, middle, ticks.ts.tolist())


def _sides(ticks: Ticks) -> tuple[list[float], list[float], list[Number], list[Number]]:
    return ticks.bid.tolist(), ticks.ask.tolist(), numbers(ticks.bid_size), numbers(ticks.ask_size)


_Maker = Callable[[_Common, Ticks], Iterator[msgspec.Struct]]
_MAKERS: dict[AssetClass, dict[str, _Maker]] = {
    AssetClass.STOCKS: {"T": _stock_trades, "Q": _stock_quotes},
    AssetClass.OPTIONS: {"T": _option_trades, "Q": _option_quotes},
    AssetClass.CRYPTO: {"XT": _coin_trades, "XQ": _coin_quotes, "XL2": _coin_books},
    AssetClass.FOREX: {"C": _pair_quotes},
    AssetClass.INDICES: {"V": _index_values},
    AssetClass.FUTURES: {"T": _future_trades, "Q": _future_quotes},
}
FAIR_VALUED = (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.CRYPTO, AssetClass.FOREX)
TICK_TOPICS: dict[AssetClass, tuple[str, ...]] = {
    c: (*made, *(("FMV",) if c in FAIR_VALUED else ())) for c, made in _MAKERS.items()
}
"""What the ticks of a class say; its limits are another matter."""
