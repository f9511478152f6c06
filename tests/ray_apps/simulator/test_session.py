import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, Stream, running
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


def play(test: Callable[[Running], Awaitable[None]], **how: Any) -> None:
    async def hold() -> None:
        async with asyncio.timeout(60):
            async with running(**how) as sim:
                await test(sim)

    asyncio.run(hold())


async def ending(stream: Stream) -> tuple[int | None, list[dict[str, Any]]]:
    """Read until the connection ends: its close code (None without a close frame) and what came before."""
    found: list[dict[str, Any]] = []
    try:
        while True:
            found += await stream.recv()
    except ConnectionClosed as e:
        return (e.rcvd.code if e.rcvd else None), found


def test_a_session_goes_as_the_protocol_says() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream("stocks") as stream:
            assert (await stream.recv()) == [
                {"ev": "status", "status": "connected", "message": "Connected Successfully"}
            ]
            await stream.ask("subscribe", "AM.*")
            assert await stream.statuses(1) == ["not authorized"]
            await stream.ask("auth", "sim-advanced")
            assert (await stream.recv())[0]["status"] == "auth_success"
            await stream.ask("subscribe", "AM.AAPL, AM.BRK.B ,T.NOPE,ZZ.AAPL,AM.NOPE,AM.AAPL")
            assert await stream.statuses(4) == [
                f"subscribed to: {item}" for item in ("AM.AAPL", "AM.BRK.B", "T.NOPE", "AM.NOPE")
            ]
            bars = await stream.bars(3)
            assert {bar["sym"] for bar in bars} == {"AAPL"}
            assert [bar["s"] for bar in bars] == [START // 10**6 + 60_000 * k for k in (-1, 0, 1)]
            assert all(bar["e"] == bar["s"] + 60_000 for bar in bars)
            assert bars[1]["av"] == bars[0]["av"] + bars[1]["v"]
            await stream.ask("unsubscribe", "AM.AAPL")
            await stream.ask("subscribe", "AM.MSFT")
            assert (await stream.statuses(2))[0] == "unsubscribed to: AM.AAPL"
            assert {bar["sym"] for bar in await stream.bars(2)} == {"MSFT"}

    play(test, assets=(AssetClass.STOCKS,))


@pytest.mark.parametrize(
    ("asset_class", "topics", "name"),
    [
        (AssetClass.STOCKS, {"AM", "A"}, "sym"),
        (AssetClass.OPTIONS, {"AM", "A"}, "sym"),
        (AssetClass.CRYPTO, {"XA", "XAS"}, "pair"),
        (AssetClass.FOREX, {"CA", "CAS"}, "pair"),
        (AssetClass.INDICES, {"AM", "A"}, "sym"),
        (AssetClass.FUTURES, {"AM", "A"}, "sym"),
    ],
)
def test_every_class_streams_minutes_and_seconds(asset_class: AssetClass, topics: set[str], name: str) -> None:
    async def test(sim: Running) -> None:
        params = ",".join(f"{topic}.*" for topic in topics)
        async with sim.subscribed(params, path=str(asset_class)) as stream:
            bars = await stream.bars(400)
            assert {bar["ev"] for bar in bars} == topics
            minutes = {(bar[name], bar["s"]): bar for bar in bars if bar["e"] - bar["s"] == 60_000}
            (symbol, start), minute = list(minutes.items())[-1]
            inside = [
                bar
                for bar in bars
                if bar[name] == symbol and bar["e"] - bar["s"] == 1_000 and 0 <= bar["s"] - start < 60_000
            ]
            # Second bars come two seconds after their end: the minute's last ones may still be out.
            assert inside
            assert max(bar["h"] for bar in inside) <= minute["h"]

    play(test, assets=(asset_class,), symbols=10)


def test_paths_name_markets_and_hosts() -> None:
    async def test(sim: Running) -> None:
        for path in ("futures/cme", "delayed/futures", "socket/futures"):
            async with sim.subscribed("AM.*", path=path):
                pass
        async with sim.stream("bonds") as stream:
            assert (await ending(stream))[0] == 1008

    play(test, assets=(AssetClass.FUTURES,))


@pytest.mark.parametrize(
    ("key", "path", "delayed", "message"),
    [
        ("secret", "stocks", False, "authentication failed"),
        ("sim-basic", "stocks", True, "Your plan doesn't include websocket access"),
        ("sim-starter", "stocks", False, "You don't have access real-time data"),
        ("sim-starter", "crypto", True, "Your plan doesn't include websocket access"),
    ],
)
def test_a_key_that_may_not_in_is_told_why(key: str, path: str, delayed: bool, message: str) -> None:
    async def test(sim: Running) -> None:
        async with sim.stream(path, delayed) as stream:
            answer = await stream.enter(key)
            assert answer["status"] == "auth_failed"
            assert answer["message"].startswith(message)
            assert await ending(stream) == (None, [])

    play(test)


def test_topics_of_a_larger_plan_are_refused_and_the_rest_acknowledged() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream("stocks", delayed=True) as stream:
            assert (await stream.enter("sim-starter"))["status"] == "auth_success"
            await stream.ask("subscribe", "Q.*,AM.AAPL,T.AAPL")
            assert await stream.statuses(3) == ["not authorized", "subscribed to: AM.AAPL", "not authorized"]

    play(test, assets=(AssetClass.STOCKS,))


def test_the_delayed_host_is_a_quarter_of_an_hour_late() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream("stocks", delayed=True) as stream:
            await stream.enter("sim-starter")
            await stream.ask("subscribe", "AM.AAPL")
            (bar,) = await stream.bars(1)
            assert bar["s"] == START // 10**6 - 60_000 - 900_000
            (same,) = (await sim.get(f"/v2/aggs/ticker/AAPL/range/1/minute/{bar['s']}/{bar['s']}")).json()["results"]
            assert [same[k] for k in ("o", "h", "l", "c", "v", "vw")] == [
                bar[k] for k in ("o", "h", "l", "c", "v", "vw")
            ]

    play(test, assets=(AssetClass.STOCKS,))


@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_one_connection_per_class_and_key(policy: str) -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as first, sim.subscribed("AM.*", path="stocks"), sim.stream() as second:
            assert (await second.enter())["status"] == "auth_success"
            code, before = await ending(first if policy == "oldest" else second)
            assert code == 1008
            assert before[-1]["status"] == "max_connections"
            survivor = second if policy == "oldest" else first
            await survivor.ask("subscribe", "XA.BTC-USD,XA.ETH-USD,XAS.BTC-USD")
            assert (await survivor.bars(1))[0]["ev"] in ("XA", "XAS")
            async with sim.stream() as other_key:
                assert (await other_key.enter("sim-advanced-2"))["status"] == "auth_success"

    play(test, faults={"max_conn_policy": policy})


def test_a_random_connection_may_lose() -> None:
    async def test(sim: Running) -> None:
        losers = set()
        for _ in range(20):
            async with sim.stream() as first, sim.stream() as second:
                await first.enter()
                await second.enter()
                endings = {asyncio.create_task(ending(first)): "first", asyncio.create_task(ending(second)): "second"}
                done, rest = await asyncio.wait(endings, timeout=10, return_when=asyncio.FIRST_COMPLETED)
                losers.update(endings[task] for task in done)
                for task in rest:
                    task.cancel()
            if len(losers) == 2:
                break
        assert losers == {"first", "second"}

    play(test, faults={"max_conn_policy": "random"})


def test_the_same_bars_come_whatever_the_client_does() -> None:
    seen: list[list[dict[str, Any]]] = []

    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            seen.append(await stream.bars(40))

    for _ in range(2):
        play(test)
    assert seen[0][:40] == seen[1][:40]
    assert json.dumps(seen[0])


def test_a_running_clock_spreads_a_minute_over_seconds() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            await sim.admin("clock", now_ms=START // 10**6 + 59_000, speed=2)
            bars = await stream.bars(40)
            starts = {bar["s"] for bar in bars}
            assert START // 10**6 in starts
            now = (await sim.http.get("/admin/state")).json()["now_ms"]
            assert now >= max(bar["e"] for bar in bars)

    play(test, symbols=50, speed=1.0)


def test_a_burst_is_one_window_at_once() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("AM.*", path="stocks") as stream:
            reports = [await sim.admin("burst", asset="stocks", symbols=80) for _ in range(2)]
            assert reports[1]["ts_ms"] == reports[0]["ts_ms"] + 60_000
            assert reports[0]["events"] == 80
            assert reports[0]["clients"] == 1
            assert reports[0]["first_ns"] <= reports[0]["last_ns"]
            bars = await stream.bars(160)
            assert [bar["s"] for bar in bars] == [r["ts_ms"] for r in reports for _ in range(80)]
            state = (await sim.http.get("/admin/state")).json()
            assert state["now_ms"] >= reports[1]["ts_ms"] + 60_000
            await eventually(lambda: state["connections"][0]["queued_bytes"] == 0)

    play(test, assets=(AssetClass.STOCKS,), symbols=100, speed=0.001)
