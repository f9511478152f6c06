"""Decide whether a REST call is answered: key, plan, rate; and say no in the vendor's words."""

import random
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from features.market.types import AssetClass
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.plans import Plan, plan, plan_name

NO_KEY, UNKNOWN_KEY = "API Key was not provided", "Unknown API Key"
NOT_ENTITLED = "You are not entitled to this data. Please upgrade your plan at https://polygon.io/pricing"
NOT_THIS_TIME = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://polygon.io/pricing"
TOO_OFTEN = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://polygon.io/pricing"
)
NO_TICKER = "Ticker not found."
_WINDOW_S = 60.0


class Refusal(Exception):
    """A call that is not answered; says which response is sent instead."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


def reply(body: dict[str, Any] | list[Any], code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Give a JSON response; its request id is also a header."""
    identity = body.get("request_id", "") if isinstance(body, dict) else ""
    sent = {"X-Request-Id": str(identity), **(headers or {})}
    return Response(msgspec.json.encode(body), code, sent, "application/json")


def request_id() -> str:
    """Give a fresh request id."""
    return uuid.uuid4().hex


def error(code: int, text: str, headers: dict[str, str] | None = None) -> Refusal:
    """Give a refusal; the vendor's text is in `message` for 403 and 404, else in `error`."""
    status = {403: "NOT_AUTHORIZED", 404: "NOT_FOUND"}.get(code, "ERROR")
    name = "message" if code in (403, 404) else "error"
    return Refusal(reply({"status": status, "request_id": request_id(), name: text}, code, headers))


@dataclass(slots=True)
class Gate:
    """What calls were made, by key and class; calls are limited in real time, not the market's."""

    calls: dict[tuple[str, AssetClass], deque[float]] = field(default_factory=dict)
    _failing: Faults | None = None
    _failed: int = 0
    _rng: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  (a fault's timing)

    def enter(self, request: Request, asset_class: AssetClass, faults: Faults) -> Plan:
        """Give the caller's plan for a class, or raise the Refusal to send; counts as a call."""
        found = self.plan(request, asset_class)
        self._count(_key(request), asset_class, found, faults)
        if self._fails(faults):
            raise _broken(faults)
        return found

    def plan(self, request: Request, asset_class: AssetClass) -> Plan:
        """Give the caller's plan for a class."""
        key = _key(request)
        if not key:
            raise error(401, NO_KEY)
        name = plan_name(key, asset_class)
        if name is None:
            raise error(401, UNKNOWN_KEY)
        return plan(name, asset_class)

    def _fails(self, faults: Faults) -> bool:
        """Say whether this call is to fail; a burst is counted from when the knobs were last turned."""
        if faults is not self._failing:
            self._failing, self._failed = faults, 0
        over = 0 < faults.rest_error_burst <= self._failed
        if not faults.rest_error or over or self._rng.random() >= faults.rest_error_fraction:
            return False
        self._failed += 1
        return True

    def _count(self, key: str, asset_class: AssetClass, found: Plan, faults: Faults) -> None:
        window_s, limit = 1.0, faults.rest_calls_per_s
        if found.calls_per_minute:
            window_s, limit = _WINDOW_S, found.calls_per_minute
        elif not limit:
            return
        now = time.monotonic()
        made = self.calls.setdefault((key, asset_class), deque())
        while made and made[0] <= now - window_s:
            made.popleft()
        if len(made) >= limit:
            after = faults.retry_after_s
            raise error(429, TOO_OFTEN, None if after is None else {"Retry-After": str(after)})
        made.append(now)


def _key(request: Request) -> str:
    header = request.headers.get("authorization", "")
    return header.removeprefix("Bearer ").strip() or request.query_params.get("apiKey", "")


def _broken(faults: Faults) -> Refusal:
    headers = {} if faults.retry_after_s is None else {"Retry-After": str(faults.retry_after_s)}
    code = faults.rest_error
    match faults.rest_error_body:
        case "empty":
            return Refusal(Response(b"", code, headers))
        case "html":
            page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
            return Refusal(Response(page, code, headers, "text/html"))
        case _:
            return error(code, TOO_OFTEN if code == 429 else "something went wrong", headers)
