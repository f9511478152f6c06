"""Server-sent events: a bounded number of open streams, each with signs of life while the market is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ray_apps.api.problems import ProblemError

RETRY_MS = 2000
"""What browsers wait before they connect again."""


@dataclass(frozen=True, slots=True)
class Event:
    """An anomaly or an episode on the stream; `id` is its place, which `Last-Event-ID` goes on from."""

    id: str
    topic: str
    body: dict[str, Any]


class Streams:
    """Counts open streams and refuses one too many; requests have no part in it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.n_open = 0

    def respond(self, body: AsyncGenerator[bytes, None]) -> StreamingResponse:
        """Give the response that holds a place while it runs; raise a 503 problem where none is free."""
        if self.n_open >= self.most:
            raise ProblemError(503, f"expected at most {self.most} open streams, was one more", {"Retry-After": "5"})
        self.n_open += 1
        return _Held(self, body)


class _Held(StreamingResponse):
    def __init__(self, streams: Streams, body: AsyncGenerator[bytes, None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._streams = streams
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.n_open -= 1
            await self._body.aclose()


async def frames(
    events: AsyncIterator[Event], is_wanted: Callable[[dict[str, Any]], bool], heartbeat_s: float
) -> AsyncGenerator[bytes, None]:
    """Write events as the wire has them, and a comment after every `heartbeat_s` of silence."""
    yield b"retry: %d\n\n" % RETRY_MS
    following = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=heartbeat_s)
            if not done:
                yield b": heartbeat\n\n"
                continue
            event = following.result()
            if event is None:
                return
            following = asyncio.ensure_future(anext(events, None))
            if is_wanted(event.body):
                yield encode(event)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def encode(event: Event) -> bytes:
    r"""Give the frame of an event.

    >>> encode(Event("1-0", "anomaly", {"symbol": "AAPL"}))
    b'id: 1-0\nevent: anomaly\ndata: {"symbol":"AAPL"}\n\n'
    """
    place = b"id: %b\n" % event.id.encode() if event.id else b""
    return b"%bevent: %b\ndata: %b\n\n" % (place, event.topic.encode(), msgspec.json.encode(event.body))
