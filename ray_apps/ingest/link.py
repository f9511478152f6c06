"""Keep one connection up: connect, watch, learn why it ended, wait, connect again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from features.market.polygon import Status
from ray_apps.ingest.backoff import full_jitter
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.events import CoolDownError, EventKind, FatalFeedError, FeedEvent, TransientFeedError
from ray_apps.ingest.session import Session

_CATCH_UP_S = 5.0  # how long the reason of a loss may wait behind frames not parsed yet
_TICK_S = 1.0


Take = Callable[[bytes, int], None]
"""Gets every frame and the number of its connection; must not wait."""
Drained = Callable[[float], Awaitable[bool]]
"""Waits, at most so many seconds, until every frame taken is parsed."""


class Source(Protocol):
    """What a feed asks of where its bars come from."""

    sessions: int
    cooldowns: int
    refused: tuple[str, ...]

    @property
    def is_connected(self) -> bool:
        """Whether data may come now."""

    @property
    def blind_s(self) -> float:
        """Seconds without a connection so far."""

    async def keep(self) -> None:
        """Give data until `stop`; raise `FatalFeedError` when a person must act."""

    def stop(self) -> None:
        """Let `keep` return."""

    def hear(self, session: int, status: Status) -> None:
        """Pass on what the other side said."""


class Link:
    """The connection of one feed over its whole life.

    Parameters
    ----------
    config
        What to connect to and how long to wait.
    take
        Gets every frame and the number of its connection; must not wait.
    drained
        Waits, at most so many seconds, until every frame taken is parsed.
    in_session
        Whether the market should print now.
    tell
        Gets the events.
    rng
        Spreads the reconnections.
    """

    def __init__(
        self,
        config: FeedConfig,
        take: Take,
        drained: Drained,
        in_session: Callable[[], bool],
        tell: Callable[[FeedEvent], None],
        rng: random.Random,
    ) -> None:
        self._config = config
        self._take = take
        self._drained = drained
        self._in_session = in_session
        self._tell = tell
        self._rng = rng
        self._session: Session | None = None
        self._stopping = asyncio.Event()
        self._last_frame_s = 0.0
        self._blind_s = 0.0
        self._blind_since_s: float | None = None
        self.sessions = 0
        self.cooldowns = 0
        self.refused: tuple[str, ...] = ()

    @property
    def is_connected(self) -> bool:
        """Whether data may come now."""
        return self.sessions > 0 and self._blind_since_s is None

    @property
    def blind_s(self) -> float:
        """Seconds without a connection since `keep` began."""
        now = 0.0 if self._blind_since_s is None else time.monotonic() - self._blind_since_s
        return self._blind_s + now

    def stop(self) -> None:
        """Let `keep` close the connection and return."""
        self._stopping.set()

    def hear(self, session: int, status: Status) -> None:
        """Pass on what the server said, unless it was on an earlier connection."""
        if self._session is not None and session == self.sessions:
            self._session.hear(status)

    async def keep(self) -> None:
        """Stay connected until `stop`; raise `FatalFeedError` when the vendor refuses the key."""
        self._blind_since_s = time.monotonic()
        waits = self._fresh_waits()
        while not self._stopping.is_set():
            began_s = time.monotonic()
            wait_s: float | None = None
            try:
                await self._hold()
            except CoolDownError as error:
                self.cooldowns += 1
                wait_s = self._config.cooldown_s
                self._say(EventKind.COOLDOWN, f"another instance is using this key: {error}")
            except TransientFeedError as error:
                self._say(EventKind.DISCONNECTED, str(error))
            except FatalFeedError as error:
                self._say(EventKind.FATAL, str(error))
                raise
            if self._last_frame_s - began_s >= self._config.stable_s:
                waits = self._fresh_waits()
            await self._pause(next(waits) if wait_s is None else wait_s)

    async def _hold(self) -> None:
        """Hold one connection; return only when stopped, else raise why it ended."""
        session = await Session.open(self._config)
        self._see(session)
        reader = asyncio.create_task(session.drain(self._receive))
        silence = asyncio.create_task(self._silence())
        answers = asyncio.create_task(self._answers(session))
        ends = [reader, silence, *(asyncio.create_task(e.wait()) for e in (session.condemned, self._stopping))]
        try:
            await session.subscribe()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            reason = f"silent for {self._config.silence_s} s inside a session" if silence.done() else ""
        finally:
            self._go_blind()
            # The reader goes on while we close: the server's half of the handshake comes after its data.
            await session.close()
            for task in (*ends, answers):
                task.cancel()
            await asyncio.gather(*ends, answers, return_exceptions=True)
        if not reader.cancelled():
            reason = reason or reader.result()
        await self._drained(_CATCH_UP_S)
        if session.verdict is not None:
            raise session.verdict
        if not self._stopping.is_set():
            raise TransientFeedError(reason)

    def _receive(self, data: bytes) -> None:
        self._last_frame_s = time.monotonic()
        self._take(data, self.sessions)

    def _see(self, session: Session) -> None:
        """Open the eyes: from here on data may come."""
        self._session = session
        self.sessions += 1
        self.refused = ()
        self._last_frame_s = time.monotonic()
        self._blind_s, self._blind_since_s = self.blind_s, None
        self._say(EventKind.AUTHENTICATED)

    def _go_blind(self) -> None:
        self._blind_since_s = time.monotonic()

    async def _answers(self, session: Session) -> None:
        """Wait for the answers to the subscription and say which did not come."""
        if not await session.answered(self._config.ack_timeout_s):
            await self._drained(self._config.ack_timeout_s)  # they may wait behind data
        self.refused = session.unanswered
        self._say(EventKind.SUBSCRIBED, refused=self.refused)

    async def _silence(self) -> None:
        """Return once no frame has come for too long inside a session; the night does not count."""
        limit_s = self._config.silence_s
        awake_s = time.monotonic()
        while True:
            await asyncio.sleep(min(_TICK_S, limit_s / 4))
            now_s = time.monotonic()
            if not self._in_session() or len(self.refused) == len(self._config.subscriptions):
                awake_s = now_s
            elif now_s - max(awake_s, self._last_frame_s) > limit_s:
                return

    async def _pause(self, wait_s: float) -> None:
        """Wait, unless stopped before."""
        try:
            await asyncio.wait_for(self._stopping.wait(), wait_s)
        except TimeoutError:
            return

    def _fresh_waits(self) -> Iterator[float]:
        return full_jitter(self._rng, self._config.backoff_base_s, self._config.backoff_cap_s)

    def _say(self, kind: EventKind, message: str = "", refused: tuple[str, ...] = ()) -> None:
        self._tell(FeedEvent(kind, time.time_ns(), message, refused=refused, count=self.sessions))
