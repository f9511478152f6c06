"""Make the trades and quotes of a window out of its bars: the same for the stream, for REST, for one symbol or all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.market.bars import BarColumns
from features.market.types import F64, I64, NS_PER_MS, NS_PER_S, AssetClass, Bool
from features.synthetic.block import VALUES
from features.synthetic.chance import chance
from features.synthetic.prints import prints_of
from ray_apps.simulator.catalogue import STOCK_EXCHANGES, TRF_EXCHANGE
from ray_apps.simulator.sources import Bars, Source

SEED = 7
_SIDE, _EXCHANGE, _BID_SIZE, _ASK_SIZE = 11, 12, 13, 14
"""What a chance is for."""
_TRF_SHARE = 0.2
"""Share of stock trades reported off exchange."""
_PER_SECOND = 64
"""Sequence numbers per second of the day: more than a bar has prints."""
_DAY_S = 86_400
_EXCHANGE_OF = {AssetClass.CRYPTO: 1, AssetClass.FOREX: 48, AssetClass.OPTIONS: 302}
ODD_LOT, EXTENDED_HOURS, OPTION_AUTO, SELL, BUY = 37, 12, 209, 1, 2
"""Conditions of trades, as the catalogue lists them."""
ROUND_LOT = 100


@dataclass(frozen=True, slots=True)
class Ticks:
    """Prints and the quote each met, as columns [M], by window, then symbol, then time.

    Attributes
    ----------
    row
        Number of the symbol in the source.
    ts
        Of the print, UTC ns.
    sequence
        Grows with time within a day and symbol.
    is_buy
        Whether the buyer came to the seller: the price is the ask.
    is_regular
        Whether the window lies in regular hours.
    is_last
        Whether it is its bar's last.
    exchange
        Where it printed.
    """

    row: NDArray[np.intp]
    ts: I64
    price: F64
    size: F64
    sequence: I64
    bid: F64
    ask: F64
    bid_size: F64
    ask_size: F64
    is_buy: Bool
    is_regular: Bool
    is_last: Bool
    exchange: I64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: "slice | NDArray[np.intp] | NDArray[np.bool_]") -> "Ticks":
        """Give some of the ticks."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in self.__slots__}
        return Ticks(**columns)

    @property
    def quote_ts(self) -> I64:
        """When each quote came; in the second of its print, so that a window holds both."""
        return self.ts - np.minimum(NS_PER_MS, self.ts % NS_PER_S)


def join(parts: list[Ticks]) -> Ticks:
    """Give ticks, of at least one part, one after another."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in Ticks.__slots__}
    return Ticks(**columns)


def ticks_of(source: Source, bars: Bars, bar_s: int) -> Ticks:
    """Give the ticks of bars of one length."""
    columns = BarColumns(bars.ts, *(getattr(bars, name) for name in VALUES))
    made = prints_of(bars.row, columns, bar_s * NS_PER_S, SEED)
    row, start = bars.row[made.bar], bars.ts[made.bar]
    keys = (SEED, row, start, made.k)
    is_buy = chance(_SIDE, *keys) < 0.5
    step = tick_of(source.asset_class, made.price)
    if source.asset_class is AssetClass.FOREX:
        # Bars are built from quotes: their middle is the price.
        bid, ask = made.price - step, made.price + step
    else:
        bid = np.where(is_buy, made.price - step, made.price)
        ask = bid + step
    starts, place = np.unique(start, return_inverse=True)
    regular = np.array([source.regular(t) for t in starts.tolist()], np.bool_)[place]
    is_last = np.append(np.diff(made.bar) > 0, np.ones(min(len(made), 1), np.bool_))
    return Ticks(
        row,
        made.ts,
        made.price,
        made.size,
        (start // NS_PER_S % _DAY_S) * _PER_SECOND + made.k + 1,
        np.round(bid, 10),
        np.round(ask, 10),
        _sizes(source.asset_class, chance(_BID_SIZE, *keys)),
        _sizes(source.asset_class, chance(_ASK_SIZE, *keys)),
        is_buy,
        regular,
        is_last,
        _exchanges(source.asset_class, chance(_EXCHANGE, *keys)),
    )


def tick_of(asset_class: AssetClass, price: F64) -> F64:
    """Give the usual gap between bid and ask: a tick; of coins about six figures.

    >>> tick_of(AssetClass.STOCKS, np.array([0.5, 20.0])), tick_of(AssetClass.CRYPTO, np.array([64_200.0]))
    (array([0.0001, 0.01  ]), array([0.1]))
    """
    if asset_class in (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.INDICES):
        return np.where(price < 1, 1e-4, 0.01)
    if asset_class is AssetClass.FOREX:
        return np.where(price > 20, 1e-3, 1e-5)
    figures = 10.0 ** (np.floor(np.log10(np.maximum(price, 1e-9))) - 5)
    if asset_class is AssetClass.CRYPTO:
        return np.asarray(figures, np.float64)
    return np.where(price > 1_000, 0.25, np.where(price > 10, 0.01, figures * 10))


def _sizes(asset_class: AssetClass, u: F64) -> F64:
    if asset_class is AssetClass.CRYPTO:
        return np.asarray(np.round(0.01 + 2 * u, 4), np.float64)
    lot = ROUND_LOT if asset_class is AssetClass.STOCKS else 1
    return lot * (1 + np.floor(20 * u))


def _exchanges(asset_class: AssetClass, u: F64) -> I64:
    if asset_class is not AssetClass.STOCKS:
        return np.full(len(u), _EXCHANGE_OF.get(asset_class, 0), np.int64)
    lit = np.array(STOCK_EXCHANGES)[((u - _TRF_SHARE) / (1 - _TRF_SHARE) * len(STOCK_EXCHANGES)).astype(np.intp)]
    return np.where(u < _TRF_SHARE, TRF_EXCHANGE, lit)
