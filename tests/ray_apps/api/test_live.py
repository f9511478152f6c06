"""The gateway over a real PostgreSQL and Valkey: lists, cache, stream, readiness, and Redis lost."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.market.types import AssetClass
from ray_apps.api.http import create_app
from ray_apps.api.live import listen, live_deps, shown
from ray_apps.config import HttpConfig
from ray_apps.sinks.base import Message, SinkUnavailableError, payload_of
from ray_apps.sinks.redis_sink import STREAM, Latest, RedisCache, RedisStream, client
from ray_apps.store import anomalies as table
from ray_apps.store import series
from ray_apps.store.connect import connect
from ray_apps.store.feeds import FeedRow, GapRow, put_feed, put_gaps
from ray_apps.store.reader import Reader
from tests.ray_apps.api.fakes import MINUTE, START, anomaly, episode
from tests.ray_apps.api.test_http import NAMES, PATHS, VALUES, is_problem
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration
MINUTES = 250


@pytest.fixture(scope="module")
def filled(dsn):
    async def fill():
        conn = await connect(dsn, "test")
        await series.register(conn, AssetClass.STOCKS, [(0, "AAPL", 60), (1, "BRK.B", 60)])
        await series.register(conn, AssetClass.FOREX, [(0, "EUR/USD", 60)])
        await conn.execute("CREATE TABLE bars_all PARTITION OF bars FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')")
        await conn.execute(
            "INSERT INTO bars SELECT 0, '2026-01-02 14:30Z'::timestamptz + i * interval '1 minute', "
            "10, 11, 9, 10.5, 100, NULL, 5, now(), NULL, 0, true FROM generate_series(0, %s - 1) i",
            (MINUTES,),
        )
        await conn.execute(table.STAGE.encode())
        async with conn.transaction():
            await table.put(conn, [anomaly(i) for i in range(MINUTES)])
            await table.put_episodes(conn, [episode(i, closed_at=START if i % 2 else None) for i in range(5)])
        await put_feed(conn, FeedRow("stocks", "live", "127.0.0.1:1", "simulated", newest_ts=START, lag_s=0.1))
        await put_gaps(conn, [GapRow("stocks", START, START + MINUTE, "disconnected")])
        await conn.close()

    asyncio.run(fill())
    return dsn


async def store(dsn, row):
    conn = await connect(dsn, "test")
    await conn.execute(table.STAGE.encode())
    async with conn.transaction():
        await table.put(conn, [row])
    await conn.close()


async def no_metrics() -> str:
    return ""


async def no_push(asset_class, body) -> None:
    return None


@asynccontextmanager
async def gateway(dsn: str, redis_url: str | None):
    reader, cache = Reader(dsn), RedisCache(redis_url) if redis_url else None
    deps = live_deps(reader, cache, redis_url, HttpConfig(), no_metrics, no_push)
    transport = httpx.ASGITransport(create_app(deps), raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client
    finally:
        await reader.close()
        if cache is not None:
            await cache.close()


def test_lists_of_the_database_page_by_page(filled):
    async def main():
        async with gateway(filled, None) as client:
            for path, n in (("/v1/bars", MINUTES), ("/v1/anomalies", MINUTES)):
                items, cursor = [], {}
                while True:
                    params = {"symbol": "stocks:AAPL", "limit": 100, **cursor}
                    body = (await client.get(path, params=params)).json()
                    items += body["items"]
                    if body["next"] is None:
                        break
                    cursor = {"cursor": body["next"]}
                times = [item["ts"] for item in items]
                assert len(set(times)) == n
                assert times == sorted(times, reverse=True)
            found = (await client.get("/v1/anomalies/" + "0" * 31 + "5")).json()
            assert found["features"] == {"activity_z": 6.1}
            names = [s["symbol"] for s in (await client.get("/v1/symbols")).json()["items"]]
            assert names == ["AAPL", "BRK.B", "EUR/USD"]
            assert len((await client.get("/v1/episodes?is_open=true")).json()["items"]) == 3
            (feed,) = (await client.get("/v1/feeds")).json()["items"]
            assert (feed["status"], feed["gaps"][0]["reason"]) == ("live", "disconnected")
            assert is_problem(await client.get("/v1/symbols/EUR/USD"), 404, "with bars")

    asyncio.run(main())


def test_the_newest_of_a_symbol_comes_from_the_cache_else_the_database(filled, redis_url):
    async def main():
        async with gateway(filled, redis_url) as client:
            assert (await client.get("/v1/symbols/AAPL")).json()["source"] == "database"
            cache = RedisCache(redis_url)
            bar = {"ts": START // 10**6, "open": 1, "high": 2, "low": 1, "close": 2, "volume": 3}
            bar |= {"vwap": None, "trades": None}
            await cache.put([Latest("stocks", "AAPL", 60, bar, {"activity_z": 1.5}, {"gap": None})])
            await cache.close()
            body = (await client.get("/v1/symbols/AAPL")).json()
            assert (body["source"], body["bar"]["close"]) == ("cache", 2.0)
            assert (body["features"], body["scores"]) == ({"activity_z": 1.5}, {"gap": None})

    asyncio.run(main())


def test_readiness_names_the_part_that_is_away(filled, redis_url):
    async def main():
        async with gateway(filled, redis_url) as client:
            ready = (await client.get("/readyz")).json()
            assert ready == {"ready": True, "parts": {"database": "", "redis": "", "feed stocks": ""}}
        async with gateway("postgresql://nobody@127.0.0.1:1/none", redis_url) as client:
            refused = await client.get("/readyz")
            assert is_problem(refused, 503, "database")
            assert refused.json()["parts"]["redis"] == ""
            assert is_problem(await client.get("/v1/anomalies"), 503, "database")
            assert (await client.get("/healthz")).status_code == 200
        async with gateway(filled, "redis://127.0.0.1:1/0") as client:
            assert is_problem(await client.get("/readyz"), 503, "redis")
            assert (await client.get("/v1/symbols/AAPL")).json()["source"] == "database"

    asyncio.run(main())


def message(row) -> Message:
    payload = payload_of(row)
    return Message(0, payload["type"], f"{payload['type']}:{row.id}", json.dumps(payload).encode(), 0)


async def delivered(sink, *rows) -> bool:
    with suppress(SinkUnavailableError):
        await sink.deliver([message(row) for row in rows])
        return True
    return False


def test_the_stream_outlives_redis(filled, valkey_server):
    first, lost, back = (anomaly(1000 + i) for i in range(3))

    async def main():
        reader, sink, control = Reader(filled), RedisStream(valkey_server.url), client(valkey_server.url)
        events = listen(valkey_server.url, reader, "0-0")
        try:
            await sink.deliver([message(episode(77)), message(first)])
            told = [await anext(events), await anext(events)]
            assert [(e.topic, e.body["id"]) for e in told] == [("episode", "e77"), ("anomaly", first.id)]
            assert told[1].body == shown(first)
            await control.execute_command("CLIENT", "PAUSE", "5000", "ALL")
            await store(filled, lost)
            event = await anext(events)
            assert (event.body["id"], event.id) == (lost.id, told[1].id), "a place to go on from in Redis"
            await eventually(lambda: delivered(sink, lost, back), 20)
            assert (await anext(events)).body["id"] == back.id, "what the database told is not told again"
        finally:
            await events.aclose()
            await reader.close()
            await sink.close()
            await control.aclose()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_is_not_ours_on_the_stream_is_left_out(filled, redis_url):
    good = anomaly(2000)

    async def main():
        reader, sink, control = Reader(filled), RedisStream(redis_url), client(redis_url)
        events = listen(redis_url, reader, "0-0")
        try:
            await control.delete(STREAM)
            for wrong in ({"x": "y"}, {"topic": "anomaly", "payload": "[]"}, {"topic": b"\xff", "payload": "{"}):
                await control.xadd(STREAM, wrong)
            await sink.deliver([message(good)])
            assert (await anext(events)).body["id"] == good.id
        finally:
            await events.aclose()
            await reader.close()
            await sink.close()
            await control.aclose()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_no_query_is_a_500_with_a_real_database(filled):
    @settings(max_examples=60)
    @given(PATHS, st.dictionaries(NAMES, VALUES, max_size=4))
    def ask(path, params):
        async def main():
            async with gateway(filled, None) as client:
                return await client.get(path, params=params)

        answer = asyncio.run(main())
        assert answer.status_code in (200, 404, 422)

    ask()
