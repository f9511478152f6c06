"""Describe futures: contracts, products, sessions, and what a snapshot tells."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from features.market.types import NS_PER_S
from ray_apps.simulator import aggs
from ray_apps.simulator.lists import Row
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.rows import NOTHING, agg_rows, said
from ray_apps.simulator.seen import Seen
from ray_apps.simulator.sources import Bars, Source
from ray_apps.simulator.tickers import number_of
from ray_apps.simulator.ticks import Ticks

_CONTRACT = re.compile(r"(.+)([FGHJKMNQUVXZ])(\d\d)")
_MONTH_CODES = "FGHJKMNQUVXZ"
_VENUES = {"ES": "XCME", "NQ": "XCME", "RTY": "XCME", "6E": "XCME", "6J": "XCME", "LE": "XCME", "HE": "XCME",
           "CL": "XNYM", "NG": "XNYM", "RB": "XNYM", "HO": "XNYM", "PL": "XNYM",
           "GC": "XCEC", "SI": "XCEC", "HG": "XCEC"}  # fmt: skip
_OTHER_VENUE = "XCBT"
VENUES = {"XCME": "CME", "XCBT": "CBOT", "XNYM": "NYMEX", "XCEC": "COMEX"}
_EPOCH = date(1970, 1, 1)
_LISTED_DAYS = 460
"""A contract trades so long before it ends."""
_SESSION_S, _PRE_OPEN_S = 23 * 3_600, 900
_EVENTS = {"pre_open": -_PRE_OPEN_S, "open": 0, "close": _SESSION_S}
"""Seconds after a session's start."""


class FutureAgg(msgspec.Struct, gc=False, omit_defaults=True):
    """One aggregate: `window_start` in ns; only a session has a settlement."""

    ticker: str
    window_start: int
    session_end_date: str
    open: float
    high: float
    low: float
    close: float
    volume: float | msgspec.UnsetType
    dollar_volume: float | msgspec.UnsetType
    transactions: int | msgspec.UnsetType
    settlement_price: float | msgspec.UnsetType = NOTHING


def agg_rows_of(ticker: str, source: Source, bars: Bars, is_session: bool) -> list[FutureAgg]:
    """Give bars as futures' rows."""
    ends = [date_text(day) for day in aggs.day_numbers(source, bars.ts).tolist()]
    found = []
    for row, ts, end in zip(agg_rows(bars), bars.ts.tolist(), ends, strict=True):
        notional = NOTHING if row.v is NOTHING or row.vw is NOTHING else round(float(row.v) * float(row.vw), 2)
        settled = row.c if is_session else NOTHING
        found.append(FutureAgg(ticker, ts, end, row.o, row.h, row.l, row.c, row.v, notional, row.n, settled))
    return found


def date_text(day: int) -> str:
    """Give a day since 1970 as a date."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def contract_row(ticker: str, today: date) -> Row | None:
    """Give a contract's row, None where the name is none of a contract.

    >>> row = contract_row("ESZ26", date(2026, 9, 15))
    >>> row["product_code"], row["last_trade_date"], row["days_to_maturity"], row["active"]
    ('ES', '2026-12-18', 94, True)
    """
    found = _CONTRACT.fullmatch(ticker)
    if found is None:
        return None
    code, month, year = found[1], _MONTH_CODES.index(found[2]) + 1, 2000 + int(found[3])
    first = date(year, month, 1)
    # The third Friday.
    last = first + timedelta(days=(4 - first.weekday()) % 7 + 14)
    return {
        "ticker": ticker,
        "product_code": code,
        "trading_venue": venue_of(code),
        "name": f"{code} {first:%b %Y} (simulated)",
        "type": "single",
        "date": today.isoformat(),
        "active": today <= last,
        "first_trade_date": (last - timedelta(days=_LISTED_DAYS)).isoformat(),
        "last_trade_date": last.isoformat(),
        "settlement_date": last.isoformat(),
        "days_to_maturity": (last - today).days,
        "min_order_quantity": 1,
        "max_order_quantity": 3_000,
        "trade_tick_size": 0.25,
        "settlement_tick_size": 0.25,
        "spread_tick_size": 0.05,
    }


def venue_of(code: str) -> str:
    """Give where a product trades."""
    return _VENUES.get(code, _OTHER_VENUE)


def product_row(code: str, today: date) -> Row:
    """Give a product's row."""
    return {
        "product_code": code,
        "name": f"{code} futures (simulated)",
        "date": today.isoformat(),
        "trading_venue": venue_of(code),
        "type": "single",
        "asset_class": "unknown",
        "sector": "unknown",
        "settlement_currency_code": "USD",
        "trade_currency_code": "USD",
        "settlement_method": "financially_settled",
        "last_updated": "2026-01-01",
    }


