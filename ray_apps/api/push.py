"""Take bars of any source: the one route that writes."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request

from features.market.errors import DataError
from features.market.pushed import LENGTHS_S, MOST_BARS, asset_class_of, check
from features.market.types import AssetClass
from ray_apps.api.deps import Deps
from ray_apps.api.problems import ProblemError, documented
from ray_apps.api.schemas import PushOut, RefusedOut
from ray_apps.config import HttpConfig

MOST_BYTES = 2 * 2**20
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NUMBER = {"type": "number"}
_BAR: dict[str, Any] = {
    "type": "object",
    "required": ["symbol", "t", "o", "h", "l", "c"],
    "properties": {
        "symbol": {"type": "string", "example": "BTC-USD", "description": "In our spelling."},
        "t": {"type": "integer", "example": 1795683600000, "description": "Start of the window, Unix ms."},
        **dict.fromkeys(("o", "h", "l", "c", "v", "vw", "n"), _NUMBER),
        "bar_s": {"type": "integer", "enum": list(LENGTHS_S), "default": 60, "description": "Length, seconds."},
    },
}
_BODY = {
    "type": "object",
    "required": ["asset_class", "bars"],
    "properties": {
        "asset_class": {"type": "string", "enum": [str(a) for a in AssetClass]},
        "bars": {"type": "array", "maxItems": MOST_BARS, "items": _BAR},
    },
}
router = APIRouter()


async def _deps(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


def _allow(http: HttpConfig, authorization: str | None) -> None:
    """Let a writer in: by the token where one is set, else only where the gateway listens on loopback."""
    if http.token is None:
        if http.host not in LOOPBACK:
            raise ProblemError(403, "expected http.token to be set, as the gateway is open to others, was unset")
        return
    wanted = f"Bearer {http.token.get_secret_value()}"
    if authorization is None or not hmac.compare_digest(authorization.encode(), wanted.encode()):
        was = "another" if authorization else "none"
        said = f"expected the header Authorization: Bearer with http.token, was {was}"
        raise ProblemError(401, said, {"WWW-Authenticate": "Bearer"})


async def _body(request: Request, content_type: str | None) -> bytes:
    """Read a request of JSON, at most so many bytes; a page in a browser cannot send that type unasked."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(415, f"expected application/json, was {(content_type or 'no content type')[:80]!r}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ProblemError(413, f"expected at most {MOST_BYTES} bytes, was more")
    return bytes(body)


@router.post(
    "/v1/bars",
    tags=["bars"],
    status_code=202,
    responses=documented(401, 403, 404, 413, 415, 429, 503),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
)
async def push(
    request: Request,
    deps: Annotated[Deps, Depends(_deps)],
    content_type: Annotated[str | None, Header(include_in_schema=False)] = None,
    authorization: Annotated[str | None, Header(description="`Bearer` and `http.token`.")] = None,
) -> PushOut:
    """Put bars on the path of the class's feed, live; rows that are not as expected are named and left out.

    A bar of a window that was seen is a correction. 429 and 503 say to send the same request again later.
    """
    _allow(deps.http, authorization)
    body = await _body(request, content_type)
    try:
        asset_class = asset_class_of(body)
        admission = await deps.push(asset_class, body)
        if admission is None:
            raise ProblemError(404, f"expected a class with a feed (see /v1/feeds), was {asset_class}")
        if admission.refusal:
            raise ProblemError(429 if admission.is_full else 503, admission.refusal, {"Retry-After": "1"})
        accepted, refused = check(body, admission.now_ns, admission.limits)
    except DataError as e:
        raise ProblemError(422, str(e)) from None
    return PushOut(accepted=accepted, refused=[RefusedOut.model_validate(r) for r in refused])
