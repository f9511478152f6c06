"""The vendor's own client must not notice that it talks to a simulator."""

import asyncio
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
from polygon import RESTClient, WebSocketClient
from polygon.exceptions import AuthError, BadResponse
from polygon.websocket import models
from polygon.websocket.models import CurrencyAgg, EquityAgg, Market
from urllib3.exceptions import MaxRetryError
from websockets.exceptions import ConnectionClosedError

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, instant
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


# Market, key and topics, and what the client makes of each event.
TYPED = [
    ("stocks", "sim-business", {"A": EquityAgg, "AM": EquityAgg, "T": models.EquityTrade, "Q": models.EquityQuote,
                                "LULD": models.LimitUpLimitDown, "FMV": models.FairMarketValue}),
    ("options", "sim-advanced", {"A": EquityAgg, "AM": EquityAgg, "T": models.EquityTrade}),
    ("indices", "sim-advanced", {"A": EquityAgg, "AM": EquityAgg, "V": models.IndexValue}),
    ("crypto", "sim-advanced", {"XA": CurrencyAgg, "XAS": CurrencyAgg, "XT": models.CryptoTrade,
                                "XQ": models.CryptoQuote, "XL2": models.Level2Book}),
    ("forex", "sim-advanced", {"CA": CurrencyAgg, "CAS": CurrencyAgg, "C": models.ForexQuote}),
    ("futures", "sim-advanced", {"A": models.FuturesAgg, "AM": models.FuturesAgg, "T": models.FuturesTrade,
                                 "Q": models.FuturesQuote}),
]  # fmt: skip


@pytest.mark.parametrize(("market", "key", "kinds"), TYPED, ids=[row[0] for row in TYPED])
def test_it_makes_an_object_of_every_event(market: str, key: str, kinds: dict[str, type]) -> None:
    async def test(sim: Running) -> None:
        stream = client(sim, market, [f"{topic}.*" for topic in kinds], key)
        found: dict[str, Any] = {}
        enough = asyncio.Event()

        async def handle(messages: list[Any]) -> None:
            found.update({message.event_type: message for message in messages})
            if kinds.keys() <= found.keys():
                enough.set()

        running = asyncio.create_task(stream.connect(handle, proxy=None, max_size=8 * 2**20))
        async with asyncio.timeout(30):
            await enough.wait()
            await stream.close()
            await running
        assert {topic: type(message) for topic, message in found.items()} == kinds
        for topic, message in found.items():
            # Whatever the event is, the client found its fields: none but the optional ones is empty.
            empty = {name for name in message.__annotations__ if getattr(message, name) is None}
            assert empty <= OPTIONAL | NOT_SENT.get((market, topic), set()), (topic, empty)

    play(test, assets=(AssetClass(market),))


OPTIONAL = {"otc", "official_open_price", "trf_id", "trf_timestamp", "conditions"}
_NO_VOLUME = {"volume", "accumulated_volume", "vwap", "aggregate_vwap", "average_size"}
NOT_SENT = {
    ("indices", "A"): _NO_VOLUME,
    ("indices", "AM"): _NO_VOLUME,
    ("options", "T"): {"id", "tape"},
    ("forex", "CA"): {"vwap", "avg_trade_size"},
    ("forex", "CAS"): {"vwap", "avg_trade_size"},
}
"""What the protocol leaves out of an event."""


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


def test_a_bad_key_raises_at_the_first_attempt() -> None:
    async def test(sim: Running) -> None:
        with pytest.raises(AuthError, match="authentication failed"):
            await client(sim, "stocks", ["AM.*"], key="secret").connect(_ignore, proxy=None)
        assert (await sim.http.get("/admin/state")).json()["accepted"] == 1

    play(test)


def test_a_second_connection_kicks_the_first_of_its_class_only() -> None:
    async def test(sim: Running) -> None:
        coins, stocks = client(sim, "crypto", ["XA.*"], max_reconnects=0), client(sim, "stocks", ["AM.*"])
        first, other = (
            asyncio.create_task(coins.connect(_ignore, proxy=None)),
            asyncio.create_task(collect(stocks, 200)),
        )

        async def are_subscribed() -> bool:
            connections = (await sim.http.get("/admin/state")).json()["connections"]
            return sum(bool(c["topics"]) for c in connections) == 2

        await eventually(are_subscribed)
        second = asyncio.create_task(collect(client(sim, "crypto", ["XA.*"]), 40))
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionClosedError, match="1008"):
                await first
            assert len(await second) >= 40
            assert len(await other) >= 200

    play(test, assets=BOTH, speed=600.0)


