"""Serve scripted WebSocket conversations in the vendor's protocol: a real server, one script per connection."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

MINUTE_MS = 60_000
START_MS = 1_789_738_200_000  # 2026-09-18 09:30 New York
Script = Callable[["Peer"], Awaitable[None]]


def minute(index: int, symbol: str = "KO", **changes: Any) -> dict[str, Any]:
    """Give the aggregate of the index-th minute of the session; `changes` replace fields."""
    start = START_MS + index * MINUTE_MS
    bar = {"ev": "AM", "sym": symbol, "v": 100, "vw": 50.0, "o": 50.0, "c": 50.5, "h": 51.0, "l": 49.5, "z": 10}
    return bar | {"s": start, "e": start + MINUTE_MS} | changes


def second(index: int, symbol: str = "KO", **changes: Any) -> dict[str, Any]:
    """Give the aggregate of the index-th second of the session."""
    start = START_MS + index * 1000
    return minute(0, symbol) | {"ev": "A", "s": start, "e": start + 1000} | changes


class Peer:
    """The server's end of one connection, `number` counting from 0."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self._socket = socket
        self.number = number
        self.subscribed: list[str] = []
        self.requests: list[dict[str, str]] = []
        self.close_code: int | None = None

    async def send(self, *events: dict[str, Any]) -> None:
        """Send events in one frame."""
        await self._socket.send(json.dumps(events))

    async def raw(self, frame: str | bytes) -> None:
        """Send a text frame as it is."""
        await self._socket.send(frame, text=True)

    async def status(self, status: str, message: str = "") -> None:
        await self.send({"ev": "status", "status": status, "message": message})

    async def hear(self) -> dict[str, str]:
        """Wait for one request."""
        request: dict[str, str] = json.loads(await self._socket.recv())
        self.requests.append(request)
        return request

    async def log_in(self) -> None:
        """Greet, take any key."""
        await self.status("connected", "Connected Successfully")
        await self.hear()
        await self.status("auth_success", "authenticated")

    async def acknowledge(self, *refuse: str) -> None:
        """Take one subscription request and answer its items, but for the refused."""
        items = (await self.hear())["params"].split(",")
        self.subscribed += items
        acks = [i for i in items if i not in refuse]
        if acks:
            await self.send(*({"ev": "status", "status": "success", "message": f"subscribed to: {i}"} for i in acks))

    async def greet(self) -> None:
        """Log in and acknowledge one request."""
        await self.log_in()
        await self.acknowledge()

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code)

    def abort(self) -> None:
        """Drop the connection without a close frame."""
        self._socket.transport.abort()

    def stop_reading(self) -> None:
        """Let the client talk to a wall: no pong, no close handshake."""
        self._socket.transport.pause_reading()

    async def wait_closed(self) -> None:
        """Wait until the client goes; its close code is then in `close_code`."""
        await self._socket.wait_closed()
        self.close_code = self._socket.close_code


async def held_elsewhere(peer: Peer) -> None:
    """Let the first connection go after a bar, as another program has the key; keep the others."""
    await peer.greet()
    await peer.send(minute(peer.number))
    if peer.number == 0:
        await peer.status("max_connections", "Maximum number of websocket connections exceeded.")
        await peer.close(1008)


class ScriptedServer:
    """Run `script` for every connection on a free port of 127.0.0.1."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: Server | None = None
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, close_timeout=1, ping_interval=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for socket in list(self._server.connections):
            socket.transport.abort()
        self._server.close()
        await asyncio.wait_for(self._server.wait_closed(), 5)
        if self.failures and error is None:
            raise self.failures[0]

    @property
    def url(self) -> str:
        """Where the server listens, as a feed wants it for stocks."""
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/stocks"

    async def _serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket, len(self.peers))
        self.peers.append(peer)
        try:
            with suppress(ConnectionClosed):
                await self._script(peer)
                await peer.wait_closed()
        except Exception as error:
            self.failures.append(error)
            raise
        peer.close_code = socket.close_code
