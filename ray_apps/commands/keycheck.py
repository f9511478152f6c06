"""Ask the vendor by REST what a key really allows: one call for the key, one per asset class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.market.types import AssetClass
from ray_apps.errors import UserError
from ray_apps.ingest import verdict
from ray_apps.ingest.tiers import Entitlement, entitlement
from ray_apps.ingest.verdict import Answer

if TYPE_CHECKING:
    import httpx

    from ray_apps.config import PolygonConfig

TIMEOUT_S = 10.0
ORDER: tuple[Answer, ...] = ("not answered", "not in the plan", "end of day", "delayed", "real-time")


@dataclass(frozen=True, slots=True)
class ClassCheck:
    """What the configured tier allows, and what the vendor answered.

    `warning` says where the two differ, `is_short` that the key allows less.
    """

    asset_class: AssetClass
    allowed: Entitlement
    answer: Answer | None = None
    detail: str = ""
    warning: str = ""
    is_short: bool = False


def check_key(polygon: PolygonConfig, classes: tuple[AssetClass, ...], now_ms: int) -> list[ClassCheck]:
    """Test the key; raise UserError where the vendor does not answer or refuses the key altogether.

    `now_ms` is used where the vendor does not say what time it has (a simulator's differs from ours).
    """
    import httpx

    if polygon.api_key is None:
        return [ClassCheck(a, entitlement(a, polygon.tier(a))) for a in classes]
    bearer = {"Authorization": f"Bearer {polygon.api_key.get_secret_value()}"}
    with httpx.Client(base_url=polygon.rest_url, headers=bearer, timeout=TIMEOUT_S) as client:
        try:
            status = client.get("/v1/marketstatus/now")
            _accept(status, polygon.rest_url)
            now_ms = verdict.server_time_ms(status.content) or now_ms
            return [_check_class(client, polygon, a, now_ms) for a in classes]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
            said = str(e).splitlines()[0] if str(e) else ""
            raise UserError(
                f"POLYGON_REST_URL: expected an answer from {polygon.rest_url}, was {type(e).__name__} {said}".rstrip()
            ) from None


def _accept(response: httpx.Response, url: str) -> None:
    code, said = response.status_code, verdict.said(response.content)
    if code in (401, 403):
        raise UserError(f"POLYGON_API_KEY: expected a key {url} accepts, was refused: {code} {said}")
    if code not in (200, verdict.TOO_OFTEN):
        raise UserError(f"POLYGON_REST_URL: expected market status from {url}, was {code} {said}")


def _check_class(client: httpx.Client, polygon: PolygonConfig, asset_class: AssetClass, now_ms: int) -> ClassCheck:
    response = client.get(_path(asset_class, now_ms))
    read = verdict.status if response.status_code == 200 else verdict.said
    said = read(response.content)
    answer = verdict.judge(response.status_code, said)
    detail = "" if response.status_code == 200 else f"{response.status_code} {said}".rstrip()
    tier = polygon.tier(asset_class)
    allowed = entitlement(asset_class, tier)
    expected: Answer = "end of day" if allowed.delay_s is None else "delayed" if allowed.delay_s else "real-time"
    if answer == "not answered":
        return ClassCheck(asset_class, allowed, answer, detail)
    if answer == expected:
        return ClassCheck(asset_class, allowed, answer)
    warning = (
        f"POLYGON_TIER_{asset_class.name}: expected a tier that is {answer}, as the key is, was {tier}, {expected}"
    )
    return ClassCheck(asset_class, allowed, answer, detail, warning, ORDER.index(answer) < ORDER.index(expected))


def _path(asset_class: AssetClass, now_ms: int) -> str:
    """Ask for the minute bars of the last ten minutes: only a plan with today's data may."""
    ticker, since_ms = verdict.WELL_KNOWN[asset_class], now_ms - 600_000
    if asset_class is AssetClass.FUTURES:
        return f"/futures/v1/aggs/{ticker}?resolution=1min&window_start.gte={since_ms}000000&limit=1"
    return f"/v2/aggs/ticker/{ticker}/range/1/minute/{since_ms}/{now_ms}?limit=1"
