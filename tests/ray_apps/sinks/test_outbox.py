"""The outbox with real receivers: at least once, never blocked by one sink, dead letters kept and sent again."""

import asyncio
import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from ray_apps import metrics
from ray_apps.hub import Hub
from ray_apps.local.valkey import LocalValkey
from ray_apps.metrics import MetricSet
from ray_apps.sinks import outbox
from ray_apps.sinks.base import DELIVERED, Message, Outcome, Sink, SinkUnavailableError, Verdict, payload_of
from ray_apps.sinks.console import Console
from ray_apps.sinks.outbox import Backoff, Pump, PumpConfig
from ray_apps.sinks.redis_sink import STREAM, Latest, RedisCache, RedisStream
from ray_apps.sinks.webhook import Webhook
from ray_apps.store.connect import connect
from ray_apps.store.rows import OutboxRow
from ray_apps.store.writer import ShardWriter
from tests.support.eventually import eventually
from tests.support.postgres import query
from tests.support.store import T0, anomaly, episode

pytestmark = pytest.mark.integration
FAST = PumpConfig(poll_s=0.01, deliver_s=3.0, batch=8, backoff=Backoff(first_s=0.01, cap_s=0.05, attempts=5))


@dataclass
class Receiver:
    """A real HTTP server that answers as told and keeps what it was sent."""

    answers: list[int] = field(default_factory=list)
    default: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                state.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = state.answers.pop(0) if state.answers else state.default
            if status == 0:  # hang up without an answer
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hung up

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE outbox, applied, leases")
    query(dsn, "INSERT INTO leases VALUES ('s', 'me', 1, 'infinity')")


async def fill(dsn: str, sink: str, n: int, first: int = 0) -> None:
    writer = ShardWriter(dsn, "s")
    position = await writer.position()
    rows = [OutboxRow(sink, "anomaly", f"{sink}-{k}", payload_of(anomaly(k))) for k in range(first, first + n)]
    await writer.commit(epoch=1, seq=0 if position is None else position.seq + 1, outbox=rows)
    await writer.close()


@asynccontextmanager
async def pumping(dsn: str, *sinks: Sink, config: PumpConfig = FAST) -> AsyncIterator[Pump]:
    pump = Pump(dsn, sinks, config)
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def count(dsn: str, what: str) -> int:
    return int(str(query(dsn, f"SELECT count(*) FROM outbox WHERE {what}")[0][0]))


def test_a_webhook_is_signed_and_recognisable(dsn: str, receiver: Receiver) -> None:
    async def main() -> None:
        await fill(dsn, "webhook", 1)
        async with pumping(dsn, Webhook(receiver.url, "secret", clock=lambda: 1_700_000_000.5)):
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 1)

    asyncio.run(main())
    ((headers, body),) = receiver.got
    assert headers["idempotency-key"] == "webhook-0"
    assert headers["x-tapewatch-timestamp"] == "1700000000"
    expected = hmac.new(b"secret", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["x-tapewatch-signature"] == f"sha256={expected}"
    assert b'"reading": "+1.8 % on 9.46x normal volume"' in body
    assert f'"ts": {T0 // 1_000_000}'.encode() in body


def test_a_failing_server_gets_each_message_at_least_once(dsn: str, receiver: Receiver) -> None:
    receiver.answers = [500, 0, 503, 200, 429, 0, 502, 408] * 2
    receiver.headers = {"Retry-After": "0"}

    async def main() -> None:
        await fill(dsn, "webhook", 20)
        async with pumping(dsn, Webhook(receiver.url)):
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 20, 20)

    asyncio.run(main())
    keys = Counter(h["idempotency-key"] for h, _ in receiver.got)
    assert set(keys) == {f"webhook-{k}" for k in range(20)}
    assert count(dsn, "dead_at IS NOT NULL") == 0
    assert "x-tapewatch-signature" not in receiver.got[0][0]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
def test_a_refusal_is_dead_at_once(dsn: str, receiver: Receiver, status: int) -> None:
    receiver.default = status

    async def main() -> None:
        await fill(dsn, "webhook", 2)
        async with pumping(dsn, Webhook(receiver.url)):
            await eventually(lambda: count(dsn, "dead_at IS NOT NULL") == 2)

    asyncio.run(main())
    assert len(receiver.got) == 2
    assert query(dsn, "SELECT DISTINCT last_error, attempts FROM outbox") == [(f"expected status 2xx, was {status}", 1)]


