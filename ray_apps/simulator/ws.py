"""Speak the stream's session: connect, authenticate, subscribe; and publish bars to whoever asked."""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from features.market.symbols import to_ours
from features.market.types import AssetClass
from ray_apps.simulator.channels import Wish, Wishes
from ray_apps.simulator.config import MAX_FRAME_BYTES
from ray_apps.simulator.connection import DELAYED, SOCKET, Connection, Subscription, status
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.plans import KNOWN_TOPICS, plan, plan_name
from ray_apps.simulator.tickwire import fair_name
from ray_apps.simulator.wire import frames, pick

CONNECTED = status("connected", "Connected Successfully")
AUTHENTICATED = status("auth_success", "authenticated")
AUTH_FAILED = status("auth_failed", "authentication failed")
NO_PLAN = status(
    "auth_failed",
    "Your plan doesn't include websocket access. Visit https://massive.com/pricing to upgrade.",
)
NO_REAL_TIME = status(
    "auth_failed",
    "You don't have access real-time data. If your plan only includes delayed data, you can connect to the "
    "delayed websocket at wss://delayed.polygon.io/stocks.",
)
AUTH_TIMEOUT = status("auth_timeout", "No authentication request received.")
NOT_AUTHORIZED = status("error", "not authorized")
TOO_MANY = status(
    "max_connections",
    "Maximum number of websocket connections exceeded. You have reached the connection limit for your account. "
    "Please contact support at https://polygon.io/contact to increase your limit.",
)
_QUOTED_CONTRACTS = 1_000
_OVERSIZE_PAD = b" " * (1_100_000)


class _Request(msgspec.Struct):
    action: str = ""
    params: str = ""


