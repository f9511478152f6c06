"""Answer REST's calls for bars: aggregates, a whole market's day, the previous day, a day's open and close."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.simulator import aggs
from ray_apps.simulator.gate import NO_TICKER, NOT_THIS_TIME, error, reply
from ray_apps.simulator.market_day import market_day
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.rows import agg_rows
from ray_apps.simulator.sources import DAY_NS, Bars, Source
from ray_apps.simulator.spelling import to_rest
from ray_apps.simulator.vendor import Routes, Vendor

_MARKETS = {"stocks": AssetClass.STOCKS, "crypto": AssetClass.CRYPTO, "fx": AssetClass.FOREX}
_YEAR_NS = 366 * DAY_NS
_LOOK_BACK_DAYS = 7


class History:
    """The calls that give bars."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def routes(self) -> Routes:
        """Give the paths and who answers them."""
        ticker = "{ticker:path}"
        return [
            (f"/v2/aggs/ticker/{ticker}/range/{{multiplier}}/{{timespan}}/{{start}}/{{end}}", self._aggs),
            (f"/v2/aggs/ticker/{ticker}/prev", self._previous),
            ("/v2/aggs/grouped/locale/{locale}/market/{market}/{date}", self._grouped),
            (f"/v1/open-close/{ticker}/{{date}}", self._open_close),
        ]

    async def _aggs(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        found = self._vendor.find(ticker)
        plan = self._vendor.enter(request, found.asset_class)
        options = {**dict(request.query_params), **aggs.read_cursor(request.query_params.get("cursor", ""))}
        is_adjusted = _is_adjusted(options)
        body: dict[str, Any] = {"ticker": ticker, "queryCount": 0, "resultsCount": 0, "adjusted": is_adjusted}
        page = None
        if found.source is not None:
            query = _query(request.path_params, options, found.source, found.row or 0)
            self._check_age(query, plan, found.source)
            if found.row is not None:
                source = self._vendor.view(found.source, is_adjusted)
                known_ns = self._vendor.known_ns(plan, source)
                page = await aggs.read(source, query, known_ns, self._vendor.faults().rest_partial)
        if page is not None and len(page.bars):
            body |= {"queryCount": page.base_count, "resultsCount": len(page.bars)}
            body["results"] = agg_rows(page.bars)
        body |= self._vendor.envelope(plan) | {"count": body["resultsCount"]}
        if page is not None and page.has_more and len(page.bars):
            assert found.source is not None
            body["next_url"] = self._next_url(request, found.source, query, page.bars, is_adjusted)
        return reply(body)

    def _check_age(self, query: aggs.Query, plan: Plan, source: Source) -> None:
        """Refuse what is older, or on Basic newer, than the plan sells."""
        now = self._vendor.clock.now()
        is_too_old = query.from_ns < now - plan.history_years * _YEAR_NS
        is_too_new = plan.rest_delay_s is None and query.from_ns >= aggs.today_start(source, now)
        if is_too_old or is_too_new:
            raise error(403, NOT_THIS_TIME)

    def _next_url(self, request: Request, source: Source, query: aggs.Query, bars: Bars, is_adjusted: bool) -> str:
        path, last = request.path_params, int(bars.ts[-1])
        start, end = query.from_ns, query.to_ns
        if query.ascending:
            start = aggs.next_window(source, last, query.multiplier, query.timespan)
        else:
            end = last - NS_PER_MS
        told = f"?cursor={aggs.cursor(query.limit, query.ascending)}"
        if not self._vendor.faults().cursor_drops_adjusted:
            told += f"&adjusted={str(is_adjusted).lower()}"
        base = f"/v2/aggs/ticker/{path['ticker']}/range/{path['multiplier']}/{path['timespan']}"
        same, following = (
            f"{base}/{a // NS_PER_MS}/{b // NS_PER_MS}{told}" for a, b in ((query.from_ns, query.to_ns), (start, end))
        )
        return self._vendor.next_url(same, following)

    async def _previous(self, request: Request) -> Response:
        ticker = request.path_params["ticker"]
        found = self._vendor.find(ticker)
        plan = self._vendor.enter(request, found.asset_class)
        is_adjusted = _is_adjusted(dict(request.query_params))
        body: dict[str, Any] = {"ticker": ticker, "queryCount": 0, "resultsCount": 0, "adjusted": is_adjusted}
        if found.source is not None and found.row is not None:
            source = self._vendor.view(found.source, is_adjusted)
            day, bars = await previous_day(source, found.row, self._vendor.clock.now())
            if len(bars):
                rows = agg_rows(bars, [ticker], aggs.day_close(source, day) // NS_PER_MS)
                body |= {"queryCount": 1, "resultsCount": 1, "results": rows}
        return reply(body | self._vendor.envelope(plan) | {"count": body["resultsCount"]})

    async def _grouped(self, request: Request) -> Response:
        asset_class = _MARKETS.get(request.path_params["market"])
        if asset_class is None:
            raise error(404, "Market not found.")
        plan = self._vendor.enter(request, asset_class)
        is_adjusted = _is_adjusted(dict(request.query_params))
        body: dict[str, Any] = {"queryCount": 0, "resultsCount": 0, "adjusted": is_adjusted}
        truth = self._vendor.sources.get(asset_class)
        if truth is not None:
            source = self._vendor.view(truth, is_adjusted)
            start = aggs.parse_time(request.path_params["date"], "date", source, is_end=False)
            day = aggs.day_number(source, start)
            bars = await market_day(source, start, self._vendor.known_ns(plan, source))
            names = [to_rest(asset_class, source.symbols[row]) for row in bars.row.tolist()]
            if names:
                rows = agg_rows(bars, names, aggs.day_close(source, day) // NS_PER_MS)
                body |= {"queryCount": len(rows), "resultsCount": len(rows), "results": rows}
        return reply(body | self._vendor.envelope(plan) | {"count": body["resultsCount"]})

    async def _open_close(self, request: Request) -> Response:
        ticker, text = request.path_params["ticker"], request.path_params["date"]
        found = self._vendor.find(ticker)
        plan = self._vendor.enter(request, found.asset_class)
        if found.source is None or found.row is None:
            raise error(404, NO_TICKER)
        source = self._vendor.view(found.source, _is_adjusted(dict(request.query_params)))
        start = aggs.parse_time(text, "date", source, is_end=False)
        known = self._vendor.known_ns(plan, source)
        bars = await day_bar(source, found.row, aggs.day_number(source, start), known)
        if not len(bars):
            raise error(404, "Data not found.")
        (bar,) = agg_rows(bars)
        bar_s = max(source.lengths_s)
        minutes = source.history(found.row, bar_s, start, min(start + DAY_NS, known - bar_s * NS_PER_S + 1))
        return reply(
            {
                "status": "OK",
                "from": text,
                "symbol": ticker,
                "open": bar.o,
                "high": bar.h,
                "low": bar.l,
                "close": bar.c,
                "volume": 0 if bar.v is msgspec.UNSET else bar.v,
                "afterHours": float(minutes.close[-1]),
                "preMarket": float(minutes.open[0]),
            }
        )


async def day_bar(source: Source, row: int, day: int, known_ns: int) -> Bars:
    """Give one symbol's bar of a day, none if there is none yet."""
    start = aggs.day_start(source, day)
    query = aggs.Query(row, 1, "day", start, start, ascending=True, limit=1)
    return (await aggs.read(source, query, known_ns)).bars


async def previous_day(source: Source, row: int, now_ns: int) -> tuple[int, Bars]:
    """Give the last day before today's with a bar, and that bar; none where a week had none."""
    today = aggs.day_number(source, now_ns)
    for day in range(today - 1, today - 1 - _LOOK_BACK_DAYS, -1):
        bars = await day_bar(source, row, day, aggs.day_start(source, today))
        if len(bars):
            return day, bars
    return today, bars


def _is_adjusted(options: dict[str, str]) -> bool:
    return options.get("adjusted", "true") != "false"


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
