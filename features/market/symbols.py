"""Translate a symbol between its three spellings: the stream's, REST's and ours.

Ours is the stream's, made unique, without the asset class: ``AAPL``, ``BTC-USD``, ``EUR/USD``, ``I:SPX``,
``O:SPY261218C00650000``, ``ESZ26``. REST says ``X:BTCUSD`` and ``C:EURUSD`` for the two currency classes; a
crypto pair cannot be split by position there (``X:1INCHUSD``), so its base or quote must be given.
"""

import zlib

from features.market.errors import DataError
from features.market.types import AssetClass

MAX_SYMBOL_CHARS = 64  # the longest the vendor has are OCC options, 21 characters with the prefix
_CURRENCY_CODE_CHARS = 3  # ISO 4217
EXAMPLES = {
    AssetClass.STOCKS: "AAPL",
    AssetClass.CRYPTO: "BTC-USD",
    AssetClass.FOREX: "EUR/USD",
    AssetClass.INDICES: "I:SPX",
    AssetClass.OPTIONS: "O:SPY261218C00650000",
    AssetClass.FUTURES: "ESZ26",
}
"""One of each class in our spelling, for messages."""
_REST_PREFIX = {
    AssetClass.CRYPTO: "X:",
    AssetClass.FOREX: "C:",
    AssetClass.INDICES: "I:",
    AssetClass.OPTIONS: "O:",
}


def is_symbol(text: str) -> bool:
    r"""Say whether `text` can name an instrument at all: short, printable, without blanks or commas.

    >>> is_symbol("BRK.B"), is_symbol(""), is_symbol("A\x00B"), is_symbol("A,B")
    (True, False, False, False)
    """
    return 0 < len(text) <= MAX_SYMBOL_CHARS and text.isprintable() and " " not in text and "," not in text


def to_ours(asset_class: AssetClass, wire: str) -> str:
    """Give our spelling of a symbol as the stream wrote it.

    >>> to_ours(AssetClass.FOREX, "EUR-USD"), to_ours(AssetClass.STOCKS, "BRK.B")
    ('EUR/USD', 'BRK.B')
    """
    return wire.replace("-", "/") if asset_class is AssetClass.FOREX else wire


def to_wire(asset_class: AssetClass, ours: str) -> str:
    """Give the stream's spelling, as it is written in a subscription.

    >>> to_wire(AssetClass.CRYPTO, "BTC-USD")
    'BTC-USD'
    """
    _refuse_foreign(asset_class, ours)
    return ours


def to_rest(asset_class: AssetClass, ours: str) -> str:
    """Give REST's spelling.

    >>> to_rest(AssetClass.CRYPTO, "1INCH-USD"), to_rest(AssetClass.FOREX, "EUR/USD")
    ('X:1INCHUSD', 'C:EURUSD')
    >>> to_rest(AssetClass.INDICES, "I:SPX")
    'I:SPX'
    """
    _refuse_foreign(asset_class, ours)
    if asset_class is AssetClass.CRYPTO:
        return "X:" + ours.replace("-", "")
    if asset_class is AssetClass.FOREX:
        return "C:" + ours.replace("/", "")
    return ours


def from_rest(asset_class: AssetClass, rest: str, base: str | None = None, quote: str | None = None) -> str:
    """Give our spelling of REST's symbol.

    Parameters
    ----------
    asset_class
        Which market the symbol is of.
    rest
        REST's spelling.
    base, quote
        The two halves of a pair as reference data names them; crypto needs at least one of them.

    Examples
    --------
    >>> from_rest(AssetClass.CRYPTO, "X:1INCHUSD", quote="USD")
    '1INCH-USD'
    >>> from_rest(AssetClass.FOREX, "C:EURUSD")
    'EUR/USD'
    >>> from_rest(AssetClass.STOCKS, "BRK.B")
    'BRK.B'
    """
    prefix = _REST_PREFIX.get(asset_class, "")
    if not rest.startswith(prefix) or not is_symbol(rest):
        raise DataError("bad_symbol", f"expected a {asset_class} symbol as {prefix or 'AAPL'}..., was {rest!r}")
    if asset_class not in (AssetClass.CRYPTO, AssetClass.FOREX):
        return rest
    body = rest.removeprefix(prefix)
    if asset_class is AssetClass.FOREX and base is None and quote is None:
        base = body[:_CURRENCY_CODE_CHARS]
    if base is None and quote is not None:
        base = body.removesuffix(quote)
    if not base or not body.startswith(base) or (quote or body[len(base) :]) != body[len(base) :]:
        raise DataError("bad_symbol", f"expected base and quote of {rest!r}, was {base!r} and {quote!r}")
    if len(body) == len(base):
        raise DataError("bad_symbol", f"expected a pair, was {rest!r}")
    return f"{base}{'-' if asset_class is AssetClass.CRYPTO else '/'}{body[len(base) :]}"


def _refuse_foreign(asset_class: AssetClass, ours: str) -> None:
    """Raise if `ours` cannot be a symbol of the class."""
    separator = {AssetClass.CRYPTO: "-", AssetClass.FOREX: "/"}.get(asset_class)
    if separator is not None:
        halves = ours.split(separator)
        well_formed = len(halves) == 2 and all(halves)
    else:
        well_formed = ours.startswith(_REST_PREFIX.get(asset_class, ""))
    if not (well_formed and is_symbol(ours)):
        expected = f"a symbol of {asset_class} such as {EXAMPLES[asset_class]}"
        raise DataError("bad_symbol", f"expected {expected}, was {ours!r}")


def shard_of(symbol: str, n_shards: int) -> int:
    """Give the shard of a symbol: all its bar lengths in one place, the same on every machine.

    >>> shard_of("AAPL", 7), shard_of("AAPL", 1)
    (5, 0)
    """
    return zlib.crc32(symbol.encode()) % n_shards
