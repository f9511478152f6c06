"""Give the fixed traits of a synthetic universe's symbols: price, volatility, loadings, activity."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, AssetClass
from features.synthetic.block import Grid
from features.synthetic.draws import GROUP, Purpose, generator, normal
from features.synthetic.shape import TapeShape

F32 = NDArray[np.float32]

CLASS_INDEX = {asset_class: i for i, asset_class in enumerate(AssetClass)}


@dataclass(frozen=True, slots=True)
class Traits:
    """Constants of the symbols of one group, [GROUP] each (copies of the last beyond the universe).

    Attributes
    ----------
    price
        Base price.
    grid
        Steps of price and volume.
    daily_vol
        Sd of a full day's log move.
    market, sector, own
        Loadings of a minute's move on the market, the sector and the symbol; squares sum to 1.
    sector_of
        Which sector.
    activity
        Log expected trades per minute in the middle of a day.
    trade_size
        Log of the average trade, in units of volume.
    is_thin
        Whether the symbol misses minutes.
    """

    price: F64
    grid: Grid
    daily_vol: F32
    market: F32
    sector: F32
    own: F32
    sector_of: NDArray[np.intp]
    activity: F32
    trade_size: F32
    is_thin: NDArray[np.bool_]

    def take(self, columns: NDArray[np.intp]) -> "Traits":
        """Give the traits of some symbols of the group."""
        taken: dict[str, Any] = {f.name: getattr(self, f.name)[columns] for f in fields(self) if f.name != "grid"}
        return Traits(grid=self.grid.take(columns), **taken)


def groups_of(n_symbols: int) -> int:
    """Give how many groups a universe has.

    >>> groups_of(1), groups_of(256), groups_of(257)
    (1, 1, 2)
    """
    return -(-n_symbols // GROUP)


def traits(asset_class: AssetClass, shape: TapeShape, seed: int, prices: F64) -> list[Traits]:
    """Give the traits of every group of a universe with these base prices [N], in rank order."""
    return [
        _group(asset_class, shape, seed, g, prices[g * GROUP : (g + 1) * GROUP]) for g in range(groups_of(len(prices)))
    ]


def _group(asset_class: AssetClass, shape: TapeShape, seed: int, group: int, prices: F64) -> Traits:
    price = np.concatenate([prices, np.full(GROUP - len(prices), prices[-1])])
    rng = generator(seed, CLASS_INDEX[asset_class], Purpose.SYMBOLS, group)
    z = normal(rng, 6, GROUP)
    u = rng.random((3, GROUP), dtype=np.float32)
    rank = group * GROUP + np.arange(GROUP)

    tilt = np.exp(shape.loading_spread * z[0])
    market = np.minimum(np.sqrt(shape.market_share) * tilt, 0.9)
    sector = np.sqrt(shape.sector_share) * np.exp(shape.loading_spread * z[1])
    sector = np.minimum(sector, np.sqrt(0.95 - market**2))

    level = np.log(shape.activity_top) - shape.activity_slope * np.log1p(rank / shape.activity_scale)
    # The best-known names keep their rank; noise grows to full size over the first hundred.
    level = level + shape.activity_spread * z[2] * np.minimum(rank / 100.0, 1.0)
    is_thin = (u[0] < shape.thin_share) & (rank >= 20)
    thin = np.log(shape.thin_trades_low) + u[1] * np.log(shape.thin_trades_high / shape.thin_trades_low)
    activity = np.where(is_thin, thin, np.maximum(level, np.log(6.0)))

    size = np.log(shape.trade_size) + shape.trade_size_spread * z[3]
    if asset_class is AssetClass.CRYPTO:
        size = size - np.log(price)
    return Traits(
        price=price,
        grid=Grid(_ticks(asset_class, price), _lots(asset_class, price)),
        daily_vol=(shape.daily_vol * np.exp(shape.daily_vol_spread * z[4])).astype(np.float32),
        market=market.astype(np.float32),
        sector=sector.astype(np.float32),
        own=np.sqrt(1 - market**2 - sector**2).astype(np.float32),
        sector_of=(u[2] * shape.sectors).astype(np.intp),
        activity=activity.astype(np.float32),
        trade_size=size.astype(np.float32),
        is_thin=is_thin,
    )


def _ticks(asset_class: AssetClass, price: F64) -> F64:
    """Give ticks per unit of price: cents above a dollar; for the rest about five or six figures."""
    magnitude = np.floor(np.log10(price))
    if asset_class in (AssetClass.STOCKS, AssetClass.OPTIONS):
        return np.where(price < 1.0, 1e4, 100.0)
    if asset_class is AssetClass.INDICES:
        return np.full(len(price), 100.0)
    if asset_class is AssetClass.FUTURES:
        return np.where(price > 1_000, 4.0, np.where(price > 10, 100.0, 10.0 ** (4 - magnitude)))
    if asset_class is AssetClass.FOREX:
        return np.where(price > 20, 1e3, np.maximum(10.0 ** (4 - magnitude), 1e5))
    ticks: F64 = 10.0 ** np.clip(6 - magnitude, 2, 12)
    return ticks


def _lots(asset_class: AssetClass, price: F64) -> F64:
    """Give steps per unit of volume: a whole share; a hundredth of a cent's worth of a coin."""
    if asset_class is not AssetClass.CRYPTO:
        return np.ones(len(price))
    lots: F64 = 10.0 ** np.clip(np.rint(np.log10(price)) + 4, 0, 8)
    return lots
