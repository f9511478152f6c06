"""Describe instruments: rows of tickers, and what the name of an option contract says."""

import re
import zlib
from typing import Any

from features.market.types import AssetClass
from ray_apps.simulator.spelling import to_rest

_MARKETS = {AssetClass.FOREX: "fx"}
_OCC = re.compile(r"O:([A-Z]+)(\d\d)(\d\d)(\d\d)([CP])(\d{8})")
LISTED = (AssetClass.STOCKS, AssetClass.CRYPTO, AssetClass.FOREX, AssetClass.INDICES)
"""Classes the tickers' list has; contracts have lists of their own."""
EXCHANGES = ("XNAS", "XNYS", "ARCX")


def number_of(name: str) -> int:
    """Give a number that stands for a name, the same in any process."""
    return zlib.crc32(name.encode())


def ticker_row(asset_class: AssetClass, name: str) -> dict[str, Any]:
    """Give one row of the tickers' list."""
    row: dict[str, Any] = {
        "ticker": to_rest(asset_class, name),
        "name": f"{name} (simulated)",
        "market": _MARKETS.get(asset_class, str(asset_class)),
        "locale": "us" if asset_class.has_sessions else "global",
        "active": True,
        "last_updated_utc": "2026-01-01T00:00:00Z",
    }
    if asset_class in (AssetClass.CRYPTO, AssetClass.FOREX):
        base, quote = name.replace("/", "-").split("-")
        row |= {"base_currency_symbol": base, "base_currency_name": base}
        row |= {"currency_symbol": quote, "currency_name": quote}
    elif asset_class is AssetClass.INDICES:
        row |= {"source_feed": "Simulated"}
    else:
        number = number_of(name)
        row |= {"primary_exchange": EXCHANGES[number % len(EXCHANGES)], "type": "CS", "currency_name": "usd"}
        row |= {"cik": f"{number:010d}", "composite_figi": f"BBG{number:09X}", "share_class_figi": f"BBS{number:09X}"}
    return row


def details(asset_class: AssetClass, name: str) -> dict[str, Any]:
    """Give what the vendor tells of one ticker."""
    row = ticker_row(asset_class, name)
    if asset_class is AssetClass.STOCKS:
        shares = 10_000_000 + number_of(name)
        root, _, suffix = name.partition(".")
        row |= {"list_date": "2000-01-03", "round_lot": 100, "share_class_shares_outstanding": shares}
        row |= {"weighted_shares_outstanding": shares, "ticker_root": root}
        row |= {"ticker_suffix": suffix} if suffix else {}
    return row


def contract_row(ticker: str) -> dict[str, Any] | None:
    """Give an option contract's row, None where the name is none of a contract.

    >>> row = contract_row("O:SPY261218C00650000")
    >>> row["underlying_ticker"], row["contract_type"], row["expiration_date"], row["strike_price"]
    ('SPY', 'call', '2026-12-18', 650.0)
    """
    found = _OCC.fullmatch(ticker)
    if found is None:
        return None
    root, year, month, day, side, strike = found.groups()
    return {
        "cfi": "OCASPS" if side == "C" else "OPASPS",
        "contract_type": "call" if side == "C" else "put",
        "exercise_style": "american",
        "expiration_date": f"20{year}-{month}-{day}",
        "primary_exchange": "BATO",
        "shares_per_contract": 100,
        "strike_price": int(strike) / 1_000,
        "ticker": ticker,
        "underlying_ticker": root,
    }
