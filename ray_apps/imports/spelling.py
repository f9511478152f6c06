"""Turn a file's word for a symbol, or its own name, into our spelling."""

import re

from features.market.errors import DataError
from features.market.symbols import from_rest, is_symbol, to_rest
from features.market.types import AssetClass

_PREFIX = {AssetClass.CRYPTO: "X:", AssetClass.FOREX: "C:"}
_PAIR_CHARS = 6
_DOLLARS = ("USD", "USDT", "USDC", "BUSD", "TUSD", "FDUSD")
_QUOTES = (*_DOLLARS, "EUR", "GBP", "JPY", "AUD", "CAD", "CHF", "BTC", "ETH", "BNB")
"""What coins are usually priced in."""
_NAMED = re.compile(r"(?:[IO]:)?[A-Z][A-Z0-9]*(?:[.\-/][A-Z0-9]+)*(?:p[A-Z]*|w|r|u)?")
"""A file's name that is surely a symbol: capitals, with the vendor's small letters of preferred shares and rights."""


def ours(asset_class: AssetClass, text: str) -> str | None:
    """Give our spelling of a symbol as files write it; None where it cannot be one of the class.

    >>> ours(AssetClass.CRYPTO, "X:BTC-USD"), ours(AssetClass.FOREX, "C:EUR-USD"), ours(AssetClass.STOCKS, "BRK.B")
    ('BTC-USD', 'EUR/USD', 'BRK.B')
    >>> ours(AssetClass.CRYPTO, "BTCUSD") is None, ours(AssetClass.STOCKS, "A,B") is None
    (True, True)
    """
    body = text.removeprefix(_PREFIX.get(asset_class, ""))
    if asset_class is AssetClass.FOREX:
        body = body.replace("-", "/")
    try:
        if asset_class is AssetClass.FOREX and "/" not in body and len(body) == _PAIR_CHARS:
            body = from_rest(asset_class, f"C:{body}")
        to_rest(asset_class, body)
    except DataError:
        return None
    return body if is_symbol(body) else None


def named_after(asset_class: AssetClass, stem: str) -> str | None:
    """Give the symbol a file is surely named after; None where its name may be anything.

    >>> named_after(AssetClass.STOCKS, "AAPL"), named_after(AssetClass.CRYPTO, "BTC-USD")
    ('AAPL', 'BTC-USD')
    >>> [named_after(AssetClass.STOCKS, stem) for stem in ("2025-04-02", "prices", "AAPL_1min")]
    [None, None, None]
    """
    if asset_class is AssetClass.CRYPTO:  # coins begin with digits, and are written in small letters too
        found = ours(asset_class, stem)
        return found if found and stem.upper() == stem and not stem.replace("-", "").isdigit() else None
    return ours(asset_class, stem) if _NAMED.fullmatch(stem) else None


def likely_pair(stem: str) -> str | None:
    """Give the crypto pair a file's name is read as at a guess; None where it ends in no quote, or in several.

    >>> likely_pair("BTCUSD"), likely_pair("btc_usdt"), likely_pair("BTCBUSD"), likely_pair("prices")
    ('BTC-USD', 'BTC-USDT', None, None)
    """
    name = stem.upper()
    halves = [(name.removesuffix(quote).rstrip("-_."), quote) for quote in _QUOTES if name.endswith(quote)]
    pairs = [f"{base}-{quote}" for base, quote in halves if base.isalnum()]
    return pairs[0] if len(pairs) == 1 else None
