"""Hold one connection: open, log in, subscribe, count the answers, drain, close (protocol sections 2 and 3.8)."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from features.market.polygon import Status
from features.market.types import AssetClass
from features.market.wire import decode
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.events import CoolDownError, FatalFeedError, TransientFeedError

_ACK = "subscribed to: "
_NO_REALTIME = "You don't have access real-time data"  # its status differs between reports, its text does not
# The socket takes more than the parser, which counts an oversize frame where the socket would drop the connection.
_SOCKET_LIMIT = 4


class Session:
    """One authenticated connection.

    Parameters
    ----------
    config
        What to read and how long to wait.
    socket
        The connection, logged in.
    """

    def __init__(self, config: FeedConfig, socket: ClientConnection) -> None:
        self._config = config
        self._socket = socket
        self._pending = set(config.subscriptions)
        self._answered = asyncio.Event()
        self.condemned = asyncio.Event()
        self.verdict: TransientFeedError | FatalFeedError | None = None

    @classmethod
    async def open(cls, config: FeedConfig) -> "Session":
        """Connect and log in; raise what the refusal means: fatal, transient or cool-down."""
        try:
            socket = await connect(
                config.url,
                open_timeout=config.open_timeout_s,
                close_timeout=config.close_timeout_s,
                ping_interval=config.ping_interval_s,
                ping_timeout=config.ping_timeout_s,
                max_size=_SOCKET_LIMIT * config.max_frame_bytes,
                compression=None,
                proxy=None,
            )
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise TransientFeedError(f"expected a connection to {config.url}, was {error!r}") from error
        except InvalidURI as error:
            raise FatalFeedError(f"expected a WebSocket address, was {config.url!r}") from error
        try:
            await _log_in(socket, config)
        except ConnectionClosed as error:
            raise TransientFeedError(f"expected to log in, was closed: {error}") from error
        except BaseException:
            await _shut(socket, config.close_timeout_s)
            raise
        return cls(config, socket)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Subscriptions without an answer, in their order; after the deadline they count as refused."""
        return tuple(item for item in self._config.subscriptions if item in self._pending)

    async def subscribe(self) -> None:
        """Ask for everything, in requests of bounded size."""
        for params in chunks(self._config.subscriptions, self._config.chunk_items, self._config.chunk_bytes):
            await _send(self._socket, "subscribe", params, self._config.auth_timeout_s)

    def hear(self, status: Status) -> None:
        """Take note of what the server says once the session is up."""
        if status.status == "success" and status.message.startswith(_ACK):
            self._pending.discard(status.message.removeprefix(_ACK).strip())
            if not self._pending:
                self._answered.set()
        elif self.verdict is None:
            self.verdict = _verdict(status)
            if self.verdict is not None:
                self.condemned.set()

    async def answered(self, timeout_s: float) -> bool:
        """Wait until every subscription is answered; False if the time is up before."""
        try:
            await asyncio.wait_for(self._answered.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def drain(self, take: Callable[[bytes], None]) -> str:
        """Hand every frame to `take` until the connection ends; give how it ended."""
        try:
            while True:
                take(await self._socket.recv(decode=False))
        except ConnectionClosed as closed:
            return str(closed)

    async def close(self) -> None:
        """Close with 1000 and wait a bounded time, so that the vendor frees the place."""
        await _shut(self._socket, self._config.close_timeout_s)


def chunks(items: Sequence[str], max_items: int, max_bytes: int) -> Iterator[str]:
    """Join items with commas into requests of bounded size.

    >>> list(chunks(["AM.A", "AM.BB", "AM.CCC"], max_items=2, max_bytes=100))
    ['AM.A,AM.BB', 'AM.CCC']
    >>> list(chunks(["AM.A", "AM.BB", "AM.CCC"], max_items=9, max_bytes=11))
    ['AM.A,AM.BB', 'AM.CCC']
    """
    chunk: list[str] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == max_items or size + 1 + len(item) > max_bytes):
            yield ",".join(chunk)
            chunk, size = [], 0
        size += len(item) + (1 if chunk else 0)
        chunk.append(item)
    if chunk:
        yield ",".join(chunk)


async def _log_in(socket: ClientConnection, config: FeedConfig) -> None:
    """Wait for the greeting, send the key, wait for the verdict."""
    await _await_status(socket, config.asset_class, "connected", config.hello_timeout_s)
    await _send(socket, "auth", config.api_key, config.auth_timeout_s)
    await _await_status(socket, config.asset_class, "auth_success", config.auth_timeout_s)


async def _await_status(socket: ClientConnection, asset_class: AssetClass, wanted: str, timeout_s: float) -> None:
    """Read until the server says `wanted`; raise what any other status means."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                for status in decode(await socket.recv(decode=False), asset_class).statuses:
                    if status.status == wanted:
                        return
                    verdict = _verdict(status)
                    if verdict is not None:
                        raise verdict
    except TimeoutError as error:
        raise TransientFeedError(f"expected status {wanted} within {timeout_s} s, was silence") from error


async def _send(socket: ClientConnection, action: str, params: str, timeout_s: float) -> None:
    """Send one request; a server that does not read is a lost one."""
    try:
        async with asyncio.timeout(timeout_s):
            await socket.send(json.dumps({"action": action, "params": params}))
    except (ConnectionClosed, TimeoutError) as error:
        raise TransientFeedError(f"expected to send {action}, was {error!r}") from error


async def _shut(socket: ClientConnection, timeout_s: float) -> None:
    """Close politely, and after the time is up not so."""
    try:
        async with asyncio.timeout(timeout_s):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()


def _verdict(status: Status) -> TransientFeedError | FatalFeedError | None:
    """Say what a status asks of us (section 2.3), None where it asks nothing.

    >>> type(_verdict(Status("auth_failed", "authentication failed"))).__name__
    'FatalFeedError'
    >>> _verdict(Status("error", "not authorized"))
    """
    if status.status == "auth_failed" or status.message.startswith(_NO_REALTIME):
        return FatalFeedError(f"{status.status}: {status.message}")
    if status.status == "max_connections":
        return CoolDownError(status.message or status.status)
    if status.status in ("auth_timeout", "slow_consumer", "force_disconnect"):
        return TransientFeedError(f"{status.status}: {status.message}")
    return None
