"""Answer REST's calls for reference data: market hours, tickers, contracts, conditions, splits and dividends."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from features.market.calendar import ny_seconds
from features.market.types import AssetClass
from ray_apps.simulator import catalogue, corporate, status, tickers
from ray_apps.simulator.gate import NO_TICKER, error, reply
from ray_apps.simulator.lists import Listing, Row, options_of, page
from ray_apps.simulator.vendor import Routes, Vendor

_MARKETS = {
    "stocks": AssetClass.STOCKS,
    "otc": AssetClass.STOCKS,
    "crypto": AssetClass.CRYPTO,
    "fx": AssetClass.FOREX,
    "indices": AssetClass.INDICES,
    "options": AssetClass.OPTIONS,
}
_TICKERS = Listing("/v3/reference/tickers", 100, 1_000)
_CONTRACTS = Listing("/v3/reference/options/contracts", 10, 1_000)
_CONDITIONS = Listing("/v3/reference/conditions", 10, 1_000, "id")
_SPLITS = Listing("/v3/reference/splits", 10, 1_000, "execution_date", is_descending=True)
_DIVIDENDS = Listing("/v3/reference/dividends", 10, 1_000, "ex_dividend_date", is_descending=True)
_NEW_SPLITS = Listing("/stocks/v1/splits", 100, 5_000, "execution_date", is_descending=True)
_NEW_DIVIDENDS = Listing("/stocks/v1/dividends", 100, 5_000, "ticker")
_NEW_ONLY = (
    "adjustment_type",
    "historical_adjustment_factor",
    "split_adjusted_cash_amount",
    "distribution_type",
)
"""Fields only the newer endpoints have."""


class Reference:
    """The calls that give no prices."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._rows: dict[AssetClass, list[Row]] = {}

    def routes(self) -> Routes:
        """Give the paths and who answers them."""
        return [
            ("/v1/marketstatus/now", self._status),
            ("/v1/marketstatus/upcoming", self._upcoming),
            ("/v3/reference/tickers", self._tickers),
            ("/v3/reference/tickers/types", self._types),
            ("/v3/reference/tickers/{ticker:path}", self._ticker),
            ("/v3/reference/options/contracts", self._contracts),
            ("/v3/reference/options/contracts/{ticker:path}", self._contract),
            ("/v3/reference/conditions", self._conditions),
            ("/v3/reference/exchanges", self._exchanges),
            ("/v3/reference/splits", self._splits),
            ("/v3/reference/dividends", self._dividends),
            ("/stocks/v1/splits", self._new_splits),
            ("/stocks/v1/dividends", self._new_dividends),
        ]

    async def _status(self, request: Request) -> Response:
        self._vendor.enter(request, AssetClass.STOCKS)
        return reply(status.market_status(self._vendor.clock.now()))

    async def _upcoming(self, request: Request) -> Response:
        self._vendor.enter(request, AssetClass.STOCKS)
        return reply(status.upcoming(self._vendor.clock.now()))

    async def _tickers(self, request: Request) -> Response:
        options = options_of(dict(request.query_params))
        market, active = options.get("market"), options.get("active", "true")
        asked = {**options, "active": active}
        asked |= {"primary_exchange": options["exchange"]} if "exchange" in options else {}
        asset_class = _MARKETS.get(market or "stocks", AssetClass.STOCKS)
        rows = [row for c in tickers.LISTED for row in self._tickers_of(c) if market in (None, row["market"])]
        wanted = options.get("search", "").upper()
        return self._list(request, [row for row in rows if wanted in row["ticker"]], asked, _TICKERS, asset_class)

    def _tickers_of(self, asset_class: AssetClass) -> list[Row]:
        if asset_class not in self._rows:
            source = self._vendor.sources.get(asset_class)
            names = () if source is None else source.symbols
            self._rows[asset_class] = [tickers.ticker_row(asset_class, name) for name in names]
        return self._rows[asset_class]

    async def _ticker(self, request: Request) -> Response:
        found = self._vendor.find(request.path_params["ticker"])
        plan = self._vendor.enter(request, found.asset_class)
        if found.source is None or found.row is None or found.asset_class not in tickers.LISTED:
            raise error(404, NO_TICKER)
        row = tickers.details(found.asset_class, found.source.symbols[found.row])
        return reply(self._vendor.envelope(plan) | {"results": row})

    async def _types(self, request: Request) -> Response:
        return self._all(request, catalogue.types(), AssetClass.STOCKS)

    async def _exchanges(self, request: Request) -> Response:
        market = request.query_params.get("asset_class", "stocks")
        return self._all(request, catalogue.exchanges(), _MARKETS.get(market, AssetClass.STOCKS))

    async def _conditions(self, request: Request) -> Response:
        options = options_of(dict(request.query_params))
        rows = catalogue.conditions()
        if "data_type" in options:
            rows = [row for row in rows if options["data_type"] in row["data_types"]]
        if "sip" in options:
            rows = [row for row in rows if options["sip"] in row["sip_mapping"]]
        asset_class = _MARKETS.get(options.get("asset_class", "stocks"), AssetClass.STOCKS)
        return self._list(request, rows, options, _CONDITIONS, asset_class)

    async def _contracts(self, request: Request) -> Response:
        options = options_of(dict(request.query_params))
        today = options.get("as_of", self._today().isoformat())
        is_expired = options.get("expired", "false") == "true"
        rows = [row for row in self._all_contracts() if (row["expiration_date"] < today) == is_expired]
        return self._list(request, rows, options, _CONTRACTS, AssetClass.OPTIONS)

    async def _contract(self, request: Request) -> Response:
        plan = self._vendor.enter(request, AssetClass.OPTIONS)
        ticker = request.path_params["ticker"]
        row = next((row for row in self._all_contracts() if row["ticker"] == ticker), None)
        if row is None:
            raise error(404, NO_TICKER)
        return reply(self._vendor.envelope(plan) | {"results": row})

    def _all_contracts(self) -> list[Row]:
        if AssetClass.OPTIONS not in self._rows:
            source = self._vendor.sources.get(AssetClass.OPTIONS)
            made = map(tickers.contract_row, () if source is None else source.symbols)
            self._rows[AssetClass.OPTIONS] = [row for row in made if row is not None]
        return self._rows[AssetClass.OPTIONS]

    async def _splits(self, request: Request) -> Response:
        return self._list(request, _without_new(self._all_splits()), None, _SPLITS)

    async def _dividends(self, request: Request) -> Response:
        return self._list(request, _without_new(self._all_dividends()), None, _DIVIDENDS)

    async def _new_splits(self, request: Request) -> Response:
        return self._list(request, self._all_splits(), None, _NEW_SPLITS)

    async def _new_dividends(self, request: Request) -> Response:
        return self._list(request, self._all_dividends(), None, _NEW_DIVIDENDS)

    def _all_splits(self) -> list[Row]:
        return corporate.splits(self._vendor.faults().split_event)

    def _all_dividends(self) -> list[Row]:
        source = self._vendor.sources.get(AssetClass.STOCKS)
        return [] if source is None else corporate.dividends(source.symbols, self._today())

    def _today(self) -> Any:
        day, _ = ny_seconds(self._vendor.clock.now())
        return datetime.fromtimestamp(day * 86_400, UTC).date()

    def _list(
        self,
        request: Request,
        rows: list[Row],
        options: dict[str, str] | None,
        listing: Listing,
        asset_class: AssetClass = AssetClass.STOCKS,
    ) -> Response:
        plan = self._vendor.enter(request, asset_class)
        asked = options_of(dict(request.query_params)) if options is None else options
        found = page(rows, asked, listing, self._vendor.next_url)
        return reply(self._vendor.envelope(plan) | {"count": len(found["results"])} | found)

    def _all(self, request: Request, rows: list[Row], asset_class: AssetClass) -> Response:
        """Give a list that has no pages."""
        plan = self._vendor.enter(request, asset_class)
        options = dict(request.query_params)
        found = [row for row in rows if all(str(row.get(name, text)) == text for name, text in options.items())]
        return reply(self._vendor.envelope(plan) | {"count": len(found), "results": found})


def _without_new(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in _NEW_ONLY} for row in rows]