class Hub:
    """All clients. Classes without a source take subscriptions and stay silent."""

    def __init__(self, symbols: dict[AssetClass, tuple[str, ...]], faults: Callable[[], Faults]) -> None:
        self._rows = {c: {name: i for i, name in enumerate(names)} for c, names in symbols.items()}
        self._fair_rows = {c: {fair_name(c, name): i for name, i in rows.items()} for c, rows in self._rows.items()}
        self._faults = faults
        self.connections: set[Connection] = set()
        self._garbage = random.Random(7)  # noqa: S311  (a fault's timing, not a secret)
        self._changed = asyncio.Event()
        self._wishes: dict[tuple[AssetClass, str, tuple[str, ...]], Wishes] = {}
        self.accepted = 0
        """How many connections there have been."""

    async def serve(self, socket: ServerConnection, host: str) -> None:
        """Hold one client's session; `host` is "socket" or "delayed"."""
        path = socket.request.path if socket.request is not None else "/"
        asset_class, host = _market(path, host)
        if asset_class is None:
            await socket.close(1008, "unknown market")
            return
        self.accepted += 1
        connection = Connection(socket, asset_class, host, self._faults, self.accepted)
        self.connections.add(connection)
        try:
            await self._session(connection)
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)
            await connection.stop()
            self._wake()

    def wishes(self, asset_class: AssetClass, host: str, topics: tuple[str, ...]) -> Wishes:
        """Give which of these topics anybody subscribed, and what of them all together."""
        key = (asset_class, host, topics)
        found = self._wishes.get(key)
        if found is None:
            held: dict[str, list[Subscription]] = {}
            for connection in self._ready(asset_class, host):
                for topic in connection.subscriptions.keys() & set(topics):
                    held.setdefault(topic, []).append(connection.subscriptions[topic])
            found = self._wishes[key] = {
                topic: Wish(any(s.everything for s in held[topic]), frozenset().union(*(s.rows for s in held[topic])))
                for topic in topics
                if topic in held
            }
        return found

    async def subscribed(self) -> None:
        """Wait until somebody holds a subscription."""
        while not any(c.is_ready and c.subscriptions for c in self.connections):
            await self._changed.wait()

    async def everybody(self) -> None:
        """Wait until every class with bars has a subscriber."""
        while not all(
            self._ready(a, SOCKET) and any(c.subscriptions for c in self._ready(a, SOCKET)) for a in self._rows
        ):
            await self._changed.wait()

    async def drained(self) -> None:
        """Wait until every client's frames were handed to the system."""
        await asyncio.gather(*(c.drained() for c in list(self.connections)))

    def publish(
        self,
        asset_class: AssetClass,
        host: str,
        topic: str,
        rows: NDArray[np.intp],
        events: Sequence[bytes],
    ) -> int:
        """Queue events (of these symbol rows) for everybody who wants them; give how many clients do."""
        faults, shared, reached = self._faults(), None, 0
        if faults.silence or topic in faults.swallow_topics:
            return 0
        for connection in self._ready(asset_class, host):
            wanted = connection.subscriptions.get(topic)
            if wanted is None:
                continue
            if wanted.everything:
                shared = self._frames(events, faults) if shared is None else shared
                made = shared
            else:
                made = self._frames(pick(events, rows, wanted.rows), faults)
            if made:
                connection.offer(made)
                reached += 1
                if faults.drop_after == "data":
                    connection.drop(faults.drop_mode)
        return reached

    def drop(self, mode: str, asset_class: AssetClass | None = None) -> int:
        """End connections, all or those of a class; give how many."""
        found = [c for c in self.connections if asset_class in (None, c.asset_class)]
        for connection in found:
            connection.drop(mode, at_once=True)
        return len(found)

    def send_raw(self, frame: bytes, asset_class: AssetClass | None = None) -> int:
        """Send a frame as it is to every ready client, of a class or all; give how many."""
        found = [c for c in self.connections if c.is_ready and asset_class in (None, c.asset_class)]
        for connection in found:
            connection.offer([frame])
        return len(found)

    def _ready(self, asset_class: AssetClass, host: str) -> list[Connection]:
        return [c for c in self.connections if c.is_ready and c.asset_class is asset_class and c.host == host]

    def _frames(self, events: Sequence[bytes], faults: Faults) -> list[bytes]:
        limit = 2**30 if faults.oversize else MAX_FRAME_BYTES
        made = frames(events, len(events) or 1 if faults.oversize else faults.batch, limit)
        if faults.oversize:
            # Blanks are JSON too: the frame is as good as any, only too large.
            made = [frame[:-1] + _OVERSIZE_PAD + b"]" for frame in made]
        if faults.garbage_fraction:
            made = [part for frame in made for part in (*self._maybe_garbage(faults), frame)]
        return made

    def _maybe_garbage(self, faults: Faults) -> tuple[bytes, ...]:
        if self._garbage.random() >= faults.garbage_fraction:
            return ()
        return (self._garbage.choice(GARBAGE),)

    async def _session(self, connection: Connection) -> None:
        connection.say(CONNECTED)
        if self._faults().drop_after == "connected":
            connection.drop(self._faults().drop_mode)
        if not await self._authenticate(connection):
            await connection.socket.wait_closed()
            return
        if self._faults().drop_after == "auth":
            connection.drop(self._faults().drop_mode)
        async for message in connection.socket:
            self._handle(connection, _request(message))

    async def _authenticate(self, connection: Connection) -> bool:
        """Take requests until one authenticates; false when the connection is to end."""
        try:
            async with asyncio.timeout(self._faults().auth_timeout_s):
                while True:
                    request = _request(await connection.socket.recv())
                    if request.action == "auth":
                        break
                    connection.say(NOT_AUTHORIZED)
        except TimeoutError:
            connection.say(AUTH_TIMEOUT)
            connection.drop("1008")
            return False
        refused = self._refusal(connection, request.params)
        if refused is None:
            return self._admit(connection, request.params)
        if refused:
            connection.say(refused)
            connection.drop("abort")
        return False

    def _refusal(self, connection: Connection, key: str) -> bytes | None:
        """Give what is said to a key that may not in, nothing (b"") where the server stays silent, else None."""
        forced = {"bad_key": AUTH_FAILED, "no_plan": NO_PLAN, "realtime_refused": NO_REAL_TIME, "silent": b""}
        fault = self._faults().auth
        if fault in forced:
            return forced[fault]
        if fault == "timeout":
            connection.say(AUTH_TIMEOUT)
            connection.drop("1008")
            return b""
        name = plan_name(key, connection.asset_class)
        if name is None:
            return AUTH_FAILED
        found = plan(name, connection.asset_class)
        if connection.host not in found.hosts:
            return NO_REAL_TIME if DELAYED in found.hosts else NO_PLAN
        connection.plan = found
        return None

    def _admit(self, connection: Connection, key: str) -> bool:
        """Let a key in, at the cost of another connection where it has too many."""
        assert connection.plan is not None
        same = [c for c in self.connections if c.key == key and c.asset_class is connection.asset_class]
        faults = self._faults()
        limit = faults.max_connections or connection.plan.connections
        connection.key = key
        connection.say(AUTHENTICATED)
        same.sort(key=lambda c: c.number)
        while len(same) >= limit:
            loser = {
                "oldest": lambda: same[0],
                "newest": lambda: connection,
                "random": lambda: self._garbage.choice([*same, connection]),
            }[faults.max_conn_policy]()
            loser.say(TOO_MANY)
            loser.drop("1008")
            if loser is connection:
                return False
            same.remove(loser)
        self._wake()
        return True

    def _handle(self, connection: Connection, request: _Request) -> None:
        items = [item.strip() for item in request.params.split(",") if item.strip()]
        if request.action == "subscribe":
            self._subscribe(connection, items)
        elif request.action == "unsubscribe":
            for item in items:
                self._unsubscribe(connection, item)
        elif request.action != "auth":
            connection.say(status("error", "unknown action"))
        self._wake()

    def _subscribe(self, connection: Connection, items: list[str]) -> None:
        faults = self._faults()
        if faults.drop_after == "before_first_sub_ack":
            connection.drop(faults.drop_mode)
            return
        answers: list[bytes] = []
        for item in items:
            answer = self._answer(connection, item, faults)
            if answer is not None:
                answers.append(answer)
        # Thousands of acknowledgements share frames of a bounded size.
        for at in range(0, len(answers), 500):
            connection.say(*answers[at : at + 500])

    def _answer(self, connection: Connection, item: str, faults: Faults) -> bytes | None:
        """Subscribe one item and give the answer; unknown topics and repeats get none."""
        assert connection.plan is not None
        topic, _, symbol = item.partition(".")
        if topic in faults.swallow_topics or topic not in KNOWN_TOPICS[connection.asset_class] or not symbol:
            return None
        if topic not in connection.plan.topics or topic in faults.refuse_topics:
            return NOT_AUTHORIZED
        held = connection.subscriptions.get(topic, Subscription())
        if topic == "Q" and connection.asset_class is AssetClass.OPTIONS and not _may_quote(held, symbol):
            return NOT_AUTHORIZED
        connection.subscriptions[topic] = held
        if symbol == "*":
            is_new, held.everything = not held.everything, True
        else:
            is_new = symbol not in held.names
            held.names.add(symbol)
            row = self._row(connection.asset_class, topic, symbol)
            if row is not None:
                held.rows.add(row)
        return status("success", f"subscribed to: {item}") if is_new else None

    def _unsubscribe(self, connection: Connection, item: str) -> None:
        topic, _, symbol = item.partition(".")
        held = connection.subscriptions.get(topic)
        if held is None:
            return
        if symbol == "*":
            held.everything = False
        else:
            held.names.discard(symbol)
            row = self._row(connection.asset_class, topic, symbol)
            if row is not None:
                held.rows.discard(row)
        if not held.everything and not held.names:
            del connection.subscriptions[topic]
        connection.say(status("success", f"unsubscribed to: {item}"))

    def _row(self, asset_class: AssetClass, topic: str, symbol: str) -> int | None:
        rows = self._fair_rows if topic == "FMV" else self._rows
        return rows.get(asset_class, {}).get(to_ours(asset_class, symbol))

    def _wake(self) -> None:
        self._wishes.clear()
        self._changed.set()
        self._changed = asyncio.Event()


