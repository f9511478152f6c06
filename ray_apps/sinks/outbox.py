"""Pump messages from the outbox to their sinks: at least once, each sink on its own.

A claim pushes a message's next try beyond the time a delivery may take, in a short transaction of its own; should
the pump die meanwhile, the message comes up again by itself. So no transaction is open while a slow server thinks.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ray_apps import metrics
from ray_apps.metrics import MetricSet
from ray_apps.sinks.base import Message, Outcome, Sink, SinkUnavailableError, Verdict
from ray_apps.store.connect import Conn, Ns, Pool, fetch
from ray_apps.store.errors import StoreError, StoreUnavailableError

LOG = logging.getLogger(__name__)
ERROR_KEPT = 500
"""Characters of an error kept with a message."""

CLAIM = """
WITH due AS (
    SELECT id FROM outbox
    WHERE sink = %(sink)s AND delivered_at IS NULL AND dead_at IS NULL AND next_at <= clock_timestamp()
    ORDER BY next_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET attempts = o.attempts + 1, next_at = clock_timestamp() + make_interval(secs => %(hold)s)
FROM due WHERE o.id = due.id
RETURNING o.id, o.topic, o.key, o.payload::text, o.attempts
"""
MARK = """
UPDATE outbox o SET
    delivered_at = CASE WHEN m.verdict = 'delivered' THEN clock_timestamp() END,
    dead_at = CASE WHEN m.verdict = 'dead' THEN clock_timestamp() END,
    next_at = clock_timestamp() + make_interval(secs => m.delay),
    last_error = nullif(m.error, '')
FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(delays)s::float8[], %(errors)s::text[])
    AS m (id, verdict, delay, error)
WHERE o.id = m.id AND o.delivered_at IS NULL
"""
PUT_BACK = """
UPDATE outbox SET attempts = attempts - 1, last_error = %(error)s,
    next_at = clock_timestamp() + make_interval(secs => %(delay)s)
