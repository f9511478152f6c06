"""Answer REST's calls for trades and quotes, paged by time."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from features.market.types import I64, NS_PER_MS, NS_PER_S, AssetClass
from features.synthetic.hours import MINUTE_NS
from ray_apps.simulator import aggs
from ray_apps.simulator.catalogue import TRF_EXCHANGE
from ray_apps.simulator.clock import clamp
from ray_apps.simulator.gate import NO_TICKER, NOT_ENTITLED, NOT_THIS_TIME, error, reply
from ray_apps.simulator.lists import Row, cursor, limit_of, options_of, range_of
from ray_apps.simulator.plans import Plan
from ray_apps.simulator.sources import DAY_NS, Source
from ray_apps.simulator.ticks import Ticks, join, ticks_of
from ray_apps.simulator.tickwire import INDICATORS, TRF_ID, conditions, identities, tapes
from ray_apps.simulator.vendor import Instrument, Routes, Vendor

_USUAL, _MOST = 1_000, 50_000
_UNBOUNDED_DAYS = 7
"""How far back a question without a beginning looks."""
_YEAR_NS = 366 * DAY_NS
_TRADE_TOPIC = {AssetClass.STOCKS: "T", AssetClass.OPTIONS: "T", AssetClass.CRYPTO: "XT", AssetClass.FUTURES: "T"}
_QUOTE_TOPIC = {AssetClass.STOCKS: "Q", AssetClass.OPTIONS: "Q", AssetClass.FOREX: "C", AssetClass.FUTURES: "Q"}


@dataclass(frozen=True, slots=True)
class Kind:
    """Trades or quotes: the topic a plan must have for them, by class, and how a row is written."""

    is_quote: bool
    topic_of: dict[AssetClass, str]
    rows: Callable[[AssetClass, Ticks], list[Row]]

    def times(self, ticks: Ticks) -> I64:
        """Give when each was."""
        return ticks.quote_ts if self.is_quote else ticks.ts


@dataclass(frozen=True, slots=True)
class Span:
    """Which ticks are asked for: times in [start, end], newest or oldest first, from a place on."""

    start_ns: int
    end_ns: int
    descending: bool
    most: int
    after: tuple[int, int] | None = None
    """Time and sequence of the last one already given."""


class Trades:
    """The calls that give trades and quotes."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def routes(self) -> Routes:
        """Give the paths and who answers them."""
        return [("/v3/trades/{ticker:path}", self._trades), ("/v3/quotes/{ticker:path}", self._quotes)]

    async def _trades(self, request: Request) -> Response:
        return await self._give(request, TRADES)

    async def _quotes(self, request: Request) -> Response:
        return await self._give(request, QUOTES)

    async def _give(self, request: Request, kind: Kind) -> Response:
        found = self._vendor.find(request.path_params["ticker"])
        plan = self._vendor.enter(request, found.asset_class)
        if found.asset_class is AssetClass.FUTURES or found.asset_class not in kind.topic_of:
            raise error(404, NO_TICKER)
        return await give(self._vendor, request, found, plan, kind)


async def give(vendor: Vendor, request: Request, found: Instrument, plan: Plan, kind: Kind) -> Response:
    """Answer a call for the ticks of an instrument."""
    if kind.topic_of[found.asset_class] not in plan.topics:
        raise error(403, NOT_ENTITLED)
    options = options_of(dict(request.query_params))
    body: dict[str, Any] = vendor.envelope(plan) | {"results": []}
    if found.source is None or found.row is None:
        return reply(body)
    span = span_of(options, found.source, vendor.known_ns(plan, found.source))
    if span.start_ns < vendor.clock.now() - plan.history_years * _YEAR_NS:
        raise error(403, NOT_THIS_TIME)
    parts = [piece async for piece in read(found.source, found.row, span, kind)]
    if parts:
        ticks = join(parts)
        body["results"] = kind.rows(found.asset_class, ticks.take(slice(0, span.most)))
        if len(ticks) > span.most:
            last = (int(kind.times(ticks)[span.most - 1]), int(ticks.sequence[span.most - 1]))
            marks = (f"{t}-{q}" for t, q in (span.after or (0, 0), last))
            same, following = (f"{request.url.path}?cursor={cursor(options, mark)}" for mark in marks)
            body["next_url"] = vendor.next_url(same, following)
    return reply(body)


