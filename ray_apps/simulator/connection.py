"""Hold one client's stream: its bounded buffer, its subscriptions, and every way it can end."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from features.market.types import AssetClass
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.plans import Plan

SOCKET, DELAYED = "socket", "delayed"
_FLUSH_S = 5.0


@dataclass(slots=True)
class Subscription:
    """What a connection wants of one topic: everything, or the symbols of some rows."""

    everything: bool = False
    rows: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


def status(state: str, message: str) -> bytes:
    """Encode one status object, without the array around it.

    >>> status("connected", "Connected Successfully")
    b'{"ev":"status","status":"connected","message":"Connected Successfully"}'
    """
    return msgspec.json.encode({"ev": "status", "status": state, "message": message})


class Connection:
    """One client on one asset class of one host.

    Frames go through a queue with a sender task of its own, so that a slow client holds up nobody; when more than
    the allowed bytes wait, the client is told so and cut.
    """

    def __init__(
        self,
        socket: ServerConnection,
        asset_class: AssetClass,
        host: str,
        faults: Callable[[], Faults],
        number: int,
    ) -> None:
        self.number = number
        """Grows from connection to connection."""
        self.socket, self.asset_class, self.host = socket, asset_class, host
        self.key: str | None = None
        self.plan: Plan | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.frames_sent = self.bytes_sent = 0
        self._faults = faults
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self._send())

    @property
    def is_ready(self) -> bool:
        """Whether it may get data."""
        return self.key is not None and not self._closing

    @property
    def queued_bytes(self) -> int:
        """Bytes not yet handed to the system."""
        return self._queued_bytes

    def say(self, *statuses: bytes) -> None:
        """Queue status objects as one frame."""
        self.offer([b"[" + b",".join(statuses) + b"]"])

    def offer(self, frames: list[bytes]) -> None:
        """Queue frames; too many waiting bytes end the connection."""
        if self._closing:
            return
        size = sum(map(len, frames))
        if self._queued_bytes + size > self._faults().slow_consumer_bytes:
            self._closing = True
            self._queue.clear()
            self._queued_bytes = 0
            message = status("slow_consumer", "Connection is too slow: its buffer is full.")
            self._start(self._end("1008", b"[" + message + b"]", 0.0))
            return
        self._queue.extend(frames)
        self._queued_bytes += size
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until every queued byte was handed to the system, or the connection has gone."""
        await self._idle.wait()
        await self._flushed()

    def drop(self, mode: str, at_once: bool = False) -> None:
        """End the connection: "abort" without a close frame, else with this close code.

        Queued frames go first, unless it is to end at once.
        """
        if not self._closing:
            self._closing = True
            self._start(self._end(mode, None, 0.0 if at_once else _FLUSH_S))

    async def stop(self) -> None:
        """End the tasks of a connection that has gone."""
        self._closing = True
        self._idle.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _send(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    frame = self._queue.popleft()
                    await self.socket.send(frame, text=True)
                    self._queued_bytes = max(self._queued_bytes - len(frame), 0)
                    self.frames_sent += 1
                    self.bytes_sent += len(frame)
                    if self._faults().slow_s:
                        await asyncio.sleep(self._faults().slow_s)
                self._idle.set()
        except ConnectionClosed:
            self._closing = True
        finally:
            self._idle.set()

    async def _end(self, mode: str, last: bytes | None, patience_s: float) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.drained()
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            if last is not None:
                # A client that does not read finds it behind all that already waits.
                async with asyncio.timeout(1.0):
                    await self.socket.send(last, text=True)
        if mode == "abort":
            self.socket.transport.abort()
        else:
            # Nor can such a client shake hands: the server's close_timeout ends that.
            await self.socket.close(int(mode))

    async def _flushed(self) -> None:
        """Wait until the system has every byte: an abort throws away what it has not."""
        transport = self.socket.transport
        while not transport.is_closing() and transport.get_write_buffer_size():  # noqa: ASYNC110
            # A transport tells nobody when it is empty.
            await asyncio.sleep(0.001)
