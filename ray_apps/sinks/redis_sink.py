"""Keep the latest of every symbol in Redis, and a stream of anomalies.

The cache is best effort and written straight from the shards; the stream is fed from the outbox, each message once
however often it is delivered. Both work with any server of the Redis protocol from version 6.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ray_apps.sinks.base import DELIVERED, Message, Outcome, SinkUnavailableError, Verdict

LATEST = "tapewatch:latest"
STREAM = "tapewatch:anomalies"
STREAM_LENGTH = 100_000
TTL_S = 3 * 86_400
"""A weekend: on Monday morning Friday's last bar is still there."""

SEEN_TTL_S = 7 * 86_400
PARTS = ("features", "scores", "reasons", "waiting")
CHUNK = 500
"""Symbols a script call: the server does nothing else meanwhile, about 2 ms."""

# One argument holds all rows: packing 11,000 commands one by one costs the client more than the server's work.
PUT = """
local ttl = tonumber(ARGV[2])
for _, row in ipairs(cmsgpack.unpack(ARGV[1])) do
  local key = table.remove(row, 1)
  redis.call('HSET', key, unpack(row))
  redis.call('EXPIRE', key, ttl)
end
return 1
"""
ADD_ONCE = """
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) then
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'id', ARGV[3], 'topic', ARGV[4], 'payload', ARGV[5])
end
return false
"""


@dataclass(frozen=True, slots=True)
class Latest:
    """What is newest of a symbol at one bar length; `bar` holds ts (Unix ms) and the columns known.

    `reasons` says of features without a value why, `waiting` of kinds that cannot be called yet how many windows they
    still need.
    """

    asset_class: str
    symbol: str
    bar_s: int
    bar: Mapping[str, Any]
    features: Mapping[str, Any] | None = None
    scores: Mapping[str, Any] | None = None
    reasons: Mapping[str, str] | None = None
    waiting: Mapping[str, int] | None = None

    @property
    def key(self) -> str:
        """Give the hash's name.

        >>> Latest("stocks", "AAPL", 60, {}).key
        'tapewatch:latest:stocks:AAPL:60'
        """
        return latest_key(self.asset_class, self.symbol, self.bar_s)


def latest_key(asset_class: str, symbol: str, bar_s: int) -> str:
    """Give the name of a symbol's hash."""
    return f"{LATEST}:{asset_class}:{symbol}:{bar_s}"


def client(url: str, timeout_s: float = 2.0) -> "aioredis.Redis":
    """Give a client that fails fast: whoever uses it has its own way of trying again."""
    made: aioredis.Redis = aioredis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    return made


class RedisCache:
    """The newest bar, features and scores per symbol: hashes of JSON that expire.

    Raises
    ------
    SinkUnavailableError
        From every method, when the server is away. Nothing depends on the cache: count it and go on.
    """

    def __init__(self, url: str, ttl_s: int = TTL_S) -> None:
        self._client = client(url)
        self._put = self._client.register_script(PUT)
        self._ttl_s = ttl_s

    async def put(self, rows: Sequence[Latest]) -> None:
        """Store the rows over the former ones; parts that are None stay as they were."""
        encode = msgspec.json.encode
        flat: list[list[str | bytes]] = []
        for r in rows:
            row: list[str | bytes] = [r.key, "bar", encode(r.bar).decode()]
            for name in PARTS:
                if (part := getattr(r, name)) is not None:
                    row += [name, encode(part).decode()]
            flat.append(row)
        with away():
            for start in range(0, len(flat), CHUNK):
                chunk = msgspec.msgpack.encode(flat[start : start + CHUNK])
                await self._put(args=[chunk, self._ttl_s])

    async def get(self, asset_class: str, symbol: str, bar_s: int = 60) -> Latest | None:
        """Give what is newest of a symbol, None when nothing is."""
        with away():
            found = await self._client.hgetall(latest_key(asset_class, symbol, bar_s))
        if not found:
            return None
        parts = {_text(k): msgspec.json.decode(v) for k, v in found.items()}
        return Latest(asset_class, symbol, bar_s, parts.get("bar", {}), **{name: parts.get(name) for name in PARTS})

    async def waiting(self, keys: Sequence[tuple[str, str, int]]) -> list[dict[str, int] | None]:
        """Give what series (class, symbol, bar length) still wait for; None of those that are not cached."""
        with away():
            async with self._client.pipeline(transaction=False) as pipe:
                for asset_class, symbol, bar_s in keys:
                    pipe.hget(latest_key(asset_class, symbol, bar_s), "waiting")
                found = await pipe.execute()
        return [msgspec.json.decode(v) if v else None for v in found]

    async def ping(self) -> None:
        """Return when the server answers."""
        with away():
            await self._client.ping()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class RedisStream:
    """The sink `redis`: every message once into a bounded stream, with fields id, topic and payload (JSON)."""

    name = "redis"

    def __init__(self, url: str, stream: str = STREAM, length: int = STREAM_LENGTH) -> None:
        self._client = client(url)
        self._stream = stream
        self._length = length
        self._add = self._client.register_script(ADD_ONCE)

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Add messages to the stream; one that is there already is left out."""
        with away():
            async with self._client.pipeline(transaction=False) as pipe:
                for m in messages:
                    keys = [self._stream, f"{self._stream}:seen:{m.key}"]
                    args: list[int | str | bytes] = [SEEN_TTL_S, self._length, m.key, m.topic, m.payload]
                    await self._add(keys=keys, args=args, client=pipe)
                answers = await pipe.execute(raise_on_error=False)
            broken = next((a for a in answers if isinstance(a, exceptions.ConnectionError | TimeoutError)), None)
            if broken is not None:
                raise broken
        return [
            Outcome(Verdict.RETRY, f"{type(a).__name__}: {a}") if isinstance(a, Exception) else DELIVERED
            for a in answers
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


@contextlib.contextmanager
def away() -> Iterator[None]:
    """Turn the client's errors into SinkUnavailableError."""
    try:
        yield
    except (exceptions.RedisError, OSError, TimeoutError) as e:
        said = str(e).rstrip(".") or "no answer"
        raise SinkUnavailableError(
            f"expected Redis to answer, was {type(e).__name__}: {said}; is it running, and REDIS_URL its address?"
        ) from e
