"""The HTTP gateway: transport only, everything it answers from comes in `Deps`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from features.market.types import NS_PER_MS, AssetClass
from ray_apps.api import problems, push
from ray_apps.api.deps import Deps
from ray_apps.api.problems import ProblemError, documented
from ray_apps.api.schemas import (
    AnomaliesQuery,
    AnomalyId,
    AnomalyOut,
    BarOut,
    BarsQuery,
    EpisodeOut,
    EpisodesQuery,
    FeedOut,
    GapOut,
    Health,
    LatestOut,
    NoQuery,
    OneSymbolQuery,
    PageOut,
    Readiness,
    StreamQuery,
    Symbol,
    SymbolOut,
    SymbolsQuery,
    WaitOut,
)
from ray_apps.api.stream import Streams, frames
from ray_apps.config import Severity
from ray_apps.sinks.redis_sink import Latest
from ray_apps.store.filters import AnomalyFilter, Cursor, EpisodeFilter
from ray_apps.store.reader import SymbolRow

READY_TIMEOUT_S = 2.0
"""A probe gives up after some seconds: answer before it does."""
GAPS = 20
"""The newest holes shown per feed."""


def create_app(deps: Deps) -> FastAPI:
    """Give the gateway as an ASGI application."""
    app = FastAPI(
        title="Tapewatch",
        version="1",
        description="Bars, anomalies and episodes of a watched market. Times are UTC; errors are RFC 9457 problems.",
        redoc_url=None,
        responses=documented(),
    )
    app.state.deps = deps
    app.state.streams = Streams(deps.http.max_streams)
    for included in (routers := (router, push.router)):
        app.include_router(included)
    problems.install(app, routers)
    return app


router = APIRouter()


async def _deps(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


Given = Annotated[Deps, Depends(_deps)]
SymbolPath = Annotated[Symbol, Path(description="As AAPL, EUR/USD or I:SPX, or with the class: stocks:AAPL.")]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["health"])
async def healthz(query: Annotated[NoQuery, Query()]) -> Health:
    """Say that the gateway's process answers; touches nothing else."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", tags=["health"], responses=documented(503))
