"""Errors of the HTTP gateway: always `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from ray_apps.errors import expectation, likely
from ray_apps.store.errors import StoreUnavailableError

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, as RFC 9457 writes it."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["limit: expected less than or equal to 1000, was '5000'"])
    instance: str | None = Field(default=None, examples=["/v1/anomalies"])
    parts: dict[str, str] | None = Field(default=None, examples=[{"database": "", "redis": "no answer in 2 s"}])


class ProblemError(Exception):
    """Answers the request with a problem."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI entries of the problems a route may answer with; 422 and 500 always."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 422, 500})
    }


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Make every error of the application, which these routers are included in, a problem."""
    routes = [r for r in chain(app.routes, *(router.routes for router in routers)) if isinstance(r, Route)]
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]

    @app.exception_handler(ProblemError)
    async def _own(request: Request, e: ProblemError) -> ProblemResponse:
        return _problem(request, e.status, e.detail, e.headers, **e.more)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, e: RequestValidationError) -> ProblemResponse:
        return _problem(request, 422, "; ".join(_fault(request, fault) for fault in e.errors()))

    @app.exception_handler(StoreUnavailableError)
    async def _away(request: Request, e: StoreUnavailableError) -> ProblemResponse:
        return _problem(request, 503, str(e), {"Retry-After": "2"})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, e: HTTPException) -> ProblemResponse:
        if e.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = _allowed(request, routes)
            detail = f"expected {' or '.join(allowed)}, was {request.method[:20]}"
            return _problem(request, 405, detail, {"Allow": ", ".join(allowed)})
        detail = e.detail if e.detail != HTTPStatus(e.status_code).phrase else _explained(request, e.status_code)
        return _problem(request, e.status_code, detail, e.headers)

    @app.exception_handler(Exception)
    async def _bug(request: Request, _: Exception) -> ProblemResponse:
        return _problem(request, 500, "expected no failure here, was one: it is in the log")


def _problem(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> ProblemResponse:
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, instance=request.url.path, **more)
    return ProblemResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}))


def _fault(request: Request, fault: Mapping[str, Any]) -> str:
    where: Sequence[Any] = fault["loc"]
    name = ".".join(str(part) for part in where[1:]) or "request"
    if fault["type"] == "extra_forbidden":
        return f"{name}: expected {likely(name, _parameters(request), 'no parameter')}, was an unknown parameter"
    was = "none" if fault["type"] == "missing" else repr(str(fault["input"])[:60])
    return f"{name}: expected {expectation(fault['type'], str(fault['msg']))}, was {was}"


def _explained(request: Request, status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return f"expected a path of /openapi.json, was {request.url.path[:200]!r}"
    return HTTPStatus(status).phrase


def _parameters(request: Request) -> list[str]:
    """Name the query parameters of the route that was asked."""
    models = [p.field_info.annotation for p in request.scope["route"].dependant.query_params]
    return [name for model in models for name in model.model_fields]


def _allowed(request: Request, routes: Sequence[Route]) -> list[str]:
    """Name the methods of all routes of the path: Starlette names those of the first alone."""
    found = [r.methods or () for r in routes if r.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for methods in found for method in methods})
