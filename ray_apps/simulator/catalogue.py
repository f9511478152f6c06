"""List what rarely changes: conditions, exchanges and types of tickers. A choice of the vendor's rows."""

from typing import Any

# Id, name, SIP letters (CTA, UTP), and whether it updates high and low, open and close, volume.
_STOCK_TRADES: tuple[tuple[int, str, str, str, bool, bool, bool], ...] = (
    (0, "Regular Sale", "@", "@", True, True, True),
    (2, "Average Price Trade", "B", "W", False, False, True),
    (7, "Cash Sale", "C", "C", False, False, True),
    (10, "Derivatively Priced", "4", "4", True, False, True),
    (12, "Form T/Extended Hours", "T", "T", False, False, True),
    (14, "Intermarket Sweep", "F", "F", True, True, True),
    (15, "Market Center Official Close", "M", "M", False, False, False),
    (16, "Market Center Official Open", "Q", "Q", False, False, False),
    (20, "Next Day", "N", "N", False, False, True),
    (22, "Prior Reference Price", "P", "P", True, False, True),
    (37, "Odd Lot Trade", "I", "I", False, False, True),
    (38, "Corrected Consolidated Close", "9", "9", True, True, False),
    (41, "Trade Thru Exempt", "X", "X", True, True, True),
    (52, "Contingent Trade", "V", "V", False, False, True),
)
_OTHERS: tuple[tuple[int, str, str, str], ...] = (
    (0, "Unknown", "crypto", "trade"),
    (1, "Sell Side", "crypto", "trade"),
    (2, "Buy Side", "crypto", "trade"),
    (209, "Automatic Execution", "options", "trade"),
    (1, "Regular, Two-Sided Open", "stocks", "bbo"),
    (604, "NBBO Executable", "stocks", "nbbo"),
)
_TYPES = (
    ("CS", "Common Stock"),
    ("ADRC", "American Depository Receipt Common"),
    ("ETF", "Exchange Traded Fund"),
    ("PFD", "Preferred Stock"),
    ("WARRANT", "Warrant"),
    ("UNIT", "Unit"),
)
# Id, name, MIC, operating MIC, participant, type.
_EXCHANGES: tuple[tuple[int, str, str, str, str, str], ...] = (
    (1, "NYSE American, LLC", "XASE", "XNYS", "A", "exchange"),
    (4, "FINRA Alternative Display Facility", "XADF", "FINR", "D", "TRF"),
    (8, "Cboe EDGA", "EDGA", "XCBO", "J", "exchange"),
    (10, "New York Stock Exchange", "XNYS", "XNYS", "N", "exchange"),
    (11, "NYSE Arca, Inc.", "ARCX", "XNYS", "P", "exchange"),
    (12, "Nasdaq", "XNAS", "XNAS", "T", "exchange"),
    (15, "Investors Exchange", "IEXG", "IEXG", "V", "exchange"),
    (19, "Cboe BZX", "BATS", "XCBO", "Z", "exchange"),
)
STOCK_EXCHANGES = (8, 10, 11, 12, 15, 19)
"""Where the simulated stocks print, besides the trade reporting facility."""
TRF_EXCHANGE = 4


def conditions() -> list[dict[str, Any]]:
    """Give the conditions of trades and quotes."""
    rows = []
    for identity, name, cta, utp, high_low, open_close, volume in _STOCK_TRADES:
        rules = {"updates_high_low": high_low, "updates_open_close": open_close, "updates_volume": volume}
        rows.append(
            {
                "id": identity,
                "type": "sale_condition",
                "name": name,
                "asset_class": "stocks",
                "data_types": ["trade"],
                "sip_mapping": {"CTA": cta, "UTP": utp},
                "update_rules": {"consolidated": rules, "market_center": rules},
            }
        )
    for identity, name, asset_class, data_type in _OTHERS:
        kind = "sale_condition" if data_type == "trade" else "quote_condition"
        row = {"id": identity, "type": kind, "name": name, "asset_class": asset_class}
        rows.append(row | {"data_types": [data_type], "sip_mapping": {}})
    return rows


def exchanges() -> list[dict[str, Any]]:
    """Give the exchanges."""
    rows = [
        {
            "id": identity,
            "type": kind,
            "asset_class": "stocks",
            "locale": "us",
            "name": name,
            "mic": mic,
            "operating_mic": operating,
            "participant_id": participant,
        }
        for identity, name, mic, operating, participant, kind in _EXCHANGES
    ]
    rows.append({"id": 1, "type": "exchange", "asset_class": "crypto", "locale": "global", "name": "Coinbase"})
    rows.append({"id": 48, "type": "exchange", "asset_class": "fx", "locale": "global", "name": "Currency Banks 1"})
    rows.append(
        {"id": 302, "type": "exchange", "asset_class": "options", "locale": "us", "name": "Cboe", "mic": "XCBO"}
    )
    return rows


def types() -> list[dict[str, str]]:
    """Give the types of tickers."""
    stocks = [{"code": c, "description": text, "asset_class": "stocks", "locale": "us"} for c, text in _TYPES]
    return [*stocks, {"code": "I", "description": "Index", "asset_class": "indices", "locale": "us"}]