GARBAGE = (
    b"this is no JSON",
    b'[{"ev":"AM","sym":"AAPL","o":',
    b'{"ev":"status","status":"success","message":"a bare object"}',
    b'[{"ev":"status","status":"success"}]',
    b'[{"ev":"AM","sym":"AAPL","v":NaN,"o":NaN,"c":NaN,"h":NaN,"l":NaN,"s":1,"e":2}]',
    b'[{"ev":"ZZ","sym":"AAPL","x":[1,{"y":null}]}]',
    b'[1,null,"text",[]]',
    b"[]",
)
"""Frames no client may die of."""


def _may_quote(held: Subscription, contract: str) -> bool:
    """Say whether an option's quotes may be had too: no wildcard, and so many contracts a connection."""
    return contract != "*" and (contract in held.names or len(held.names) < _QUOTED_CONTRACTS)


def _market(path: str, host: str) -> tuple[AssetClass | None, str]:
    """Read the class, and perhaps the host, from a path.

    >>> _market("/delayed/stocks", "socket"), _market("/futures/cme?x=1", "socket")
    ((<AssetClass.STOCKS: 'stocks'>, 'delayed'), (<AssetClass.FUTURES: 'futures'>, 'socket'))
    """
    parts = [part for part in path.split("?")[0].split("/") if part]
    if parts and parts[0] in (SOCKET, DELAYED):
        host = parts.pop(0)
    try:
        return AssetClass(parts[0] if parts else ""), host
    except ValueError:
        return None, host


def _request(message: str | bytes) -> _Request:
    """Read a client's request; anything else is one without an action."""
    try:
        return msgspec.json.decode(message, type=_Request)
    except msgspec.DecodeError:
        return _Request()