def test_an_unknown_topic_is_silent() -> None:
    async def test(sim: Running) -> None:
        stream = client(sim, "crypto", ["XAM.BTC-USD", "XA.BTC-USD"], raw=True)
        # Raw frames come one by one, as text.
        frames: list[str] = []
        enough = asyncio.Event()

        async def handle(frame: str) -> None:
            frames.append(frame)
            if len(frames) >= 3:
                enough.set()

        running = asyncio.create_task(stream.connect(handle, proxy=None))
        async with asyncio.timeout(30):
            await enough.wait()
            await stream.close()
            await running
        told = [event for frame in frames for event in json.loads(frame)]
        messages = [event["message"] for event in told if event["ev"] == "status"]
        assert messages == ["subscribed to: XA.BTC-USD"]

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


@pytest.mark.parametrize("drops", [False, True])
def test_unadjusted_pages_stay_so_where_the_cursor_says_it(drops: bool) -> None:
    def calls(sim: Running) -> list[float]:
        rest = RESTClient(api_key="sim-advanced", base=sim.rest)
        found = rest.list_aggs("AAPL", 1, "minute", "2026-09-14", "2026-09-14", adjusted=False, limit=400)
        return [bar.close for bar in found]

    async def test(sim: Running) -> None:
        closes = await asyncio.to_thread(calls, sim)
        whole = await sim.get(
            "/v2/aggs/ticker/AAPL/range/1/minute/2026-09-14/2026-09-14", limit=5_000, adjusted="false"
        )
        raw = [bar["c"] for bar in whole.json()["results"]]
        assert len(closes) == len(raw) > 800
        # This client takes the cursor as it is: of a vendor whose cursors forget it, only the first page is raw.
        assert (closes == raw) == (not drops)
        assert closes[:400] == raw[:400]

    split = {"symbol": "AAPL", "date": "2026-09-15", "split_to": 4}
    play(test, assets=BOTH, faults={"split_event": [split], "cursor_drops_adjusted": drops})


def test_it_follows_no_foreign_address() -> None:
    def calls(sim: Running) -> int:
        rest = RESTClient(api_key="sim-advanced", base=sim.rest)
        return len(list(rest.list_aggs("AAPL", 1, "minute", "2026-09-14", "2026-09-14", limit=400)))

    async def test(sim: Running) -> None:
        assert await asyncio.to_thread(calls, sim) > 800

    play(test, assets=BOTH, faults={"next_url_foreign_host": True})


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


EVERY = tuple(AssetClass)


def test_its_snapshots_trades_and_quotes_are_answered() -> None:
    def calls(rest: RESTClient) -> None:
        (row,) = rest.get_snapshot_all("stocks", ["AAPL"])
        assert row.day.open > 0
        assert row.min.accumulated_volume == row.day.volume
        assert row.last_trade.price > 0
        assert row.last_quote.bid_price < row.last_quote.ask_price
        assert len(rest.get_snapshot_all("crypto")) == len(rest.get_snapshot_all("forex")) == 5
        assert rest.get_snapshot_ticker("stocks", "AAPL").prev_day.close == row.prev_day.close
        moved = [*rest.get_snapshot_direction("stocks", "gainers"), *rest.get_snapshot_direction("stocks", "losers")]
        assert {r.ticker for r in moved} <= {"AAPL", "MSFT", "NVDA", "TSLA", "AMZN"}
        names = ["AAPL", "X:BTCUSD", "C:EURUSD", "I:SPX", "NOPE"]
        found = {r.ticker: r for r in rest.list_universal_snapshots(ticker_any_of=names, limit=2)}
        assert set(found) == set(names)
        assert found["NOPE"].error == "NOT_FOUND"
        assert found["AAPL"].session.previous_close == row.prev_day.close
        (index,) = rest.get_snapshot_indices(["I:SPX"])
        assert index.session.low <= index.value <= index.session.high
        trades = list(islice(rest.list_trades("AAPL", limit=100), 250))
        assert [t.sip_timestamp for t in trades] == sorted((t.sip_timestamp for t in trades), reverse=True)
        assert len({t.id for t in trades}) == 250
        since = START - 60 * 10**9
        quotes = list(rest.list_quotes("AAPL", timestamp_gte=since, order="asc", limit=50_000))
        assert all(q.bid_price < q.ask_price and q.sip_timestamp >= since for q in quotes)
        assert next(rest.list_quotes("C:EURUSD", limit=1)).ask_price > 1

    async def test(sim: Running) -> None:
        await asyncio.to_thread(calls, RESTClient(api_key="sim-advanced", base=sim.rest))

    play(test, assets=EVERY, speed=0.001)