def schedule_row(source: Source, product: Row, day: int) -> Row:
    """Give a product's session that ends on a day: 17:00 to 16:00 in Chicago."""
    start_s = aggs.day_start(source, day) // NS_PER_S
    return {
        "session_end_date": date_text(day),
        "product_code": product["product_code"],
        "product_name": product["name"],
        "trading_venue": product["trading_venue"],
        "schedule": [
            {"event": event, "timestamp": datetime.fromtimestamp(start_s + after, UTC).isoformat()}
            for event, after in _EVENTS.items()
        ],
    }


def trade_rows(source: Source, ticks: Ticks) -> list[Row]:
    """Give trades as futures' rows, times in ns."""
    columns = (ticks.ts, ticks.price, ticks.size, ticks.sequence)
    return [
        {"timestamp": ts, "session_end_date": end, "price": price, "size": size, "sequence_number": q}
        for ts, price, size, q, end in zip(*(c.tolist() for c in columns), _ends(source, ticks), strict=True)
    ]


def quote_rows(source: Source, ticks: Ticks) -> list[Row]:
    """Give quotes as futures' rows, times in ns."""
    columns = (ticks.quote_ts, ticks.bid, ticks.bid_size, ticks.ask, ticks.ask_size)
    rows: list[Row] = []
    for ts, bid, bid_size, ask, ask_size, end in zip(*(c.tolist() for c in columns), _ends(source, ticks), strict=True):
        row: Row = {"timestamp": ts, "session_end_date": end, "bid_price": bid, "bid_size": bid_size}
        row |= {"bid_timestamp": ts, "ask_price": ask, "ask_size": ask_size, "ask_timestamp": ts}
        rows.append(row)
    return rows


def _ends(source: Source, ticks: Ticks) -> list[str]:
    return [date_text(day) for day in aggs.day_numbers(source, ticks.ts).tolist()]


def snapshot_parts(source: Source, seen: Seen, plan: Plan, contract: Row) -> dict[str, Any]:
    """Give what a snapshot of a contract tells besides its names."""
    timeframe = "DELAYED" if plan.rest_delay_s else "REAL-TIME"
    day, minute, previous = seen.day, seen.minute, seen.previous
    settled = int(datetime.fromisoformat(contract["settlement_date"]).replace(tzinfo=UTC).timestamp()) * NS_PER_S
    session = {"change": seen.change, "change_percent": seen.change_percent, "open": day.o, "high": day.h}
    session |= {"low": day.l, "close": day.c} | said(volume=day.v)
    session |= {} if previous is None else {"previous_settlement": previous.c}
    newest = {"open": minute.o, "high": minute.h, "low": minute.l, "close": minute.c} | said(volume=minute.v)
    found: dict[str, Any] = {
        "details": {"open_interest": number_of(contract["ticker"]) % 100_000, "settlement_date": settled},
        "session": session,
        "last_minute": newest | {"last_updated": minute.t, "timeframe": timeframe},
    }
    if seen.tick is not None and "T" in plan.topics:
        (trade,), (quote,) = trade_rows(source, seen.tick), quote_rows(source, seen.tick)
        told = {"timeframe": timeframe, "last_updated": trade["timestamp"]}
        found["last_trade"] = told | {"price": trade["price"], "size": trade["size"]}
        sides = {f"{side}{what}": quote[f"{side}_{name}"] for side in ("bid", "ask")
                 for what, name in (("", "price"), ("_size", "size"), ("_timestamp", "timestamp"))}  # fmt: skip
        found["last_quote"] = told | sides
    return found
