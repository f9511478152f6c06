"""Give reference data: tickers, whether markets are open, and the holidays to come."""

import base64
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec

from features.market.calendar import ny_offset, ny_seconds
from features.market.symbols import to_rest
from features.market.types import NS_PER_S, AssetClass
from features.synthetic.holidays import is_half_day, is_holiday
from features.synthetic.hours import is_regular, weekday
from ray_apps.simulator.aggs import BadRequest
from ray_apps.simulator.gate import request_id
from ray_apps.simulator.sources import Source

_EPOCH = date(1970, 1, 1)
_MAX_TICKERS, _TICKERS = 1_000, 100
_MARKETS = {AssetClass.FOREX: "fx"}
_UPCOMING_DAYS = 365
_EXCHANGES = ("NYSE", "NASDAQ")


def market_status(now_ns: int) -> dict[str, Any]:
    """Say what is open."""
    day, second = ny_seconds(now_ns)
    is_open = is_regular(AssetClass.STOCKS, now_ns)
    is_session_day = weekday(day) < 5 and not is_holiday(day)
    is_early = is_session_day and 4 * 3_600 <= second < 9.5 * 3_600
    is_late = is_session_day and not is_open and 13 * 3_600 <= second < 20 * 3_600
    market = "open" if is_open else "extended-hours" if is_early or is_late else "closed"
    zone = timezone(timedelta(seconds=ny_offset(now_ns)))
    indices = "open" if is_open else "closed"
    fx = "open" if is_regular(AssetClass.FOREX, now_ns) else "closed"
    return {
        "market": market,
        "earlyHours": is_early,
        "afterHours": is_late,
        "serverTime": datetime.fromtimestamp(now_ns // NS_PER_S, zone).isoformat(),
        "exchanges": {"nyse": market, "nasdaq": market, "otc": market if is_open else "closed"},
        "currencies": {"crypto": "open", "fx": fx},
        "indicesGroups": {"s_and_p": indices, "nasdaq": indices, "dow_jones": indices},
    }


def upcoming(now_ns: int) -> list[dict[str, str]]:
    """Give the holidays and half days of a year, one row per exchange."""
    today, _ = ny_seconds(now_ns)
    rows = []
    for day in range(today, today + _UPCOMING_DAYS):
        if weekday(day) >= 5 or not (is_holiday(day) or is_half_day(day)):
            continue
        text = (_EPOCH + timedelta(days=day)).isoformat()
        found = {"date": text, "name": "Holiday", "status": "closed"}
        if is_half_day(day):
            found |= {"status": "early-close", "open": _at(day, 570), "close": _at(day, 780)}
        rows += [{"exchange": exchange, **found} for exchange in _EXCHANGES]
    return rows


def _at(day: int, minute: int) -> str:
    noon_ns = (day * 86_400 + 17 * 3_600) * NS_PER_S
    seconds = day * 86_400 + minute * 60 - ny_offset(noon_ns)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


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
        row |= {"base_currency_symbol": base, "currency_symbol": quote, "currency_name": quote}
    else:
        row |= {"primary_exchange": "XNAS", "type": "CS", "currency_name": "usd"}
    return row


def tickers(sources: list[Source], options: dict[str, str], url: str) -> dict[str, Any]:
    """Give a page of tickers, in alphabetical order; options are not listed by this call."""
    limit = options.get("limit", str(_TICKERS))
    if not limit.isdigit() or not 1 <= int(limit) <= _MAX_TICKERS:
        raise BadRequest(f"The parameter 'limit' must be between 1 and {_MAX_TICKERS}")
    found = {
        to_rest(s.asset_class, name): (s.asset_class, name)
        for s in sources
        if s.asset_class is not AssetClass.OPTIONS
        for name in s.symbols
    }
    names = sorted(found, reverse=options.get("order") == "desc")
    names = [name for name in names if _wanted(name, options)]
    after = options.get("page_marker")
    first = names.index(after) + 1 if after in names else 0
    page = names[first : first + int(limit)]
    rows = [ticker_row(*found[name]) for name in page]
    body: dict[str, Any] = {"status": "OK", "request_id": request_id(), "count": len(rows), "results": rows}
    if first + len(page) < len(names):
        cursor = msgspec.json.encode({**options, "page_marker": page[-1]})
        body["next_url"] = f"{url}/v3/reference/tickers?cursor={base64.urlsafe_b64encode(cursor).decode().rstrip('=')}"
    return body


def _wanted(name: str, options: dict[str, str]) -> bool:
    compared = {
        "ticker": name == options.get("ticker", name),
        "ticker.gte": name >= options.get("ticker.gte", name),
        "ticker.gt": "ticker.gt" not in options or name > options["ticker.gt"],
        "ticker.lte": name <= options.get("ticker.lte", name),
        "ticker.lt": "ticker.lt" not in options or name < options["ticker.lt"],
        "search": options.get("search", "").upper() in name,
        "active": options.get("active", "true") != "false",
    }
    return all(compared.values())


def options_of(given: dict[str, str]) -> dict[str, str]:
    """Give what a call asks for: a cursor holds the whole of its first page's question."""
    if "cursor" not in given:
        return given
    text = given["cursor"]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=dict[str, str])
    except ValueError:
        raise BadRequest("Could not parse the 'cursor' parameter") from None
