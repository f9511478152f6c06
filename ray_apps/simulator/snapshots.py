"""Answer REST's calls for snapshots: a market, some tickers, one, those that moved most."""

from starlette.requests import Request
from starlette.responses import Response

from features.market.types import AssetClass
from ray_apps.simulator import status
from ray_apps.simulator.aggs import BadRequest
from ray_apps.simulator.gate import NO_TICKER, NOT_ENTITLED, error, reply
from ray_apps.simulator.lists import Listing, Row, chosen, cursor, limit_of, options_of
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.seen import Seen, WholeMarket, see
from ray_apps.simulator.snapshot_rows import failed_row, new_row, old_row
from ray_apps.simulator.vendor import Routes, Vendor

_MARKETS = {"stocks": AssetClass.STOCKS, "crypto": AssetClass.CRYPTO, "forex": AssetClass.FOREX}
_FEW = 40
"""So many tickers are looked at one by one, more out of the whole market."""
_MOVERS, _LEAST_VOLUME = 20, 10_000
_EVERY = Listing("/v3/snapshot", 10, 250)
_INDICES = Listing("/v3/snapshot/indices", 10, 250)
_CLASSES = (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.CRYPTO, AssetClass.FOREX, AssetClass.INDICES)
_TYPES = {"fx": AssetClass.FOREX} | {str(c): c for c in _CLASSES if c is not AssetClass.FOREX}


