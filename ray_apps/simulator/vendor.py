"""Hold what every REST call needs: the markets, their time, the knobs, and who may see what."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from features.market.types import NS_PER_S, AssetClass
from ray_apps.simulator import aggs
from ray_apps.simulator.clock import Clock
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.gate import Gate, request_id
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.sources import Source
from ray_apps.simulator.spelling import to_rest
from ray_apps.simulator.truth import Truth

Handler = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, Handler]]
_FOREIGN = "http://127.0.0.2:9"
_PREFIXES = {
    "X:": AssetClass.CRYPTO,
    "C:": AssetClass.FOREX,
    "I:": AssetClass.INDICES,
    "O:": AssetClass.OPTIONS,
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a ticker names: its class by its spelling, its source and row where there are any."""

    ticker: str
    asset_class: AssetClass
    source: Truth | None
    row: int | None


class Vendor:
    """The vendor's office: every answer of REST starts here."""

    def __init__(self, clock: Clock, sources: dict[AssetClass, Truth], faults: Callable[[], Faults]) -> None:
        self.clock, self.sources, self.faults = clock, sources, faults
        self.url = ""
        """Where REST listens, for `next_url`."""
        self._gate = Gate()
        self._rows = {
            c: {to_rest(c, name): row for row, name in enumerate(source.symbols)} for c, source in sources.items()
        }

    def find(self, ticker: str) -> Instrument:
        """Give what a ticker names."""
        asset_class = _PREFIXES.get(ticker[:2])
        if asset_class is None:
            futures = self._rows.get(AssetClass.FUTURES, {})
            asset_class = AssetClass.FUTURES if ticker in futures else AssetClass.STOCKS
        row = self._rows.get(asset_class, {}).get(ticker)
        return Instrument(ticker, asset_class, self.sources.get(asset_class), row)

    def enter(self, request: Request, asset_class: AssetClass) -> Plan:
        """Give the caller's plan for a class, or raise the Refusal to send."""
        return self._gate.enter(request, asset_class, self.faults())

    def plan(self, request: Request, asset_class: AssetClass) -> Plan:
        """Give the caller's plan for a further class of the same call."""
        return self._gate.plan(request, asset_class)

    def tickers(self, asset_class: AssetClass) -> list[str]:
        """Give REST's spelling of the symbols of a class, by row."""
        return list(self._rows.get(asset_class, ()))

    def known_ns(self, plan: Plan, source: Source) -> int:
        """Give the end of the newest bar a plan may see."""
        now = self.clock.now()
        if plan.rest_delay_s is None:
            return aggs.today_start(source, now)
        return now - plan.rest_delay_s * NS_PER_S

    def view(self, source: Truth, is_adjusted: bool = False) -> Source:
        """Give what a source is to a caller of now."""
        return source.view(self.clock.now(), is_adjusted)

    def next_url(self, same: str, following: str) -> str:
        """Give the address of the following page, or of this one again, on our host or another."""
        faults = self.faults()
        base = _FOREIGN if faults.next_url_foreign_host else self.url
        return base + (same if faults.next_url_cycle else following)

    def envelope(self, plan: Plan) -> dict[str, Any]:
        """Give what every answer says of itself."""
        is_delayed = bool(plan.rest_delay_s) and self.faults().rest_delayed_status
        return {"status": "DELAYED" if is_delayed else "OK", "request_id": request_id()}
