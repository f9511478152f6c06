"""The vendor's own client must not notice that it talks to a simulator."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from polygon import RESTClient, WebSocketClient
from polygon.exceptions import AuthError, BadResponse
from polygon.websocket.models import CurrencyAgg, EquityAgg, Market
from urllib3.exceptions import MaxRetryError

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running
from tests.ray_apps.simulator.test_session import play
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration

BOTH = (AssetClass.STOCKS, AssetClass.CRYPTO)


def client(sim: Running, market: str, topics: Sequence[str], key: str = "sim-advanced", **how: Any) -> WebSocketClient:
    return WebSocketClient(api_key=key, feed=sim.ws, market=market, secure=False, subscriptions=list(topics), **how)


async def collect(stream: WebSocketClient, n: int) -> list[Any]:
    """Run the client until it gave n messages, then stop it."""
    found: list[Any] = []
    enough = asyncio.Event()

    async def handle(messages: list[Any]) -> None:
        found.extend(messages)
        if len(found) >= n:
            enough.set()

    running = asyncio.create_task(stream.connect(handle, proxy=None, max_size=8 * 2**20))
    async with asyncio.timeout(30):
        await enough.wait()
        await stream.close()
        await running
    return found


@pytest.mark.parametrize(
    ("market", "topics", "kind", "name"),
    [
        (Market.Stocks.value, ["AM.*"], EquityAgg, "AAPL"),
        (Market.Crypto.value, ["XA.*", "XAS.BTC-USD"], CurrencyAgg, "BTC-USD"),
    ],
)
def test_it_receives_typed_bars_and_stops(market: str, topics: list[str], kind: type, name: str) -> None:
    async def test(sim: Running) -> None:
        found = await collect(client(sim, market, topics), 30)
        assert {type(bar) for bar in found} == {kind}
        names = [getattr(bar, "symbol", None) or bar.pair for bar in found]
        assert name in names
        assert all(bar.low <= bar.open <= bar.high and bar.volume > 0 for bar in found)
        assert all(bar.end_timestamp > bar.start_timestamp for bar in found)

    play(test, assets=BOTH)


def test_it_reconnects_after_an_abort() -> None:
    async def test(sim: Running) -> None:
        stream = client(sim, "crypto", ["XA.*"])
        running = asyncio.create_task(collect(stream, 60))

        async def is_subscribed() -> bool:
            connections = (await sim.http.get("/admin/state")).json()["connections"]
            return bool(connections and connections[0]["topics"])

        # A drop before the subscription leaves this client silent for ever: its own bug.
        await eventually(is_subscribed)
        await sim.admin("drop", mode="abort")
        async with asyncio.timeout(30):
            assert len(await running) >= 60

    play(test, speed=600.0)


def test_a_bad_key_raises() -> None:
    async def test(sim: Running) -> None:
        with pytest.raises(AuthError):
            await client(sim, "stocks", ["AM.*"], key="secret").connect(_ignore, proxy=None)

    play(test)


async def _ignore(_: list[Any]) -> None:
    """Take messages and do nothing."""


def test_its_paging_gives_every_bar_once() -> None:
    async def test(sim: Running) -> None:
        rest = RESTClient(api_key="sim-advanced", base=sim.rest)

        def times(sort: str, limit: int) -> list[int]:
            found = rest.list_aggs("AAPL", 1, "minute", "2026-09-14", "2026-09-15", sort=sort, limit=limit)
            return [bar.timestamp for bar in found]

        whole = await asyncio.to_thread(times, "asc", 50_000)
        assert len(whole) > 1_100
        assert whole[-1] == START // 10**6 - 60_000
        assert await asyncio.to_thread(times, "asc", 400) == whole
        assert await asyncio.to_thread(times, "desc", 400) == whole[::-1]

    play(test, assets=BOTH)


def test_its_other_calls_are_answered() -> None:
    def calls(rest: RESTClient) -> None:
        assert rest.get_previous_close_agg("AAPL")[0].ticker == "AAPL"
        assert rest.get_daily_open_close_agg("AAPL", "2026-09-14").symbol == "AAPL"
        assert len(rest.get_grouped_daily_aggs("2026-09-14")) == 5
        assert rest.get_market_status().market == "open"
        assert rest.get_market_holidays()[0].status == "closed"
        assert {row.ticker for row in rest.list_tickers(market="stocks", limit=2)} >= {"AAPL", "MSFT"}
        assert rest.get_ticker_details("AAPL").ticker == "AAPL"
        assert [bar.timestamp % 60_000 for bar in rest.get_aggs("X:BTCUSD", 1, "minute", "2026-09-14", "2026-09-14")]

    async def test(sim: Running) -> None:
        await asyncio.to_thread(calls, RESTClient(api_key="sim-advanced", base=sim.rest))

    play(test, assets=BOTH)


def test_its_errors_are_the_vendors() -> None:
    def calls(sim: Running) -> None:
        with pytest.raises(BadResponse, match="Unknown API Key"):
            RESTClient(api_key="secret", base=sim.rest).get_previous_close_agg("AAPL")
        basic = RESTClient(api_key="sim-basic", base=sim.rest)
        with pytest.raises(BadResponse, match="doesn't include this data timeframe"):
            basic.get_aggs("AAPL", 1, "minute", "2026-09-15", "2026-09-15")
        for _ in range(4):
            basic.get_previous_close_agg("AAPL")
        with pytest.raises(MaxRetryError, match="429"):
            basic.get_previous_close_agg("AAPL")

    async def test(sim: Running) -> None:
        await asyncio.to_thread(calls, sim)

    play(test, assets=BOTH)