WHERE id = ANY(%(ids)s) AND delivered_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try: doubling, capped, with full jitter; and when to give a message up.

    With the defaults a message is tried for about an hour and a half.
    """

    first_s: float = 1.0
    cap_s: float = 300.0
    attempts: int = 24

    def delay_s(self, attempts: int, chance: float) -> float:
        """Give the wait after the `attempts`-th failure, `chance` in [0, 1).

        >>> Backoff(first_s=1, cap_s=10).delay_s(3, 0.5), Backoff(first_s=1, cap_s=10).delay_s(50, 0.0)
        (3.0, 5.0)
        """
        longest = min(self.cap_s, self.first_s * 2.0 ** min(attempts - 1, 60))
        return longest * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True)
class PumpConfig:
    """How the pump works: `poll_s` between looks when idle, `deliver_s` at most for one batch of `batch` messages."""

    poll_s: float = 0.2
    deliver_s: float = 30.0
    batch: int = 64
    backoff: Backoff = Backoff()


class Pump:
    """Carry the messages of several sinks; a sink that is away, slow or broken holds up no other."""

    def __init__(
        self, dsn: str, sinks: Sequence[Sink], config: PumpConfig | None = None, rng: random.Random | None = None,
        own: MetricSet | None = None,
    ) -> None:  # fmt: skip
        self._sinks = sinks
        self._config = config or PumpConfig()
        self._rng = rng or random.Random()  # noqa: S311 jitter, not a secret
        self._pool = Pool(dsn, "outbox", max(1, len(sinks)))
        self._own = own or MetricSet("outbox", "")
        for sink in sinks:  # from 0 on, so that the first failure is an increase
            self._count(sink.name, (0, 0))
        self._wake = {sink.name: asyncio.Event() for sink in sinks}

    def wake(self) -> None:
        """Look for messages at once."""
        for event in self._wake.values():
            event.set()

    async def run(self) -> None:
        """Carry messages until cancelled; then close the sinks."""
        try:
            async with asyncio.TaskGroup() as group:
                for sink in self._sinks:
                    group.create_task(self._serve(sink), name=f"outbox-{sink.name}")
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the sinks and the connections; `run` does so itself."""
        await self._pool.close()
        for sink in self._sinks:
            await sink.close()

    async def once(self, sink: Sink) -> int:
        """Carry one batch; give its size.

        Raises
        ------
        SinkUnavailableError
            When the sink is away; its messages wait, unblamed.
        StoreUnavailableError
            When the database is.
        """
        c = self._config
        params = {"sink": sink.name, "limit": c.batch, "hold": c.deliver_s * 2}
        async with self._pool.connection() as conn:
            rows = await fetch(conn, CLAIM.encode(), params)
        messages = [Message(i, topic, key, payload.encode(), n) for i, topic, key, payload, n in sorted(rows)]
        if not messages:
            return 0
        try:
            async with asyncio.timeout(c.deliver_s):
                outcomes = await sink.deliver(messages)
        except TimeoutError:
            outcomes = [Outcome(Verdict.RETRY, f"no answer within {c.deliver_s} s")] * len(messages)
        except SinkUnavailableError as e:
            self._count(sink.name, (0, 1))
            await self._put_back(messages, str(e))
            raise
        except Exception as e:
            LOG.exception("sink failed", extra={"sink": sink.name})
            outcomes = [Outcome(Verdict.RETRY, f"{type(e).__name__}: {e}")] * len(messages)
        done = sum(o.verdict is Verdict.DELIVERED for o in outcomes)
        self._count(sink.name, (done, len(outcomes) - done))
        await self._mark(messages, outcomes)
        return len(messages)

    def _count(self, sink: str, n: tuple[int, int]) -> None:
        self._own.inc(metrics.DELIVERED, n[0], sink=sink)
        self._own.inc(metrics.SINK_FAILURES, n[1], sink=sink)

    async def _serve(self, sink: Sink) -> None:
        wake, failures = self._wake[sink.name], 0
        while True:
            wait_s = self._config.poll_s
            try:
                if await self.once(sink) == self._config.batch:
                    wait_s = 0.0
                failures = 0
            except (SinkUnavailableError, StoreUnavailableError) as e:
                failures += 1
                wait_s = min(30.0, self._config.backoff.delay_s(failures, self._rng.random()))
                if failures == 1:
                    LOG.warning("outbox waits", extra={"sink": sink.name, "error": str(e)})
            wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _mark(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        backoff = self._config.backoff
        verdicts, delays = [], []
        for m, o in zip(messages, outcomes, strict=True):
            is_over = o.verdict is Verdict.RETRY and m.attempts >= backoff.attempts
            verdicts.append(Verdict.DEAD if is_over else o.verdict)
            delays.append(max(o.retry_after_s or 0.0, backoff.delay_s(m.attempts, self._rng.random())))
        params = {
            "ids": [m.id for m in messages],
            "verdicts": [v.value for v in verdicts],
            "delays": delays,
            "errors": [o.error[:ERROR_KEPT].replace("\0", "") for o in outcomes],
        }
        async with self._pool.connection() as conn:
            await conn.execute(MARK.encode(), params)

    async def _put_back(self, messages: Sequence[Message], error: str) -> None:
        params = {
            "ids": [m.id for m in messages],
            "error": error[:ERROR_KEPT].replace("\0", ""),
            "delay": self._config.backoff.delay_s(1, self._rng.random()),
        }
        async with self._pool.connection() as conn:
            await conn.execute(PUT_BACK.encode(), params)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message given up, with the reason; times in UTC ns."""

    id: int
    sink: str
    topic: str
    key: str
    attempts: int
    error: str
    created_at: int
    dead_at: int


async def dead_letters(conn: Conn, sink: str | None = None, limit: int = 1000) -> list[DeadLetter]:
    """Give the messages given up, newest first."""
    rows = await fetch(
        conn,
        "SELECT id, sink, topic, key, attempts, coalesce(last_error, ''), created_at, dead_at FROM outbox "
        "WHERE dead_at IS NOT NULL AND sink = coalesce(%s, sink) ORDER BY id DESC LIMIT %s",
        (sink, limit),
    )
    return [DeadLetter(*r) for r in rows]


async def resend(conn: Conn, sink: str, ids: Sequence[int] | None = None) -> int:
    """Give dead messages of a sink (all, or those of `ids`) a new life; give their number."""
    done = await conn.execute(
        "UPDATE outbox SET dead_at = NULL, attempts = 0, next_at = clock_timestamp() "
        "WHERE sink = %s AND dead_at IS NOT NULL AND (%s::bigint[] IS NULL OR id = ANY(%s::bigint[]))",
        (sink, ids, ids),
    )
    return done.rowcount


async def purge(conn: Conn, before_ns: int) -> int:
    """Forget messages delivered before an instant; dead ones stay. Their keys may then come again."""
    if before_ns < 0:
        raise StoreError(f"expected an instant after 1970, was {before_ns} ns")
    done = await conn.execute("DELETE FROM outbox WHERE delivered_at < %s", (Ns(before_ns),))
    return done.rowcount