def test_its_reference_calls_are_answered() -> None:
    def calls(rest: RESTClient) -> None:
        (split,) = rest.list_splits("AAPL")
        assert (split.execution_date, split.split_from, split.split_to) == ("2026-09-11", 1, 4)
        assert next(rest.list_dividends("AAPL", limit=2)).cash_amount > 0
        contract = next(rest.list_options_contracts("AAPL", contract_type="put", expiration_date_gte="2026-09-15"))
        assert rest.get_options_contract(contract.ticker).strike_price == contract.strike_price
        odd = next(row for row in rest.list_conditions("stocks", limit=5) if row.id == 37)
        assert odd.update_rules.consolidated.updates_volume
        assert "XNYS" in {row.mic for row in rest.get_exchanges("stocks")}
        assert "CS" in {row.code for row in rest.get_ticker_types("stocks")}
        (bar, *_) = rest.list_futures_aggregates("ESZ26", resolution="1min", window_start_gte="2026-09-14", limit=50)
        assert bar.session_end_date == "2026-09-15"
        assert "ESZ26" in {row.ticker for row in rest.list_futures_contracts(product_code="ES")}
        assert rest.get_futures_contract_details("ESZ26").product_code == "ES"
        assert rest.get_futures_product_details("ES").trading_venue == "XCME"
        days = list(rest.list_futures_schedules_by_product_code("ES"))
        assert {event.event for event in days[0].schedule} == {"pre_open", "open", "close"}
        assert {row.market_status for row in rest.list_futures_market_statuses(product_code="ES")} == {"open"}
        assert next(rest.list_futures_trades("ESZ26", limit=1)).price > 0
        assert next(rest.list_futures_quotes("ESZ26", limit=1)).bid_price > 0
        # Its model of a snapshot's details cannot be made of JSON: its own bug, so only the bytes are looked at.
        assert b'"ticker":"ESZ26"' in rest.get_futures_snapshot(ticker="ESZ26", raw=True).data

    async def test(sim: Running) -> None:
        await asyncio.to_thread(calls, RESTClient(api_key="sim-advanced", base=sim.rest))

    split = {"symbol": "AAPL", "date": "2026-09-11", "split_to": 4}
    play(test, assets=EVERY, speed=0.001, symbols=30, faults={"split_event": [split]})


def test_sessions_are_right_on_odd_days() -> None:
    def status(sim: Running) -> Any:
        return RESTClient(api_key="sim-advanced", base=sim.rest).get_market_status()

    async def test(sim: Running) -> None:
        for text, market, is_early, is_late in (
            ("2026-11-01T15:00", "closed", False, False),  # the Sunday clocks change
            ("2026-11-02T14:29", "extended-hours", True, False),
            ("2026-11-02T14:31", "open", False, False),
            ("2026-11-27T17:59", "open", False, False),  # the half day
            ("2026-11-27T18:00", "extended-hours", False, True),
        ):
            await sim.admin("clock", now_ms=instant(text) // 10**6)
            found = await asyncio.to_thread(status, sim)
            assert (found.market, found.early_hours, found.after_hours) == (market, is_early, is_late), text

    play(test, speed=0.001)


def test_its_retries_are_counted_and_refusals_are_not_retried() -> None:
    def calls(sim: Running) -> None:
        rest = RESTClient(api_key="sim-advanced", base=sim.rest)
        assert rest.get_market_status().market == "open"
        with pytest.raises(BadResponse, match="doesn't include this data timeframe"):
            RESTClient(api_key="sim-starter", base=sim.rest).get_aggs("AAPL", 1, "day", "2019-01-02", "2026-09-14")

    async def test(sim: Running) -> None:
        # Three tries fail, the fourth is its last.
        await sim.admin("faults", rest_error=503, rest_error_burst=3)
        await asyncio.to_thread(calls, sim)

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