class Snapshots:
    """The calls that tell what a market looks like now."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor, self._market = vendor, WholeMarket()

    def routes(self) -> Routes:
        """Give the paths and who answers them."""
        base = "/v2/snapshot/locale/{locale}/markets/{market}"
        return [
            (f"{base}/tickers", self._tickers),
            (f"{base}/tickers/{{ticker:path}}", self._ticker),
            (f"{base}/gainers", self._gainers),
            (f"{base}/losers", self._losers),
            ("/v3/snapshot", self._any),
            ("/v3/snapshot/indices", self._indices),
        ]

    def _enter(self, request: Request) -> tuple[AssetClass, Plan]:
        asset_class = _MARKETS.get(request.path_params["market"])
        if asset_class is None:
            raise error(404, "Market not found.")
        plan = self._vendor.enter(request, asset_class)
        if plan.rest_delay_s is None:
            raise error(403, NOT_ENTITLED)
        return asset_class, plan

    async def _tickers(self, request: Request) -> Response:
        asset_class, plan = self._enter(request)
        names = [name for name in request.query_params.get("tickers", "").split(",") if name]
        if names and len(names) <= _FEW:
            mine = [name for name in dict.fromkeys(names) if self._vendor.find(name).asset_class is asset_class]
            found = [(name, await self._see(name, plan)) for name in mine]
            seen = {name: s for name, s in found if s is not None}
        else:
            seen = await self._all(asset_class, plan)
            seen = {name: s for name, s in seen.items() if not names or name in names}
        rows = [old_row(asset_class, name, s, plan) for name, s in seen.items()]
        return reply(self._vendor.envelope(plan) | {"count": len(rows), "tickers": rows})

    async def _ticker(self, request: Request) -> Response:
        asset_class, plan = self._enter(request)
        ticker = request.path_params["ticker"]
        is_here = self._vendor.find(ticker).asset_class is asset_class
        seen = await self._see(ticker, plan) if is_here else None
        if seen is None:
            raise error(404, NO_TICKER)
        return reply(self._vendor.envelope(plan) | {"ticker": old_row(asset_class, ticker, seen, plan)})

    async def _gainers(self, request: Request) -> Response:
        return await self._movers(request, 1)

    async def _losers(self, request: Request) -> Response:
        return await self._movers(request, -1)

    async def _movers(self, request: Request, sign: int) -> Response:
        asset_class, plan = self._enter(request)
        seen = await self._all(asset_class, plan)
        if asset_class is AssetClass.STOCKS:
            seen = {name: s for name, s in seen.items() if isinstance(s.day.v, float) and s.day.v >= _LEAST_VOLUME}
        moved = {name: sign * s.change_percent for name, s in seen.items() if sign * s.change_percent > 0}
        names = sorted(moved, key=lambda name: -moved[name])[:_MOVERS]
        rows = [old_row(asset_class, name, seen[name], plan) for name in names]
        return reply(self._vendor.envelope(plan) | {"tickers": rows})

    async def _see(self, ticker: str, plan: Plan) -> Seen | None:
        found = self._vendor.find(ticker)
        if found.source is None or found.row is None:
            return None
        known = self._vendor.known_ns(plan, found.source)
        return await see(found.source, found.row, known, self._vendor.clock.now())

    async def _all(self, asset_class: AssetClass, plan: Plan) -> dict[str, Seen]:
        source = self._vendor.sources.get(asset_class)
        if source is None:
            return {}
        known, now = self._vendor.known_ns(plan, source), self._vendor.clock.now()
        tickers = self._vendor.tickers(asset_class)
        found = await self._market.see(source, known, now, self._vendor.faults())
        return {tickers[s.row]: s for s in found}

    async def _any(self, request: Request) -> Response:
        options = options_of(dict(request.query_params))
        wanted = options.get("type")
        classes = _CLASSES if wanted is None else [_TYPES[wanted]] if wanted in _TYPES else []
        return await self._page(request, options, _EVERY, tuple(classes))

    async def _indices(self, request: Request) -> Response:
        options = options_of(dict(request.query_params))
        return await self._page(request, options, _INDICES, (AssetClass.INDICES,))

    async def _page(
        self, request: Request, options: dict[str, str], listing: Listing, classes: tuple[AssetClass, ...]
    ) -> Response:
        """Give a page of tickers, named or all, each with what is known of it or why nothing is."""
        plan = self._vendor.enter(request, classes[0] if classes else AssetClass.STOCKS)
        most = limit_of(options, listing.rows, listing.most)
        names = self._names(options, classes, listing.most)
        names.sort(reverse=options.get("order") == "desc")
        first = int(options["page_marker"]) if options.get("page_marker", "").isdigit() else 0
        rows = [await self._new_row(request, name, classes) for name in names[first : first + most]]
        body = self._vendor.envelope(plan) | {"results": rows}
        if first + most < len(names):
            same, following = (f"{listing.path}?cursor={cursor(options, str(at))}" for at in (first, first + most))
            body["next_url"] = self._vendor.next_url(same, following)
        return reply(body)

    def _names(self, options: dict[str, str], classes: tuple[AssetClass, ...], most: int) -> list[str]:
        named = options.get("ticker.any_of") or options.get("ticker")
        if named is not None:
            names = list(dict.fromkeys(name for name in named.split(",") if name))
            if len(names) > most:
                raise BadRequest(f"The parameter 'ticker.any_of' must have at most {most} tickers")
            return names
        rows = [{"ticker": name} for c in classes for name in self._vendor.tickers(c)]
        return [row["ticker"] for row in chosen(rows, options)]

    async def _new_row(self, request: Request, ticker: str, classes: tuple[AssetClass, ...]) -> Row:
        found = self._vendor.find(ticker)
        if found.source is None or found.row is None or found.asset_class not in classes:
            return failed_row(ticker, "NOT_FOUND", NO_TICKER)
        plan = self._vendor.plan(request, found.asset_class)
        if plan.rest_delay_s is None:
            return failed_row(ticker, "NOT_ENTITLED", "Not entitled to this ticker.")
        seen = await self._see(ticker, plan)
        if seen is None:
            return failed_row(ticker, "NOT_FOUND", NO_TICKER)
        state = status.class_status(found.asset_class, self._vendor.clock.now())
        return new_row(found.asset_class, ticker, found.source.symbols[found.row], seen, plan, state)
