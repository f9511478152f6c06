"""Answer REST's calls for futures: bars, contracts, products, schedules, snapshots, trades and quotes."""

import re
from datetime import date, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from features.synthetic.hours import is_regular
from ray_apps.simulator import aggs
from ray_apps.simulator import futures_rows as rows_of
from ray_apps.simulator.clock import clamp
from ray_apps.simulator.gate import NO_TICKER, NOT_ENTITLED, NOT_THIS_TIME, error, reply
from ray_apps.simulator.lists import Listing, Row, cursor, limit_of, options_of, page, range_of
from ray_apps.simulator.seen import see
from ray_apps.simulator.sources import DAY_NS, Source
from ray_apps.simulator.ticks import Ticks
from ray_apps.simulator.trades import QUOTES, TRADES, Kind, give
from ray_apps.simulator.vendor import Routes, Vendor

_CLASS = AssetClass.FUTURES
_PREFIXES = ("/futures/v1", "/futures/vX")
"""The vendor's paths, and those of the client of before."""
_UNITS = {"sec": "second", "min": "minute", "hour": "hour", "session": "day", "day": "day", "week": "week",
          "month": "month", "quarter": "quarter", "year": "year"}  # fmt: skip
_AGGS_USUAL, _AGGS_MOST = 1_000, 50_000
_UNBOUNDED_DAYS = {"second": 1, "minute": 7, "hour": 30}
_UNBOUNDED_LONG_DAYS = 366
"""How far back a question without a beginning looks."""
_CHICAGO_EARLY_NS = 7 * 3_600 * NS_PER_S
"""From a session's start, 17:00 in Chicago, to the midnight there that its date begins with."""
_SCHEDULE_DAYS = 14
_YEAR_NS = 366 * DAY_NS
_EPOCH = date(1970, 1, 1)


