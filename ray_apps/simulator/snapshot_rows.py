"""Write snapshots as the vendor's rows, of the older and the newer endpoints."""

from typing import Any

from features.market.types import NS_PER_MS, AssetClass
from ray_apps.simulator.lists import Row
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.rows import NOTHING, AggRow, said
from ray_apps.simulator.seen import Seen
from ray_apps.simulator.tickers import contract_row, number_of
from ray_apps.simulator.trades import QUOTES, TRADES, Kind, quote_rows, trade_rows

_NAMES = {AssetClass.FOREX: "fx"}
_MINUTE_S = 60


def old_row(asset_class: AssetClass, ticker: str, seen: Seen, plan: Plan) -> Row:
    """Give a row of /v2/snapshot; trades and quotes only where the plan has them."""
    day, minute = seen.day, seen.minute
    row: Row = {
        "ticker": ticker,
        "todaysChange": seen.change,
        "todaysChangePerc": seen.change_percent,
        "updated": seen.updated_ns(_MINUTE_S),
        "day": _bar(asset_class, day),
        "min": {"t": minute.t, **said(n=minute.n, av=day.v), **_bar(asset_class, minute)},
    }
    if asset_class is AssetClass.STOCKS:
        row["min"]["dav"] = repr(day.v)
    if seen.previous is not None:
        row["prevDay"] = _bar(asset_class, seen.previous)
    if seen.tick is not None and may(plan, TRADES, asset_class):
        (trade,) = trade_rows(asset_class, seen.tick)
        told = {"p": trade["price"], "s": trade["size"], "t": trade["participant_timestamp"], "x": trade["exchange"]}
        row["lastTrade"] = told | {"i": trade["id"], "c": trade.get("conditions", [])}
        if asset_class is AssetClass.STOCKS:
            row["lastTrade"]["ds"] = repr(trade["size"])
    if seen.tick is not None and may(plan, QUOTES, asset_class):
        (quote,) = quote_rows(asset_class, seen.tick)
        row["lastQuote"] = _old_quote(asset_class, quote)
    if "FMV" in plan.topics and seen.tick is not None:
        row["fmv"] = round(float(seen.tick.bid[0] + seen.tick.ask[0]) / 2, 10)
    return row


def may(plan: Plan, kind: Kind, asset_class: AssetClass) -> bool:
    """Say whether a plan has trades or quotes of a class."""
    return kind.topic_of.get(asset_class) in plan.topics


def _bar(asset_class: AssetClass, bar: AggRow) -> dict[str, Any]:
    found = said(o=bar.o, h=bar.h, l=bar.l, c=bar.c, v=bar.v, vw=bar.vw)
    return found | {"dv": repr(bar.v)} if asset_class is AssetClass.STOCKS else found


def _old_quote(asset_class: AssetClass, quote: Row) -> dict[str, Any]:
    """Give a quote: small letters are the bid, large ones the ask; of a pair `b` and `a`."""
    bid, ask, t = quote["bid_price"], quote["ask_price"], quote["participant_timestamp"]
    if asset_class is AssetClass.FOREX:
        return {"a": ask, "b": bid, "t": t // NS_PER_MS, "x": quote["bid_exchange"]}
    return {"p": bid, "s": quote["bid_size"], "P": ask, "S": quote["ask_size"], "t": t}


def new_row(asset_class: AssetClass, ticker: str, name: str, seen: Seen, plan: Plan, market_status: str) -> Row:
    """Give a row of /v3/snapshot."""
    timeframe = "DELAYED" if plan.rest_delay_s else "REAL-TIME"
    row: Row = {
        "ticker": ticker,
        "name": f"{name} (simulated)",
        "type": _NAMES.get(asset_class, str(asset_class)),
        "market_status": market_status,
        "timeframe": timeframe,
        "last_updated": seen.updated_ns(_MINUTE_S),
        "session": _session(seen),
    }
    if asset_class is AssetClass.INDICES:
        return row | {"value": seen.price}
    row["last_minute"] = _minute(seen.minute)
    if seen.tick is not None and may(plan, TRADES, asset_class):
        (trade,) = trade_rows(asset_class, seen.tick)
        row["last_trade"] = trade | {"last_updated": trade["participant_timestamp"], "timeframe": timeframe}
    if seen.tick is not None and may(plan, QUOTES, asset_class):
        (quote,) = quote_rows(asset_class, seen.tick)
        row["last_quote"] = _new_quote(quote, timeframe)
    if asset_class is AssetClass.OPTIONS:
        row |= _terms(ticker, seen, timeframe)
    return row


def failed_row(ticker: str, code: str, message: str) -> Row:
    """Give the row of a ticker that cannot be told."""
    return {"ticker": ticker, "error": code, "message": message}


def _session(seen: Seen) -> dict[str, Any]:
    day = seen.day
    return said(
        price=seen.price,
        change=seen.change,
        change_percent=seen.change_percent,
        open=day.o,
        close=day.c,
        high=day.h,
        low=day.l,
        volume=day.v,
        previous_close=NOTHING if seen.previous is None else seen.previous.c,
    )


def _minute(bar: AggRow) -> dict[str, Any]:
    found = said(open=bar.o, high=bar.h, low=bar.l, close=bar.c, volume=bar.v, vwap=bar.vw, transactions=bar.n)
    return found | {"last_updated": bar.t * NS_PER_MS}


def _new_quote(quote: Row, timeframe: str) -> dict[str, Any]:
    bid, ask = quote["bid_price"], quote["ask_price"]
    found: dict[str, Any] = {"bid": bid, "ask": ask, "midpoint": round((bid + ask) / 2, 10), "timeframe": timeframe}
    if "bid_size" in quote:
        found |= {"bid_size": quote["bid_size"], "ask_size": quote["ask_size"]}
    return found | {"last_updated": quote["participant_timestamp"]}


def _terms(ticker: str, seen: Seen, timeframe: str) -> dict[str, Any]:
    """Give what an option's snapshot says besides its prices."""
    terms = contract_row(ticker)
    if terms is None:
        return {}
    names = ("contract_type", "exercise_style", "expiration_date", "shares_per_contract", "strike_price")
    side = 1 if terms["contract_type"] == "call" else -1
    return {
        "details": {name: terms[name] for name in names},
        "underlying_asset": {"ticker": terms["underlying_ticker"], "timeframe": timeframe},
        "break_even_price": round(terms["strike_price"] + side * seen.price, 4),
        "open_interest": number_of(ticker) % 10_000,
    }
