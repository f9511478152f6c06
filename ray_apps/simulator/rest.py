"""Answer the vendor's REST calls: history, days, market status and reference data."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from features.market.symbols import to_rest
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.simulator import aggs, reference
from ray_apps.simulator.clock import Clock
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.gate import NO_TICKER, NOT_THIS_TIME, Gate, Refusal, error, reply, request_id
from ray_apps.simulator.market_day import market_day
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.sources import DAY_NS, Bars, Source

_FOREIGN = "http://127.0.0.2:9"
_MARKETS = {"stocks": AssetClass.STOCKS, "crypto": AssetClass.CRYPTO, "fx": AssetClass.FOREX}
_PREFIXES = {
    "X:": AssetClass.CRYPTO,
    "C:": AssetClass.FOREX,
    "I:": AssetClass.INDICES,
    "O:": AssetClass.OPTIONS,
}
_YEAR_NS = 366 * DAY_NS
Handler = Callable[[Request], Awaitable[Response]]


class Rest:
    """The REST side of a simulator."""

    def __init__(self, clock: Clock, sources: dict[AssetClass, Source], faults: Callable[[], Faults]) -> None:
        self._clock, self._sources, self._faults, self._gate = clock, sources, faults, Gate()
        self.url = ""
        """Where it listens, for `next_url`."""
        self._rows = {
            c: {to_rest(c, name): row for row, name in enumerate(source.symbols)} for c, source in sources.items()
        }

    def app(self, more: list[BaseRoute]) -> Starlette:
        """Give the application, with further routes."""
        ticker = "{ticker:path}"
        paths: list[tuple[str, Handler]] = [
            (f"/v2/aggs/ticker/{ticker}/range/{{multiplier}}/{{timespan}}/{{start}}/{{end}}", self._aggs),
            (f"/v2/aggs/ticker/{ticker}/prev", self._previous),
            ("/v2/aggs/grouped/locale/{locale}/market/{market}/{date}", self._grouped),
            (f"/v1/open-close/{ticker}/{{date}}", self._open_close),
            ("/v1/marketstatus/now", self._status),
            ("/v1/marketstatus/upcoming", self._upcoming),
            ("/v3/reference/tickers", self._tickers),
            ("/v3/reference/splits", self._nothing),
            ("/v3/reference/dividends", self._nothing),
            (f"/v3/reference/tickers/{ticker}", self._ticker),
        ]
        handlers = [Route(path, self._guard(handler)) for path, handler in paths]
        # The lightest compression: it is for clients that insist, not to save bytes on loopback.
        gzip = Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=1)
        routes = [*more, *handlers]
        return Starlette(routes=routes, middleware=[gzip], exception_handlers={404: _unknown_route})

    def _guard(self, handler: Handler) -> Handler:
        """Turn refusals into responses and do what the faults say."""

        async def guarded(request: Request) -> Response:
            faults = self._faults()
            if faults.rest_latency_s:
                await asyncio.sleep(faults.rest_latency_s)
            try:
                response = await handler(request)
            except Refusal as e:
                return e.response
            except aggs.BadRequest as e:
                return error(400, str(e)).response
            if faults.rest_truncate:
                response = Response(bytes(response.body)[: len(response.body) // 2], 200)
            return response

        return guarded

    def _find(self, ticker: str) -> tuple[AssetClass, Source | None, int | None]:
        """Give the class of a ticker by its spelling, and its source and row where there are any."""
        asset_class = _PREFIXES.get(ticker[:2])
        if asset_class is None:
            futures = self._rows.get(AssetClass.FUTURES, {})
            asset_class = AssetClass.FUTURES if ticker in futures else AssetClass.STOCKS
        return asset_class, self._sources.get(asset_class), self._rows.get(asset_class, {}).get(ticker)

    def _known_ns(self, found: Plan, source: Source) -> int:
        """Give the end of the newest bar a plan may see."""
        now = self._clock.now()
        if found.rest_delay_s is None:
            return aggs.today_start(source, now)
        return now - found.rest_delay_s * NS_PER_S

    def _status_word(self, found: Plan) -> str:
        return "DELAYED" if found.rest_delay_s and self._faults().rest_delayed_status else "OK"

    async def _aggs(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        asset_class, source, row = self._find(ticker)
        found = self._gate.enter(request, asset_class, self._faults())
        options = {**dict(request.query_params), **aggs.read_cursor(request.query_params.get("cursor", ""))}
        is_adjusted = options.get("adjusted", "true") != "false"
        body: dict[str, Any] = {"ticker": ticker, "queryCount": 0, "resultsCount": 0, "adjusted": is_adjusted}
        page = None
        if source is not None:
            query = _query(request.path_params, options, source, row or 0)
            self._check_age(query, found, source)
            if row is not None:
                page = await aggs.read(source, query, self._known_ns(found, source))
        if page is not None and len(page.bars):
            body |= {"queryCount": page.base_count, "resultsCount": len(page.bars)}
            body["results"] = results(page.bars)
        body |= {"status": self._status_word(found), "request_id": request_id(), "count": body["resultsCount"]}
        if page is not None and page.has_more and len(page.bars):
            assert source is not None
            body["next_url"] = self._next_url(request, source, query, page.bars, is_adjusted)
        return reply(body)

    def _check_age(self, query: aggs.Query, found: Plan, source: Source) -> None:
        """Refuse what is older, or on Basic newer, than the plan sells."""
        now = self._clock.now()
        is_too_old = query.from_ns < now - found.history_years * _YEAR_NS
        is_too_new = found.rest_delay_s is None and query.from_ns >= aggs.today_start(source, now)
        if is_too_old or is_too_new:
            raise error(403, NOT_THIS_TIME)

    def _next_url(self, request: Request, source: Source, query: aggs.Query, bars: Bars, is_adjusted: bool) -> str:
        faults, path = self._faults(), request.path_params
        last, start, end = int(bars.ts[-1]), query.from_ns, query.to_ns
        if query.ascending:
            start = aggs.next_window(source, last, query.multiplier, query.timespan)
        else:
            end = last - NS_PER_MS
        if faults.next_url_cycle:
            start, end = query.from_ns, query.to_ns
        base = _FOREIGN if faults.next_url_foreign_host else self.url
        span = f"{path['multiplier']}/{path['timespan']}/{start // NS_PER_MS}/{end // NS_PER_MS}"
        url = f"{base}/v2/aggs/ticker/{path['ticker']}/range/{span}"
        url += f"?cursor={aggs.cursor(query.limit, query.ascending)}"
        return url if faults.cursor_drops_adjusted else f"{url}&adjusted={str(is_adjusted).lower()}"

    async def _day(self, source: Source, row: int, day: int, known_ns: int) -> Bars:
        """Give one symbol's bar of a day, none if there is none yet."""
        start = aggs.day_start(source, day)
        query = aggs.Query(row, 1, "day", start, start, ascending=True, limit=1)
        return (await aggs.read(source, query, known_ns)).bars

    async def _previous(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        asset_class, source, row = self._find(ticker)
        found = self._gate.enter(request, asset_class, self._faults())
        body: dict[str, Any] = {"ticker": ticker, "queryCount": 0, "resultsCount": 0, "adjusted": True}
        if source is not None and row is not None:
            today = aggs.today_start(source, self._clock.now())
            number = int(aggs.day_numbers(source, np.array([today]))[0])
            for day in range(number - 1, number - 8, -1):
                bars = await self._day(source, row, day, today)
                if len(bars):
                    rows = [{"T": ticker, **results(bars)[0], "t": _day_end_ms(source, day)}]
                    body |= {"queryCount": 1, "resultsCount": 1, "results": rows}
                    break
        body |= {"status": self._status_word(found), "request_id": request_id(), "count": body["resultsCount"]}
        return reply(body)

    async def _grouped(self, request: Request) -> Response:
        asset_class = _MARKETS.get(request.path_params["market"])
        if asset_class is None:
            raise error(404, "Market not found.")
        found = self._gate.enter(request, asset_class, self._faults())
        source = self._sources.get(asset_class)
        rows: list[dict[str, Any]] = []
        if source is not None:
            start = aggs.parse_time(request.path_params["date"], "date", source, is_end=False)
            day = int(aggs.day_numbers(source, np.array([start]))[0])
            bars = await market_day(source, start, self._known_ns(found, source))
            end, names = _day_end_ms(source, day), [source.symbols[row] for row in bars.row.tolist()]
            for name, bar in zip(names, results(bars), strict=True):
                rows.append({"T": to_rest(asset_class, name), **bar, "t": end})
        body: dict[str, Any] = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": True}
        body |= {"results": rows} if rows else {}
        return reply(body | {"status": self._status_word(found), "request_id": request_id(), "count": len(rows)})

    async def _open_close(self, request: Request) -> Response:
        ticker, text = request.path_params["ticker"], request.path_params["date"]
        asset_class, source, row = self._find(ticker)
        found = self._gate.enter(request, asset_class, self._faults())
        if source is None or row is None:
            raise error(404, NO_TICKER)
        start = aggs.parse_time(text, "date", source, is_end=False)
        day = int(aggs.day_numbers(source, np.array([start]))[0])
        known = self._known_ns(found, source)
        bars = await self._day(source, row, day, known)
        if not len(bars):
            raise error(404, "Data not found.")
        bar = results(bars)[0]
        minutes = source.history(row, max(source.lengths_s), start, min(start + DAY_NS, known))
        return reply(
            {
                "status": "OK",
                "from": text,
                "symbol": ticker,
                "open": bar["o"],
                "high": bar["h"],
                "low": bar["l"],
                "close": bar["c"],
                "volume": bar.get("v", 0),
                "afterHours": float(minutes.close[-1]),
                "preMarket": float(minutes.open[0]),
            }
        )

    async def _status(self, request: Request) -> Response:
        self._gate.enter(request, AssetClass.STOCKS, self._faults())
        return reply(reference.market_status(self._clock.now()))

    async def _upcoming(self, request: Request) -> Response:
        self._gate.enter(request, AssetClass.STOCKS, self._faults())
        return reply(reference.upcoming(self._clock.now()))

    async def _nothing(self, request: Request) -> Response:
        self._gate.enter(request, AssetClass.STOCKS, self._faults())
        return reply({"status": "OK", "request_id": request_id(), "results": []})

    async def _tickers(self, request: Request) -> Response:
        options = reference.options_of(dict(request.query_params))
        market = options.get("market")
        asset_class = _MARKETS.get(market or "stocks", AssetClass.INDICES)
        self._gate.enter(request, asset_class, self._faults())
        sources = [s for c, s in self._sources.items() if market is None or c is asset_class]
        return reply(reference.tickers(sources, options, self.url))

    async def _ticker(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        asset_class, _, row = self._find(ticker)
        self._gate.enter(request, asset_class, self._faults())
        if row is None:
            raise error(404, NO_TICKER)
        name = self._sources[asset_class].symbols[row]
        found = reference.ticker_row(asset_class, name)
        return reply({"status": "OK", "request_id": request_id(), "results": found})


def results(bars: Bars) -> list[dict[str, Any]]:
    """Give bars as the vendor's rows; what the class does not have is left out."""
    columns: dict[str, list[Any]] = {
        "v": bars.volume.tolist(),
        "vw": bars.vwap.tolist(),
        "o": bars.open.tolist(),
        "c": bars.close.tolist(),
        "h": bars.high.tolist(),
        "l": bars.low.tolist(),
        "t": (bars.ts // NS_PER_MS).tolist(),
        "n": bars.trades.tolist(),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        for name in ("v", "vw", "n"):
            if row[name] != row[name]:
                del row[name]
        if "n" in row:
            row["n"] = int(row["n"])
    return rows


def _query(path: dict[str, str], options: dict[str, str], source: Source, row: int) -> aggs.Query:
    """Read an aggregates request; BadRequest in the vendor's words."""
    timespan = path["timespan"]
    if timespan not in aggs.TIMESPANS:
        raise aggs.BadRequest(f"Invalid timespan: '{timespan}'")
    if not path["multiplier"].isdigit() or not 1 <= int(path["multiplier"]) <= 100_000:
        raise aggs.BadRequest("The parameter 'multiplier' must be a whole number of 1 or more")
    start = aggs.parse_time(path["start"], "from", source, is_end=False)
    end = aggs.parse_time(path["end"], "to", source, is_end=True)
    if end < start:
        raise aggs.BadRequest("The parameter 'to' cannot be a time that occurs before 'from'")
    limit = options.get("limit", str(aggs.DEFAULT_LIMIT))
    if not limit.isdigit() or not 1 <= int(limit) <= aggs.MAX_LIMIT:
        raise aggs.BadRequest(f"The parameter 'limit' must be between 1 and {aggs.MAX_LIMIT}")
    if options.get("sort", "asc") not in ("asc", "desc"):
        raise aggs.BadRequest("The parameter 'sort' must be 'asc' or 'desc'")
    is_ascending = options.get("sort", "asc") == "asc"
    return aggs.Query(row, int(path["multiplier"]), timespan, start, end, is_ascending, int(limit))


def _day_end_ms(source: Source, day: int) -> int:
    """Give the time the vendor stamps a finished day with: 16:00 New York, else the day's last millisecond."""
    if source.asset_class.has_sessions:
        return (aggs.day_start(source, day) + 16 * 3_600 * NS_PER_S) // NS_PER_MS
    return aggs.day_start(source, day + 1) // NS_PER_MS - 1


async def _unknown_route(request: Request, _: Exception) -> Response:
    return PlainTextResponse("404 page not found", 404)