class Futures:
    """The calls that know futures; their days are sessions, named by the date they end on."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def routes(self) -> Routes:
        """Give the paths and who answers them."""
        paths: Routes = [
            ("/aggs/{ticker}", self._aggs),
            ("/contracts", self._list_contracts),
            ("/contracts/{ticker}", self._contract),
            ("/products", self._list_products),
            ("/products/{code}", self._product),
            ("/products/{code}/schedules", self._schedules),
            ("/schedules", self._schedules),
            ("/market-status", self._market_status),
            ("/exchanges", self._exchanges),
            ("/snapshot", self._snapshot),
            ("/trades/{ticker}", self._trades),
            ("/quotes/{ticker}", self._quotes),
        ]
        return [(prefix + path, handler) for prefix in _PREFIXES for path, handler in paths]

    async def _aggs(self, request: Request) -> Response:
        plan = self._vendor.enter(request, _CLASS)
        ticker = request.path_params["ticker"]
        found = self._vendor.find(ticker)
        options = options_of(dict(request.query_params))
        body: dict[str, Any] = self._vendor.envelope(plan) | {"results": []}
        if found.source is None or found.row is None or found.asset_class is not _CLASS:
            return reply(body)
        source = self._vendor.view(found.source)
        known = self._vendor.known_ns(plan, source)
        query = _query(options, source, found.row, known)
        if query.from_ns < self._vendor.clock.now() - plan.history_years * _YEAR_NS:
            raise error(403, NOT_THIS_TIME)
        if query.from_ns <= query.to_ns:
            read = await aggs.read(source, query, known)
            body["results"] = rows_of.agg_rows_of(ticker, source, read.bars, query.timespan == "day")
            if read.has_more and len(read.bars):
                marks = (options.get("page_marker", ""), str(int(read.bars.ts[-1])))
                same, following = (f"{request.url.path}?cursor={cursor(options, mark)}" for mark in marks)
                body["next_url"] = self._vendor.next_url(same, following)
        return reply(body)

    async def _list_contracts(self, request: Request) -> Response:
        return self._list(request, self._all_contracts(), 100, 1_000)

    async def _contract(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        return self._one(request, [row for row in self._all_contracts() if row["ticker"] == ticker])

    def _all_contracts(self) -> list[Row]:
        made = (rows_of.contract_row(name, self._today()) for name in self._vendor.tickers(_CLASS))
        return [row for row in made if row is not None]

    async def _list_products(self, request: Request) -> Response:
        return self._list(request, self._all_products(), 100, 1_000, "product_code")

    async def _product(self, request: Request) -> Response:
        code = request.path_params["code"]
        return self._one(request, [row for row in self._all_products() if row["product_code"] == code])

    def _all_products(self) -> list[Row]:
        codes = dict.fromkeys(row["product_code"] for row in self._all_contracts())
        return [rows_of.product_row(code, self._today()) for code in codes]

    async def _schedules(self, request: Request) -> Response:
        source, code = self._vendor.sources.get(_CLASS), request.path_params.get("code")
        rows: list[Row] = []
        if source is not None:
            today = aggs.day_number(source, self._vendor.clock.now())
            # A session is where its middle trades: not on Saturdays and Sundays.
            days = range(today - _SCHEDULE_DAYS, today + _SCHEDULE_DAYS)
            days_open = [day for day in days if is_regular(_CLASS, aggs.day_start(source, day) + DAY_NS // 2)]
            products = [row for row in self._all_products() if code in (None, row["product_code"])]
            rows = [rows_of.schedule_row(source, row, day) for row in products for day in days_open]
        return self._list(request, rows, 100, 1_000, "session_end_date")

    async def _market_status(self, request: Request) -> Response:
        state = "open" if is_regular(_CLASS, self._vendor.clock.now()) else "close"
        rows = [
            {"product_code": row["product_code"], "trading_venue": row["trading_venue"], "market_status": state}
            for row in self._all_products()
        ]
        return self._list(request, rows, 10, 100, "product_code")

    async def _exchanges(self, request: Request) -> Response:
        rows = [{"id": name, "type": "exchange", "mic": mic, "name": name} for mic, name in rows_of.VENUES.items()]
        return self._list(request, rows, 100, 1_000, "mic")

    async def _snapshot(self, request: Request) -> Response:
        plan = self._vendor.enter(request, _CLASS)
        if plan.rest_delay_s is None:
            raise error(403, NOT_ENTITLED)
        contracts = {row["ticker"]: row for row in self._all_contracts()}
        named = [{"ticker": name, "product_code": row["product_code"]} for name, row in contracts.items()]
        listing = Listing(request.url.path, 100, 1_000)
        found = page(named, options_of(dict(request.query_params)), listing, self._vendor.next_url)
        rows = []
        for row in found["results"]:
            there = self._vendor.find(row["ticker"])
            assert there.source is not None
            assert there.row is not None
            known = self._vendor.known_ns(plan, there.source)
            seen = await see(there.source, there.row, known, self._vendor.clock.now())
            if seen is not None:
                rows.append(row | rows_of.snapshot_parts(there.source, seen, plan, contracts[row["ticker"]]))
        return reply(self._vendor.envelope(plan) | found | {"results": rows})

    async def _trades(self, request: Request) -> Response:
        return await self._ticks(request, TRADES)

    async def _quotes(self, request: Request) -> Response:
        return await self._ticks(request, QUOTES)

    async def _ticks(self, request: Request, kind: Kind) -> Response:
        plan = self._vendor.enter(request, _CLASS)
        found = self._vendor.find(request.path_params["ticker"])
        source = found.source
        if source is None or found.asset_class is not _CLASS:
            raise error(404, NO_TICKER)

        def write(_: AssetClass, ticks: Ticks) -> list[Row]:
            return (rows_of.quote_rows if kind.is_quote else rows_of.trade_rows)(source, ticks)

        return await give(self._vendor, request, found, plan, Kind(kind.is_quote, kind.topic_of, write))

    def _today(self) -> date:
        source, now = self._vendor.sources.get(_CLASS), self._vendor.clock.now()
        day = now // DAY_NS if source is None else aggs.day_number(source, now)
        return _EPOCH + timedelta(days=day)

    def _list(self, request: Request, rows: list[Row], usual: int, most: int, sort: str = "ticker") -> Response:
        plan = self._vendor.enter(request, _CLASS)
        listing = Listing(request.url.path, usual, most, sort)
        found = page(rows, options_of(dict(request.query_params)), listing, self._vendor.next_url)
        return reply(self._vendor.envelope(plan) | found)

    def _one(self, request: Request, rows: list[Row]) -> Response:
        plan = self._vendor.enter(request, _CLASS)
        if not rows:
            raise error(404, NO_TICKER)
        return reply(self._vendor.envelope(plan) | {"results": rows[0]})


def _query(options: dict[str, str], source: Source, row: int, known_ns: int) -> aggs.Query:
    """Read which windows are asked for; newest first unless told."""
    multiplier, timespan = _resolution(options.get("resolution", "1session"))
    start, end = range_of(options, "window_start", known_ns, lambda text: _time(text, source))
    if start is None:
        start = end - _UNBOUNDED_DAYS.get(timespan, _UNBOUNDED_LONG_DAYS) * DAY_NS
    is_ascending = options.get("sort", "").endswith(".asc")
    if options.get("page_marker", "").isdigit():
        last_ns = int(options["page_marker"])
        if is_ascending:
            start = aggs.next_window(source, last_ns, multiplier, timespan)
        else:
            end = last_ns - NS_PER_MS
    # A window counts by its start: the one that begins before does not.
    first_ns = aggs.window_start(source, start, multiplier, timespan)
    start = start if first_ns == start else aggs.next_window(source, first_ns, multiplier, timespan)
    return aggs.Query(row, multiplier, timespan, start, end, is_ascending, limit_of(options, _AGGS_USUAL, _AGGS_MOST))


def _resolution(text: str) -> tuple[int, str]:
    """Read the size of a window.

    >>> _resolution("1min"), _resolution("1session")
    ((1, 'minute'), (1, 'day'))
    """
    found = re.fullmatch(r"([1-9]\d{0,2})([a-z]+)", text)
    if found is None or found[2] not in _UNITS:
        raise aggs.BadRequest(f"Invalid resolution: '{text}'")
    return int(found[1]), _UNITS[found[2]]


def _time(text: str, source: Source) -> tuple[int, int]:
    """Give the first and the last ns a text names: those of a date in Chicago, or one."""
    if re.fullmatch(r"\d{1,19}", text):
        return clamp(int(text)), clamp(int(text))
    first, last = (aggs.parse_time(text, "window_start", source, is_end=is_end) for is_end in (False, True))
    return first + _CHICAGO_EARLY_NS, last + _CHICAGO_EARLY_NS