async def readyz(query: Annotated[NoQuery, Query()], deps: Given) -> Readiness:
    """Say whether every part works, and which does not."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            parts = dict(await deps.readiness())
    except TimeoutError:
        parts = {"gateway": f"expected the parts to answer in {READY_TIMEOUT_S} s, was none"}
    wrong = [f"{part}: {said}" for part, said in parts.items() if said]
    if wrong:
        raise ProblemError(503, "; ".join(wrong), {"Retry-After": "2"}, parts=parts)
    return Readiness(ready=True, parts=parts)


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
async def metrics(query: Annotated[NoQuery, Query()], deps: Given) -> PlainTextResponse:
    """Give the metrics of all processes in Prometheus' text format."""
    return PlainTextResponse(await deps.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/symbols", tags=["symbols"], responses=documented(503))
async def symbols(query: Annotated[SymbolsQuery, Query()], deps: Given) -> PageOut[SymbolOut]:
    """List the symbols seen so far, in alphabetical order."""
    after = query.after.id if query.after else ""
    most = query.limit + len(AssetClass)
    rows = await deps.reader.symbols(query.asset_class, query.prefix or "", after, most)
    n = query.limit
    while 0 < n < len(rows) and rows[n].symbol == rows[n - 1].symbol:  # a symbol's classes stay on one page
        n += 1
    keys = [(row.asset_class, row.symbol, max(row.bar_s)) for row in rows[:n]]
    waiting = await deps.waiting(keys)
    items = [
        SymbolOut.model_validate(row).model_copy(update={"waiting": left})
        for row, left in zip(rows[:n], waiting, strict=True)
    ]
    return PageOut(items=items, next=Cursor(0, rows[n - 1].symbol).encode() if n < len(rows) else None)


@router.get("/v1/symbols/{symbol:path}", tags=["symbols"], responses=documented(404, 503))
async def one_symbol(symbol: SymbolPath, query: Annotated[OneSymbolQuery, Query()], deps: Given) -> LatestOut:
    """Give the newest bar of a symbol with its features and scores."""
    row = await _known(deps, symbol, query.asset_class)
    asset_class = AssetClass(row.asset_class)
    for bar_s in sorted(row.bar_s, key=lambda s: (s < 60, s)):  # minutes before seconds
        latest = await deps.latest(asset_class, row.symbol, bar_s)
        if latest is not None and (cached := _cached(latest)) is not None:
            return cached
        newest = await deps.reader.bars(row.symbol, asset_class, bar_s, limit=1)
        if newest:
            bar = BarOut.model_validate(newest[0])
            return LatestOut(asset_class=asset_class, symbol=row.symbol, bar_s=bar_s, source="database", bar=bar)
    raise ProblemError(404, f"expected a symbol with bars, was {symbol!r}")


def _cached(latest: Latest) -> LatestOut | None:
    """Give what the cache holds; None where it is not of our making."""
    try:
        bar = {**latest.bar, "ts": int(latest.bar["ts"]) * NS_PER_MS}
        return LatestOut(
            asset_class=AssetClass(latest.asset_class),
            symbol=latest.symbol,
            bar_s=latest.bar_s,
            source="cache",
            bar=BarOut.model_validate(bar),
            features=dict(latest.features or {}),
            reasons=dict(latest.reasons or {}),
            scores=dict(latest.scores or {}),
            waiting={
                k: WaitOut(windows=n, seconds=n * max(latest.bar_s, 60)) for k, n in (latest.waiting or {}).items()
            },
        )
    except (ValueError, KeyError, TypeError):
        return None


def _wait(windows: int, bar_s: int) -> WaitOut:
    return WaitOut(windows=windows, seconds=windows * max(bar_s, 60))


async def _known(deps: Deps, named: str, asset_class: AssetClass | None) -> SymbolRow:
    """Find a symbol by its name, with or without its class; raise a 404 or, of two classes, a 409 problem."""
    wanted, symbol = split(named, asset_class)
    near = await deps.reader.symbols(wanted, symbol, "", len(AssetClass))
    rows = [row for row in near if row.symbol == symbol]
    if not rows:
        raise ProblemError(404, f"expected a symbol seen so far (see /v1/symbols), was {named!r}")
    if len(rows) > 1:
        classes = ", ".join(row.asset_class for row in rows)
        raise ProblemError(409, f"expected asset_class, as {symbol!r} is in several: {classes}")
    return rows[0]


def split(named: str, asset_class: AssetClass | None) -> tuple[AssetClass | None, str]:
    """Take the class off a name that has it.

    >>> split("stocks:AAPL", None), split("I:SPX", None)
    ((<AssetClass.STOCKS: 'stocks'>, 'AAPL'), (None, 'I:SPX'))
    """
    head, _, rest = named.partition(":")
    if rest and head in list(AssetClass):
        if asset_class not in (None, head):
            raise ProblemError(422, f"asset_class: expected {head}, as in symbol, was {asset_class}")
        return AssetClass(head), rest
    return asset_class, named


@router.get("/v1/bars", tags=["bars"], responses=documented(404, 409, 503))
async def bars(query: Annotated[BarsQuery, Query()], deps: Given) -> PageOut[BarOut]:
    """List the bars of a symbol, newest first."""
    row = await _known(deps, query.symbol, query.asset_class)
    until = query.after.ts if query.after else query.until_ns
    oldest_first = await deps.reader.bars(row.symbol, row.asset_class, query.bar_s, query.since_ns, until, query.limit)
    items = [BarOut.model_validate(bar) for bar in reversed(oldest_first)]
    is_full = len(items) == query.limit
    return PageOut(items=items, next=Cursor(oldest_first[0].ts, "").encode() if is_full else None)


@router.get("/v1/anomalies", tags=["anomalies"], responses=documented(503))
async def anomalies(query: Annotated[AnomaliesQuery, Query()], deps: Given) -> PageOut[AnomalyOut]:
    """List anomalies, newest first."""
    wanted = AnomalyFilter(**_common(query), state=query.state, episode_id=query.episode_id)
    page = await deps.reader.anomalies(wanted, query.after, query.limit)
    items = [AnomalyOut.of(row) for row in page.rows]
    return PageOut(items=items, next=page.next.encode() if page.next else None)


@router.get("/v1/anomalies/{anomaly_id}", tags=["anomalies"], responses=documented(404, 503))
async def anomaly(
    anomaly_id: Annotated[AnomalyId, Path()], query: Annotated[NoQuery, Query()], deps: Given
) -> AnomalyOut:
    """Give one anomaly with its scores and the features that made it."""
    row = await deps.reader.anomaly(anomaly_id)
    if row is None:
        raise ProblemError(404, f"expected the id of an anomaly, was {anomaly_id!r}")
    return AnomalyOut.of(row)


@router.get("/v1/episodes", tags=["anomalies"], responses=documented(503))
async def episodes(query: Annotated[EpisodesQuery, Query()], deps: Given) -> PageOut[EpisodeOut]:
    """List episodes, newest first."""
    wanted = EpisodeFilter(**_common(query), is_open=query.is_open)
    page = await deps.reader.episodes(wanted, query.after, query.limit)
    items = [EpisodeOut.of(row) for row in page.rows]
    return PageOut(items=items, next=page.next.encode() if page.next else None)


def _wanted(query: StreamQuery) -> Callable[[dict[str, Any]], bool]:
    """Give the test of an anomaly against the query."""
    asset_class, symbol = split(query.symbol, query.asset_class) if query.symbol else (query.asset_class, None)
    exact = {"symbol": symbol, "asset_class": asset_class, "kind": query.kind}
    asked = {name: value for name, value in exact.items() if value is not None}
    order = list(Severity)
    least = order.index(query.min_severity) if query.min_severity else 0

    def is_wanted(told: dict[str, Any]) -> bool:
        if any(told.get(name) != value for name, value in asked.items()):
            return False
        return not least or told.get("severity") in order[least:]

    return is_wanted


def _common(query: AnomaliesQuery | EpisodesQuery) -> dict[str, Any]:
    """Give what the filters of anomalies and episodes share."""
    asset_class, symbol = split(query.symbol, query.asset_class) if query.symbol else (query.asset_class, None)
    return {
        "symbol": symbol,
        "asset_class": asset_class,
        "kind": query.kind,
        "severity_min": query.min_severity,
        "from_ts": query.since_ns,
        "to_ts": query.until_ns,
    }


@router.get(
    "/v1/stream",
    tags=["anomalies"],
    response_class=StreamingResponse,
    responses={
        **documented(503),
        200: {
            "description": "Server-sent events named anomaly or episode, a comment as heartbeat",
            "content": {"text/event-stream": {"example": 'id: 1-0\nevent: anomaly\ndata: {"symbol":"AAPL"}\n\n'}},
        },
    },
)
async def stream(
    request: Request,
    query: Annotated[StreamQuery, Query()],
    deps: Given,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,20}(-[0-9]{1,20})?$")] = None,
) -> StreamingResponse:
    """Follow anomalies and episodes as they are raised; `Last-Event-ID` goes on after an event."""
    streams: Streams = request.app.state.streams
    body = frames(deps.listen(last_event_id), _wanted(query), deps.http.heartbeat_s)
    return streams.respond(body)


@router.get("/v1/feeds", tags=["health"], responses=documented(503))
async def feeds(query: Annotated[NoQuery, Query()], deps: Given) -> PageOut[FeedOut]:
    """List the feeds: state, lag and the newest holes in their data."""
    items = []
    for row in await deps.reader.feeds():
        gaps = [GapOut.model_validate(gap) for gap in await deps.reader.gaps(row.asset_class, limit=GAPS)]
        items.append(FeedOut.model_validate(row).model_copy(update={"gaps": gaps}))
    return PageOut(items=items)
