"""Answer the vendor's REST calls: the routes, and what goes wrong with any of them."""

import asyncio

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ray_apps.simulator.aggs import BadRequest
from ray_apps.simulator.futures import Futures
from ray_apps.simulator.gate import Refusal, error
from ray_apps.simulator.history import History
from ray_apps.simulator.reference import Reference
from ray_apps.simulator.snapshots import Snapshots
from ray_apps.simulator.trades import Trades
from ray_apps.simulator.vendor import Handler, Vendor


class Rest:
    """The REST side of a simulator."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def app(self, more: list[BaseRoute]) -> Starlette:
        """Give the application, with further routes."""
        vendor = self._vendor
        rooms = (History(vendor), Trades(vendor), Snapshots(vendor), Reference(vendor), Futures(vendor))
        routes = [*more, *(Route(path, self._guard(handler)) for room in rooms for path, handler in room.routes())]
        # The lightest compression: it is for clients that insist, not to save bytes on loopback.
        gzip = Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=1)
        return Starlette(routes=routes, middleware=[gzip], exception_handlers={404: _unknown_route})

    def _guard(self, handler: Handler) -> Handler:
        """Turn refusals into responses and do what the faults say."""

        async def guarded(request: Request) -> Response:
            faults = self._vendor.faults()
            if faults.rest_latency_s:
                await asyncio.sleep(faults.rest_latency_s)
            try:
                response = await handler(request)
            except Refusal as e:
                return e.response
            except BadRequest as e:
                return error(400, str(e)).response
            if faults.rest_truncate:
                response = Response(bytes(response.body)[: len(response.body) // 2], 200)
            return response

        return guarded


async def _unknown_route(request: Request, _: Exception) -> Response:
    return PlainTextResponse("404 page not found", 404)