def test_dead_letters_are_kept_and_sent_again(dsn: str, receiver: Receiver) -> None:
    receiver.default = 500

    async def main() -> None:
        await fill(dsn, "webhook", 3)
        async with pumping(dsn, Webhook(receiver.url)):
            await eventually(lambda: count(dsn, "dead_at IS NOT NULL") == 3)
            assert len(receiver.got) == 3 * FAST.backoff.attempts
            conn = await connect(dsn, "test")
            letters = await outbox.dead_letters(conn, "webhook")
            assert [x.key for x in letters] == ["webhook-2", "webhook-1", "webhook-0"]
            assert letters[0].error == "expected status 2xx, was 500"
            assert await outbox.dead_letters(conn, "redis") == []
            receiver.default = 200
            assert await outbox.resend(conn, "webhook", [letters[0].id]) == 1
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 1)
            assert await outbox.resend(conn, "redis") == 0
            assert await outbox.resend(conn, "webhook") == 2
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 3)
            assert await outbox.purge(conn, 2**62) == 3
            await conn.close()

    asyncio.run(main())


def test_nobody_listening_is_tried_again(dsn: str) -> None:
    async def main() -> None:
        hook = Webhook("http://127.0.0.1:1/")
        (outcome,) = await hook.deliver([Message(1, "anomaly", "k", b"{}", 1)])
        assert outcome.verdict is Verdict.RETRY
        (outcome,) = await Webhook("no url").deliver([Message(1, "anomaly", "k", b"{}", 1)])
        assert outcome.verdict is not Verdict.DELIVERED
        await hook.close()

    asyncio.run(main())


@dataclass
class Odd:
    """A sink that misbehaves as told, then delivers."""

    name: str
    how: str = "raise"
    times: int = 3
    got: list[str] = field(default_factory=list)

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        self.times -= 1
        if self.times >= 0:
            if self.how == "raise":
                raise RuntimeError("odd \0 bytes")
            if self.how == "hang":
                await asyncio.sleep(60)
            raise SinkUnavailableError("away")
        self.got += [m.key for m in messages]
        return [DELIVERED] * len(messages)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("how", ["raise", "hang", "away"])
def test_one_sink_never_stops_another(dsn: str, how: str) -> None:
    odd, fine = Odd("odd", how, 10**9), Odd("fine", times=0)
    config = PumpConfig(poll_s=0.01, deliver_s=0.2, batch=8, backoff=FAST.backoff)

    async def main() -> None:
        await fill(dsn, "odd", 3)
        await fill(dsn, "fine", 30)
        async with pumping(dsn, odd, fine, config=config):
            await eventually(lambda: len(fine.got) == 30)
            odd.times = 0
            if how == "away":  # nobody's fault: no message died meanwhile
                await eventually(lambda: len(odd.got) == 3)

    asyncio.run(main())
    assert count(dsn, "sink = 'fine' AND delivered_at IS NOT NULL") == 30
    if how == "away":
        assert query(dsn, "SELECT DISTINCT attempts FROM outbox WHERE sink = 'odd'") == [(1,)]


def test_two_pumps_share_the_work(dsn: str) -> None:
    a, b = Odd("x", times=0), Odd("x", times=0)

    async def main() -> None:
        await fill(dsn, "x", 200)
        async with pumping(dsn, a), pumping(dsn, b):
            await eventually(lambda: count(dsn, "delivered_at IS NULL") == 0)

    asyncio.run(main())
    assert sorted(a.got + b.got) == sorted(f"x-{k}" for k in range(200))


def test_a_pump_killed_between_delivery_and_mark_delivers_again(dsn: str) -> None:
    sink = Odd("x", times=0)

    async def main() -> None:
        await fill(dsn, "x", 1)
        first = Pump(dsn, [sink], PumpConfig(deliver_s=0.1))

        async def die(*_: object) -> None:
            raise asyncio.CancelledError

        first._mark = die  # type: ignore[method-assign, assignment]
        with suppress(asyncio.CancelledError):
            await first.once(sink)
        assert sink.got == ["x-0"]
        await first.close()
        async with pumping(dsn, sink):
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 1)

    asyncio.run(main())
    assert sink.got == ["x-0", "x-0"]


def test_the_pump_outlives_a_lost_database_connection(dsn: str) -> None:
    sink = Odd("x", times=0)

    async def main() -> None:
        async with pumping(dsn, sink):
            for k in range(3):
                await fill(dsn, "x", 1, first=k)
                await eventually(lambda k=k: len(set(sink.got)) == k + 1)
                query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE application_name = 'tapewatch-outbox'")  # fmt: skip

    asyncio.run(main())


def test_the_stream_has_each_message_once(dsn: str, redis_url: str) -> None:
    async def main() -> None:
        await fill(dsn, "redis", 20)
        async with pumping(dsn, RedisStream(redis_url)):
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 20)
            query(dsn, "UPDATE outbox SET delivered_at = NULL, next_at = now()")  # as after a crash
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 20)

    asyncio.run(main())
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        entries = [fields for _, fields in client.xrange(STREAM)]
    assert [e["id"] for e in entries] == [f"redis-{k}" for k in range(20)]
    assert entries[0]["topic"] == "anomaly"
    assert '"symbol": "AAPL"' in entries[0]["payload"]


