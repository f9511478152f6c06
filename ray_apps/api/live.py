"""Give the gateway its real dependencies: the database, the cache, the stream of anomalies, who is ready."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from features.market.types import AssetClass
from ray_apps.api.deps import Deps, Push, Questions
from ray_apps.api.schemas import AnomalyOut, EpisodeOut
from ray_apps.api.stream import Event
from ray_apps.config import HttpConfig
from ray_apps.sinks.base import TOPICS, SinkUnavailableError, row_of
from ray_apps.sinks.redis_sink import STREAM, Latest, RedisCache, away, client
from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.feeds import FeedRow
from ray_apps.store.reader import Reader
from ray_apps.store.rows import AnomalyRow, EpisodeRow

BLOCK_MS = 1000
"""One wait for an entry: shorter than the client's timeout."""
CHUNK = 200
POLL_S = 1.0
"""Between questions to the database while Redis is away."""
PART_S = 1.5
"""What one part may take to answer a readiness check."""
STALE_S = 30.0
"""A feed that reports every few seconds and was not heard for so long is down."""
POLLS = 5
"""Such questions before Redis is tried again."""
MAX_TOLD = 10_000

Parts = Callable[[], Awaitable[Mapping[str, str]]]


def live_deps(
    reader: Reader,
    cache: RedisCache | None,
    redis_url: str | None,
    http: HttpConfig,
    metrics: Callable[[], Awaitable[str]],
    push: Push,
    parts: Parts | None = None,
) -> Deps:
    """Compose what a gateway answers from; `parts` adds parts only the caller can ask (actors).

    Without Redis (`cache` and `redis_url` None) everything is answered from the database.
    """

    async def latest(asset_class: AssetClass, symbol: str, bar_s: int) -> Latest | None:
        if cache is None:
            return None
        with suppress(SinkUnavailableError):
            return await cache.get(asset_class, symbol, bar_s)
        return None

    async def waiting(keys: Sequence[tuple[str, str, int]]) -> Sequence[Mapping[str, int] | None]:
        if cache is not None:
            with suppress(SinkUnavailableError):
                return await cache.waiting(keys)
        return [None] * len(keys)

    async def readiness() -> Mapping[str, str]:
        asked = {"database": _answer(reader.ping())}
        if cache is not None:
            asked["redis"] = _answer(cache.ping())
        said = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        if not said["database"]:
            said |= await _feeds(reader)
        if parts is not None:
            said |= await parts()
        return said

    return Deps(reader, latest, waiting, lambda after: listen(redis_url, reader, after), readiness, metrics, push, http)


async def _answer(asked: Awaitable[None]) -> str:
    """Give nothing for a part that answers, else what is wrong."""
    try:
        async with asyncio.timeout(PART_S):
            await asked
    except TimeoutError:
        return f"expected an answer in {PART_S} s, was none"
    except (StoreUnavailableError, SinkUnavailableError) as e:
        return str(e)
    return ""


async def _feeds(reader: Questions) -> dict[str, str]:
    try:
        async with asyncio.timeout(PART_S):
            rows = await reader.feeds()
    except (TimeoutError, StoreUnavailableError) as e:
        return {"feeds": f"expected their state, was {e or 'no answer'}"}
    now_ns = time.time_ns()
    return {f"feed {row.asset_class}": feed_fault(row, now_ns) for row in rows} or {"feeds": "expected one, was none"}


def feed_fault(row: FeedRow, now_ns: int) -> str:
    """Give nothing for a feed that is live, else what is wrong.

    >>> feed_fault(FeedRow("stocks", "live", "h", "t", updated_at=0), 10**9)
    ''
    >>> feed_fault(FeedRow("stocks", "reconnecting", "h", "t", detail="1006", updated_at=0), 10**9)
    'expected live, was reconnecting: 1006'
    """
    silent_s = (now_ns - (row.updated_at or 0)) / 1e9
    if silent_s > STALE_S:
        return f"expected a sign of life in {STALE_S:.0f} s, was none for {silent_s:.0f} s"
    if row.status != "live":
        return f"expected live, was {row.status}{f': {row.detail}' if row.detail else ''}"
    return ""


