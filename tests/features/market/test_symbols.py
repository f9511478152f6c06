"""The three spellings lead back to each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market import symbols
from features.market.errors import DataError
from features.market.types import AssetClass

SPELLINGS = [
    (AssetClass.STOCKS, "BRK.B", "BRK.B", "BRK.B"),
    (AssetClass.OPTIONS, "O:SPY261218C00650000", "O:SPY261218C00650000", "O:SPY261218C00650000"),
    (AssetClass.CRYPTO, "DOGE-USD", "DOGE-USD", "X:DOGEUSD"),
    (AssetClass.CRYPTO, "1INCH-USD", "1INCH-USD", "X:1INCHUSD"),
    (AssetClass.FOREX, "EUR/USD", "EUR/USD", "C:EURUSD"),
    (AssetClass.INDICES, "I:SPX", "I:SPX", "I:SPX"),
    (AssetClass.FUTURES, "ESZ26", "ESZ26", "ESZ26"),
]


@pytest.mark.parametrize(("asset_class", "ours", "wire", "rest"), SPELLINGS)
def test_spellings(asset_class: AssetClass, ours: str, wire: str, rest: str) -> None:
    assert symbols.to_wire(asset_class, ours) == wire
    assert symbols.to_rest(asset_class, ours) == rest
    assert symbols.to_ours(asset_class, wire) == ours
    base, quote = ours.split("-") if asset_class is AssetClass.CRYPTO else (None, None)
    assert symbols.from_rest(asset_class, rest, base=base, quote=quote) == ours


def test_every_class_is_covered() -> None:
    assert {s[0] for s in SPELLINGS} == set(AssetClass)


code = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=10)


@given(base=code, quote=code)
def test_crypto_survives_rest_with_either_half(base: str, quote: str) -> None:
    ours = f"{base}-{quote}"
    rest = symbols.to_rest(AssetClass.CRYPTO, ours)
    assert symbols.from_rest(AssetClass.CRYPTO, rest, base=base) == ours
    assert symbols.from_rest(AssetClass.CRYPTO, rest, quote=quote) == ours


@pytest.mark.parametrize(
    ("asset_class", "rest", "base", "quote"),
    [
        (AssetClass.CRYPTO, "X:BTCUSD", None, None),
        (AssetClass.CRYPTO, "X:BTCUSD", "ETH", "USD"),
        (AssetClass.CRYPTO, "X:BTCUSD", "BTC", "EUR"),
        (AssetClass.CRYPTO, "X:BTCUSD", None, "BTCUSD"),
        (AssetClass.CRYPTO, "X:BTC", "BTC", None),
        (AssetClass.CRYPTO, "BTCUSD", "BTC", "USD"),
        (AssetClass.FOREX, "C:EUR", None, None),
        (AssetClass.INDICES, "SPX", None, None),
        (AssetClass.STOCKS, "", None, None),
    ],
)
def test_from_rest_refuses(asset_class: AssetClass, rest: str, base: str | None, quote: str | None) -> None:
    with pytest.raises(DataError, match="expected"):
        symbols.from_rest(asset_class, rest, base=base, quote=quote)


@pytest.mark.parametrize(
    ("asset_class", "ours"),
    [
        (AssetClass.CRYPTO, "BTCUSD"),
        (AssetClass.CRYPTO, "BTC-"),
        (AssetClass.FOREX, "EURUSD"),
        (AssetClass.OPTIONS, "SPY"),
        (AssetClass.STOCKS, "A,T.*"),
        (AssetClass.STOCKS, "A" * 65),
    ],
)
def test_a_symbol_of_another_class_is_refused(asset_class: AssetClass, ours: str) -> None:
    with pytest.raises(DataError, match="expected"):
        symbols.to_wire(asset_class, ours)
    with pytest.raises(DataError, match="expected"):
        symbols.to_rest(asset_class, ours)