def test_the_stream_is_bounded(redis_url: str) -> None:
    async def main() -> None:
        sink = RedisStream(redis_url, "tapewatch:short", 100)
        for start in range(0, 1000, 100):
            outcomes = await sink.deliver([Message(0, "t", f"short-{start + k}", b"{}", 1) for k in range(100)])
            assert set(outcomes) == {DELIVERED}
        await sink.close()

    asyncio.run(main())
    with redis.Redis.from_url(redis_url) as client:
        assert 100 <= client.xlen("tapewatch:short") < 300


def test_losing_redis_loses_nothing(dsn: str) -> None:
    with TemporaryDirectory(prefix="tapewatch-redis-", ignore_cleanup_errors=True) as folder:
        server = LocalValkey(Path(folder)).start()
        port = (Path(folder) / "valkey" / "port").read_text()

        async def main() -> None:
            url = server.url
            async with pumping(dsn, RedisStream(url)):
                await fill(dsn, "redis", 5)
                await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 5)
                await asyncio.to_thread(server.stop)
                await fill(dsn, "redis", 5, first=5)
                await eventually(lambda: count(dsn, "last_error IS NOT NULL") == 5)
                assert count(dsn, "dead_at IS NOT NULL") == 0

        asyncio.run(main())

        async def back() -> None:
            again = await asyncio.to_thread(server.start)
            assert port == (Path(folder) / "valkey" / "port").read_text()
            async with pumping(dsn, RedisStream(again.url)):
                await eventually(lambda: count(dsn, "delivered_at IS NOT NULL") == 10)

        try:
            asyncio.run(back())
        finally:
            server.stop()


def test_the_cache_keeps_the_latest_and_expires(redis_url: str) -> None:
    async def main() -> None:
        cache = RedisCache(redis_url, ttl_s=100)
        await cache.ping()
        assert await cache.get("stocks", "AAPL") is None
        rows = [
            Latest("stocks", f"S{k}", 60, {"ts": k, "close": k + 0.1}, {"ret": 0.1 + 0.2}, {"b": None})
            for k in range(1200)
        ]
        await cache.put(rows)
        assert await cache.get("stocks", "S1199") == rows[1199]
        await cache.put([Latest("stocks", "S0", 60, {"ts": 1})])
        newest = await cache.get("stocks", "S0")
        assert newest is not None
        assert (newest.bar, newest.features) == ({"ts": 1}, {"ret": 0.1 + 0.2})
        await cache.put([])
        await cache.close()

    asyncio.run(main())
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.ttl("tapewatch:latest:stocks:S0:60") <= 100


def test_a_lost_cache_says_so() -> None:
    async def main() -> None:
        cache = RedisCache("redis://127.0.0.1:1/0")
        for call in (cache.ping(), cache.get("stocks", "A"), cache.put([Latest("stocks", "A", 60, {})])):
            with pytest.raises(SinkUnavailableError, match="expected Redis to answer"):
                await call
        await cache.close()

    asyncio.run(main())


def test_the_console_says_both_topics(dsn: str) -> None:
    lines: list[str] = []

    async def main() -> None:
        writer = ShardWriter(dsn, "s")
        rows = [
            OutboxRow("console", "anomaly", "a", payload_of(anomaly(0))),
            OutboxRow("console", "episode", "e", payload_of(episode(0, symbol=None, kind="market_shock", breadth=0.8,
                                                                    leaders=["AAPL", "MSFT"], n_anomalies=2))),
            OutboxRow("console", "anomaly", "bad", {"kind": 1}),
        ]  # fmt: skip
        await writer.commit(epoch=1, seq=0, outbox=rows)
        await writer.close()
        async with pumping(dsn, Console(lambda said: lines.append(said.text))):
            await eventually(lambda: count(dsn, "delivered_at IS NOT NULL OR dead_at IS NOT NULL") == 3)

    asyncio.run(main())
    assert lines == [
        "ANOMALY burst_up AAPL  +1.8 % on 9.46x normal volume  p=2e-6  rate 0.001/day  severity high",
        "EPISODE market_shock stocks market  2 anomalies, breadth 80%, led by AAPL, MSFT  p=2e-6  rate 0.001/day"
        "  severity high",
    ]
    assert count(dsn, "key = 'bad' AND dead_at IS NOT NULL") == 1


def test_deliveries_and_failures_are_counted(dsn: str, receiver: Receiver) -> None:
    receiver.answers = [500, 200, 200]
    own, hub = MetricSet("sinks", "1"), Hub()

    async def main() -> None:
        sink = Webhook(receiver.url)
        pump = Pump(dsn, [sink], FAST, own=own)
        hub.put(own.snapshot())
        assert hub.value(metrics.SINK_FAILURES, sink="webhook") == 0
        await fill(dsn, "webhook", 2)
        await pump.once(sink)
        await pump.close()

    asyncio.run(main())
    hub.put(own.snapshot())
    assert hub.value(metrics.DELIVERED, sink="webhook") == 1
    assert hub.value(metrics.SINK_FAILURES, sink="webhook") == 1