async def listen(redis_url: str | None, reader: Questions, after: str | None) -> AsyncGenerator[Event, None]:
    """Give anomalies and episodes as they are raised, from Redis, from the database while it is away.

    At least once: what was told is remembered by id, so that a change of source loses and repeats nothing.
    """
    told = _Told()
    place = after
    await _skip_old(reader, told)
    while True:
        if redis_url is not None:
            with suppress(SinkUnavailableError):
                async for entry, event in _from_redis(redis_url, place):
                    place = entry
                    if event is not None and told.is_new(event):
                        yield event
        for _ in range(POLLS):
            for event in await _from_database(reader, place):
                if not told.is_old(event) and told.is_new(event):
                    yield event
            await asyncio.sleep(POLL_S)


class _Told:
    """Remembers what was told: an anomaly in another state, an episode that grew, are told again."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()
        self._order: deque[tuple[str, str]] = deque()
        self._old: set[tuple[str, str]] = set()

    def is_new(self, event: Event) -> bool:
        """Say whether it was not told yet; from now on it was."""
        key = self._key(event)
        if key in self._keys:
            return False
        self._keys.add(key)
        self._order.append(key)
        if len(self._order) > MAX_TOLD:
            self._keys.discard(self._order.popleft())
        return True

    def skip(self, event: Event) -> None:
        """Take an event as older than the stream."""
        self._old.add(self._key(event))

    def is_old(self, event: Event) -> bool:
        """Say whether the database had it before the stream began."""
        return self._key(event) in self._old

    @staticmethod
    def _key(event: Event) -> tuple[str, str]:
        said = [event.body.get(name) for name in ("state", "n_anomalies", "closed_at", "severity")]
        return str(event.body.get("id")), str(said)


async def _from_redis(url: str, after: str | None) -> AsyncIterator[tuple[str, Event | None]]:
    """Give every entry's place, with its event where it is ours."""
    redis = client(url, timeout_s=3 * BLOCK_MS / 1000)
    try:
        with away():
            newest: Any = await redis.xrevrange(STREAM, count=1) if after is None else []
        place = after or (newest[0][0].decode() if newest else "0-0")
        while True:
            with away():
                found: Any = await redis.xread({STREAM: place}, count=CHUNK, block=BLOCK_MS)
            for entry, fields in (entry for _, entries in found for entry in entries):
                place = entry.decode()
                yield place, _event(place, fields)
    finally:
        await redis.aclose()


def _event(place: str, fields: Mapping[bytes, bytes]) -> Event | None:
    """Read an entry; None for what is not ours."""
    topic = fields.get(b"topic", b"").decode(errors="replace")
    kind = TOPICS.get(topic)
    if kind is None:
        return None
    try:
        payload = msgspec.json.decode(fields[b"payload"])
        row: AnomalyRow | EpisodeRow = row_of(payload, kind)  # type: ignore[type-var]
        return Event(place, topic, shown(row))
    except (ValueError, KeyError, TypeError):
        return None


def shown(row: AnomalyRow | EpisodeRow) -> dict[str, Any]:
    """Give a row as the lists of the gateway give it."""
    out = AnomalyOut.of(row) if isinstance(row, AnomalyRow) else EpisodeOut.of(row)
    return out.model_dump(mode="json")


async def _skip_old(reader: Questions, told: _Told) -> None:
    for event in await _from_database(reader, None):
        told.skip(event)


async def _from_database(reader: Questions, place: str | None) -> list[Event]:
    """Give the newest anomalies, oldest first; none while the database is away."""
    with suppress(StoreUnavailableError):
        page = await reader.anomalies(limit=CHUNK)
        return [Event(place or "", "anomaly", shown(row)) for row in reversed(page.rows)]
    return []