async def read(source: Source, row: int, span: Span, kind: Kind) -> AsyncIterator[Ticks]:
    """Give the ticks of a span, minute by minute, one more than asked for where there are more."""
    left = span.most + 1
    bar_s, longest = min(source.lengths_s), max(source.lengths_s)
    for a, b in aggs.days(source, span.start_ns, span.end_ns + 1, reverse=span.descending):
        minutes = source.history(row, longest, a // MINUTE_NS * MINUTE_NS, b).ts
        for start in (minutes[::-1] if span.descending else minutes).tolist():
            bars = source.history(row, bar_s, start, start + longest * NS_PER_S)
            piece = _inside(ticks_of(source, bars, bar_s), span, kind).take(slice(0, left))
            left -= len(piece)
            if len(piece):
                yield piece
            if not left:
                return
            await asyncio.sleep(0)


def _inside(ticks: Ticks, span: Span, kind: Kind) -> Ticks:
    """Give the ticks of a span, in its order."""
    times = kind.times(ticks)
    keep = (times >= span.start_ns) & (times <= span.end_ns)
    if span.after is not None:
        ts, sequence = span.after
        is_later = (times > ts) | ((times == ts) & (ticks.sequence > sequence))
        is_earlier = (times < ts) | ((times == ts) & (ticks.sequence < sequence))
        keep &= is_earlier if span.descending else is_later
    found = ticks.take(keep)
    return found.take(slice(None, None, -1)) if span.descending else found


async def last_tick(source: Source, row: int, known_ns: int) -> Ticks | None:
    """Give the newest tick known at a time, None where a week had none."""
    span = Span(known_ns - _UNBOUNDED_DAYS * DAY_NS, known_ns, descending=True, most=1)
    async for piece in read(source, row, span, TRADES):
        return piece.take(slice(0, 1))
    return None


def span_of(options: dict[str, str], source: Source, known_ns: int) -> Span:
    """Read which ticks are asked for: times as ns or dates; without a beginning, of a week."""
    start, end = range_of(options, "timestamp", known_ns, lambda text: _time(text, source))
    marker = re.fullmatch(r"(\d+)-(\d+)", options.get("page_marker", ""))
    return Span(
        end - _UNBOUNDED_DAYS * DAY_NS if start is None else start,
        end,
        descending="asc" not in (options.get("order"), options.get("sort", "").partition(".")[2]),
        most=limit_of(options, _USUAL, _MOST),
        after=(int(marker[1]), int(marker[2])) if marker is not None and int(marker[1]) else None,
    )


def _time(text: str, source: Source) -> tuple[int, int]:
    """Give the first and the last ns a text names: a day's, or one."""
    if re.fullmatch(r"\d{1,19}", text):
        return clamp(int(text)), clamp(int(text))
    try:
        first, last = (aggs.parse_time(text, "timestamp", source, is_end=is_end) for is_end in (False, True))
    except aggs.BadRequest:
        raise aggs.BadRequest(
            "Could not parse the time parameter: 'timestamp'. Use YYYY-MM-DD or Unix NS Timestamps"
        ) from None
    return first, last + NS_PER_MS - 1


def trade_rows(asset_class: AssetClass, ticks: Ticks) -> list[Row]:
    """Give trades as the vendor's rows, times in ns."""
    rows: list[Row] = []
    columns = (ticks.ts, ticks.price, ticks.size, ticks.sequence, ticks.exchange)
    words = (conditions(asset_class, ticks), identities(ticks), tapes(ticks))
    for ts, price, size, q, x, codes, identity, tape in zip(*(c.tolist() for c in columns), *words, strict=True):
        row: Row = {"exchange": x, "participant_timestamp": ts, "price": price, "size": size}
        row |= {"conditions": codes} if codes else {}
        if asset_class is not AssetClass.OPTIONS:
            row["id"] = identity
        if asset_class is not AssetClass.CRYPTO:
            row |= {"sip_timestamp": ts, "sequence_number": q}
        if asset_class is AssetClass.STOCKS:
            row |= {"tape": tape}
            row |= {"trf_id": TRF_ID, "trf_timestamp": ts} if x == TRF_EXCHANGE else {}
        rows.append(row)
    return rows


def quote_rows(asset_class: AssetClass, ticks: Ticks) -> list[Row]:
    """Give quotes as the vendor's rows, times in ns."""
    rows: list[Row] = []
    columns = (ticks.quote_ts, ticks.bid, ticks.ask, ticks.bid_size, ticks.ask_size, ticks.sequence, ticks.exchange)
    for ts, bid, ask, bid_size, ask_size, q, x, tape in zip(*(c.tolist() for c in columns), tapes(ticks), strict=True):
        row: Row = {"ask_exchange": x, "ask_price": ask, "bid_exchange": x, "bid_price": bid}
        row["participant_timestamp"] = ts
        if asset_class is not AssetClass.FOREX:
            row |= {"ask_size": ask_size, "bid_size": bid_size, "sip_timestamp": ts, "sequence_number": q}
        if asset_class is AssetClass.STOCKS:
            row |= {"tape": tape, "indicators": INDICATORS}
        rows.append(row)
    return rows


TRADES, QUOTES = Kind(False, _TRADE_TOPIC, trade_rows), Kind(True, _QUOTE_TOPIC, quote_rows)
