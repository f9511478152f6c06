"""Spell a symbol in REST: as the vendor does, or, where a folder's file has a name of no market, after its prefix."""

from features.market import symbols
from features.market.errors import DataError
from features.market.types import AssetClass

_PREFIX = {AssetClass.CRYPTO: "X:", AssetClass.FOREX: "C:", AssetClass.INDICES: "I:", AssetClass.OPTIONS: "O:"}


def to_rest(asset_class: AssetClass, name: str) -> str:
    """Give REST's spelling; the stream has our own.

    >>> to_rest(AssetClass.CRYPTO, "BTC-USD"), to_rest(AssetClass.CRYPTO, "BTCUSD_2020")
    ('X:BTCUSD', 'X:BTCUSD_2020')
    """
    try:
        return symbols.to_rest(asset_class, name)
    except DataError:
        return _PREFIX.get(asset_class, "") + name
