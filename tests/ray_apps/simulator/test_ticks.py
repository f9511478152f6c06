"""Trades and quotes: bars are what they add up to, on the stream and in REST, for one symbol and for all."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.market.polygon import parse
from features.market.types import AssetClass, SlotTable
from features.synthetic.prints import MOST
from tests.ray_apps.simulator.client import START, Running, Stream, instant
from tests.ray_apps.simulator.test_process import write
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration

Event = dict[str, Any]
NOW_MS = START // 10**6
# Class, topics of trades, quotes, second and minute bars, and where each says its symbol and price.
CLASSES = [
    (AssetClass.STOCKS, "T", "Q", "A", "AM", "sym"),
    (AssetClass.OPTIONS, "T", None, "A", "AM", "sym"),
    (AssetClass.CRYPTO, "XT", "XQ", "XAS", "XA", "pair"),
    (AssetClass.FOREX, None, "C", "CAS", "CA", "pair"),
    (AssetClass.INDICES, "V", None, "A", "AM", "sym"),
    (AssetClass.FUTURES, "T", "Q", "A", "AM", "sym"),
]


async def events_until(stream: Stream, topic: str, n: int) -> dict[str, list[Event]]:
    """Give all events by topic, once `n` of one have come."""
    found: dict[str, list[Event]] = defaultdict(list)
    while len(found[topic]) < n:
        for event in await stream.recv():
            found[event["ev"]].append(event)
    return found


def price_of(event: Event) -> float:
    """Give what an event adds to its bar: a trade's price, a value, the middle of a pair's quote."""
    if event["ev"] == "C":
        return round((event["a"] + event["b"]) / 2, 9)
    return float(event["val"] if event["ev"] == "V" else event["p"])


@pytest.mark.parametrize(("asset_class", "trade", "quote", "second", "minute", "name"), CLASSES)
def test_bars_are_made_of_what_was_sent(
    asset_class: AssetClass, trade: str | None, quote: str | None, second: str, minute: str, name: str
) -> None:
    async def test(sim: Running) -> None:
        topics = ",".join(f"{topic}.*" for topic in (trade, quote, second, minute) if topic)
        async with sim.subscribed(topics, path=str(asset_class)) as stream:
            found = await events_until(stream, minute, 4 * 5)
        prints = found[trade] if trade else found[str(quote)]
        by_second: dict[tuple[str, int], list[Event]] = defaultdict(list)
        for event in prints:
            by_second[event.get(name) or event.get("T") or event["p"], event["t"] // 1_000 * 1_000].append(event)
        checked = 0
        for bar in found[second]:
            mine = by_second.get((bar[name], bar["s"]))
            if bar["s"] < NOW_MS or mine is None:
                continue
            checked += 1
            prices = [
                event.get("val") or (event["p"] if trade else round((event["a"] + event["b"]) / 2, 9)) for event in mine
            ]
            assert (prices[0], prices[-1], max(prices), min(prices)) == (bar["o"], bar["c"], bar["h"], bar["l"])
            assert len(mine) <= MOST
            if trade and "v" in bar:
                assert sum(event["s"] for event in mine) == pytest.approx(bar["v"], rel=1e-9)
            elif "v" in bar and 4 <= bar["v"] <= MOST:
                assert len(mine) == bar["v"]
        assert checked > 100

    play(test, assets=(asset_class,), symbols=5)


def test_a_symbols_ticks_are_the_same_whoever_asks() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("T.*,Q.*", path="stocks") as stream:
            whole = await events_until(stream, "T", 2_000)
        # The first second may have been cut by the change of the clock.
        start, end = NOW_MS + 2_000, NOW_MS + 12_000
        some: dict[str, list[Event]] = defaultdict(list)
        async with sim.subscribed("T.AAPL,Q.MSFT", "sim-advanced-2", path="stocks") as stream:
            await sim.admin("clock", now_ms=NOW_MS)
            is_over = False
            while not is_over:
                for event in await stream.recv():
                    some[event["ev"]].append(event)
                # What was on its way when time was set is of later.
                is_over = any(start <= t["t"] < end for t in some["T"]) and some["T"][-1]["t"] > end + 2_000
        for topic, name in (("T", "AAPL"), ("Q", "MSFT")):
            assert {event["sym"] for event in some[topic]} == {name}
            both = [[e for e in found[topic] if e["sym"] == name and start <= e["t"] < end] for found in (whole, some)]
            assert both[0] == both[1]
            assert len(both[0]) > 50

    play(test, assets=(AssetClass.STOCKS,), symbols=5)


def test_trades_have_the_vendors_fields() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("T.*,Q.*", path="stocks") as stream:
            found = await events_until(stream, "T", 400)
        for event in found["T"]:
            assert {"x", "i", "z", "p", "s", "ds", "t", "q"} <= event.keys()
            assert isinstance(event["i"], str)
            assert float(event["ds"]) == event["s"]
            assert (37 in event.get("c", [])) == (event["s"] < 100)
            assert 12 not in event.get("c", [])
            assert ("trfi" in event) == ("trft" in event) == (event["x"] == 4)
        assert {4, 12} <= {event["x"] for event in found["T"]}
        ids = [(event["sym"], event["i"]) for event in found["T"]]
        assert len(set(ids)) == len(ids)
        mine = [event["q"] for event in found["T"] if event["sym"] == "AAPL"]
        assert mine == sorted(set(mine))
        assert all(0 < event["ap"] - event["bp"] < 0.011 and event["bs"] % 100 == 0 for event in found["Q"])

    play(test, assets=(AssetClass.STOCKS,), symbols=5)


def test_every_topic_passes_our_parser_and_drift_breaks_no_bar() -> None:
    async def test(sim: Running) -> None:
        table = SlotTable(AssetClass.STOCKS)
        bars = ignored = 0
        seen: set[str] = set()
        async with sim.subscribed("T.*,Q.*,LULD.*,A.*,AM.*,FMV.*", "sim-business", path="stocks") as stream:
            while bars < 100 or not {"T", "Q", "LULD", "A", "AM", "FMV", "ZZZ"} <= seen:
                frame = await stream.socket.recv()
                assert isinstance(frame, str)
                found = parse(frame.encode(), table, now_ns=0, recv_ns=0)
                assert set(found.errors) <= {"unknown_event"}
                bars += sum(len(batch) for batch in found.batches)
                ignored += found.ignored
                seen |= {topic for topic in ("T", "Q", "LULD", "A", "AM", "FMV", "ZZZ") if f'"ev":"{topic}"' in frame}
        assert ignored > 50

    play(test, assets=(AssetClass.STOCKS,), symbols=5, faults={"field_drift": True})


def test_a_halt_is_said_and_then_there_is_silence() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("LULD.*,T.AAPL,T.MSFT", path="stocks") as stream:
            found: list[Event] = []
            newest = 0
            while newest < NOW_MS + 9 * 60_000:
                found += [event for event in await stream.recv() if event["ev"] in ("LULD", "T")]
                newest = max((event["t"] for event in found if event["ev"] == "T"), default=0)
        said = [event for event in found if event["ev"] == "LULD" and event["T"] == "AAPL"]
        start_ns, end_ns = (NOW_MS + 120_000) * 10**6, (NOW_MS + 420_000) * 10**6
        paused, resumed = [event for event in said if event["i"] != [21]]
        assert (paused["t"], resumed["t"]) == (start_ns, end_ns)
        assert paused["l"] < paused["h"] == pytest.approx(paused["l"] * 1.05 / 0.95, rel=1e-3)
        bands = [event["t"] for event in said if event["i"] == [21]]
        assert bands
        assert not [t for t in bands if start_ns <= t < end_ns]
        assert all(t % (30 * 10**9) == 0 for t in bands)
        times = {name: [e["t"] for e in found if e["ev"] == "T" and e["sym"] == name] for name in ("AAPL", "MSFT")}
        assert not [t for t in times["AAPL"] if start_ns <= t * 10**6 < end_ns]
        assert [t for t in times["AAPL"] if t * 10**6 >= end_ns]
        assert [t for t in times["MSFT"] if start_ns <= t * 10**6 < end_ns]

    halt = {"symbol": "AAPL", "start_ms": NOW_MS + 120_000}
    play(test, assets=(AssetClass.STOCKS,), symbols=5, faults={"halt": [halt]})


def test_books_and_fair_values_follow_the_quotes() -> None:
    async def test(sim: Running) -> None:
        params = "XQ.BTC-USD,XL2.BTC-USD,FMV.X:BTC-USD"
        async with sim.subscribed(params, "sim-business") as stream:
            found = await events_until(stream, "FMV", 20)
        quotes = {event["t"]: event for event in found["XQ"]}
        for book in found["XL2"]:
            best = quotes[book["t"]]
            assert book["b"][0] == [best["bp"], best["bs"]]
            assert book["a"][0] == [best["ap"], best["as"]]
            assert [p for p, _ in book["b"]] == sorted((p for p, _ in book["b"]), reverse=True)
        assert {event["sym"] for event in found["FMV"]} == {"X:BTC-USD"}
        assert found["FMV"][0]["t"] > 10**17

    play(test)


def test_quotes_of_options_are_limited() -> None:
    async def test(sim: Running) -> None:
        names = [f"Q.O:AAPL261218C{k:08d}" for k in range(1_000)]
        async with sim.stream("options") as stream:
            await stream.enter()
            await stream.ask("subscribe", "Q.*")
            assert await stream.statuses(1) == ["not authorized"]
            await stream.ask("subscribe", ",".join(names))
            assert len(await stream.statuses(1_000)) == 1_000
            await stream.ask("subscribe", f"Q.O:MSFT261218C00500000,{names[0]},T.*")
            assert await stream.statuses(2) == ["not authorized", "subscribed to: T.*"]

    play(test, assets=(AssetClass.OPTIONS,))


def test_a_running_clock_sends_ticks_at_their_time() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XT.*") as stream:
            ahead_ms = (await sim.http.get("/admin/state")).json()["now_ms"] - time.time() * 1_000
            late: list[float] = []
            while len(late) < 300:
                events = [event for event in await stream.recv() if event["ev"] == "XT"]
                late += [time.time() * 1_000 + ahead_ms - event["t"] for event in events]
        late.sort()
        # Half of them within a tenth of a second, with a machine that does other things too.
        assert late[0] > -50
        assert late[150] < 300

    play(test, speed=1.0, symbols=20)


def test_who_does_not_ask_costs_nothing() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.*") as stream:

            async def is_silent() -> bool:
                return {event["ev"] for event in await stream.recv()} <= {"XA", "status"}

            for _ in range(30):
                assert await is_silent()

    play(test)


def test_a_folders_minutes_have_trades_too(tmp_path: Path) -> None:
    bars = [(NOW_MS + 60_000 * k, 10 + k, 11 + k, 9 + k, 10.5 + k, 100 + k, 10.2 + k, 7) for k in (0, 1, 3)]
    write(tmp_path / "ABC-USD.csv.gz", bars)

    async def test(sim: Running) -> None:
        async with sim.subscribed("XT.*") as stream:
            found = await events_until(stream, "XT", 21)
        for (start, o, h, low, c, v, *_), mine in zip(bars, batched(found["XT"], 7), strict=True):
            assert all(start <= event["t"] < start + 60_000 for event in mine)
            prices = [event["p"] for event in mine]
            assert (prices[0], max(prices), min(prices), prices[-1]) == (o, h, low, c)
            assert sum(event["s"] for event in mine) == v
        await sim.admin("clock", now_ms=NOW_MS + 600_000)
        rows = await pages(sim, "/v3/trades/X:ABCUSD", order="asc", limit=5, **{"timestamp.gte": START})
        assert [(row["participant_timestamp"] // 10**6, row["price"]) for row in rows] == [
            (event["t"], event["p"]) for event in found["XT"]
        ]

    play(test, source=str(tmp_path), start_ns=None)


def batched(events: list[Event], n: int) -> list[list[Event]]:
    """Give events in groups of n."""
    return [events[i : i + n] for i in range(0, len(events), n)]


async def pages(sim: Running, path: str, **params: Any) -> list[Event]:
    """Give all rows, page by page."""
    rows: list[Event] = []
    answer = await sim.get(path, **params)
    while True:
        body = answer.json()
        assert answer.status_code == 200, body
        rows += body["results"]
        if "next_url" not in body:
            return rows
        answer = await sim.get(httpx.URL(body["next_url"]).raw_path.decode())


def test_rest_has_the_streams_trades_and_quotes() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("T.AAPL,Q.AAPL", path="stocks") as stream:
            found = await events_until(stream, "T", 200)
        trades, quotes = found["T"], found["Q"]
        start, end = trades[0]["t"] * 10**6, (trades[-1]["t"] + 1) * 10**6
        span = {"timestamp.gte": start, "timestamp.lt": end}
        rows = await pages(sim, "/v3/trades/AAPL", order="asc", limit=50_000, **span)
        told = [(t["t"], t["p"], t["s"], t["q"], t["i"], t["x"]) for t in trades]
        names = ("price", "size", "sequence_number", "id", "exchange")
        assert [(row["sip_timestamp"] // 10**6, *(row[n] for n in names)) for row in rows] == told
        for limit in (7, 1_000):
            assert await pages(sim, "/v3/trades/AAPL", order="asc", limit=limit, **span) == rows
            assert await pages(sim, "/v3/trades/AAPL", limit=limit, **span) == rows[::-1]
        rows = await pages(sim, "/v3/quotes/AAPL", order="asc", limit=30, **span)
        asked = [(row["sip_timestamp"] // 10**6, row["bid_price"], row["ask_price"], row["bid_size"]) for row in rows]
        told = [(q["t"], q["bp"], q["ap"], q["bs"]) for q in quotes]
        # Of the last window one of both may have come alone.
        newest = min(told[-1][0], asked[-1][0]) - 1_000
        assert [q for q in asked if q[0] < newest] == [q for q in told if start // 10**6 <= q[0] < newest]
        assert len(asked) > 100

    play(test, assets=(AssetClass.STOCKS,))


def test_trades_end_where_the_clock_stands_and_plans_say() -> None:
    async def test(sim: Running) -> None:
        for key, delay_ms in (("sim-advanced", 0), ("sim-developer", 900_000)):
            body = (await sim.get("/v3/trades/AAPL", key, limit=5)).json()
            times = [row["sip_timestamp"] for row in body["results"]]
            assert times == sorted(times, reverse=True)
            assert 0 <= START - delay_ms * 10**6 - times[0] < 5 * 10**9
            assert body["status"] == ("DELAYED" if delay_ms else "OK")
        for path, key, code in (
            ("/v3/trades/AAPL", "sim-starter", 403),
            ("/v3/quotes/AAPL", "sim-developer", 403),
            ("/v3/trades/AAPL?timestamp.gte=2001-01-01", "sim-advanced", 403),
            ("/v3/trades/AAPL?timestamp=soon", "sim-advanced", 400),
            ("/v3/trades/AAPL?limit=50001", "sim-advanced", 400),
            ("/v3/quotes/X:BTCUSD", "sim-advanced", 404),
            ("/v3/trades/I:SPX", "sim-advanced", 404),
        ):
            assert (await sim.get(path, key)).status_code == code, path
        assert (await sim.get("/v3/trades/NOPE")).json()["results"] == []
        for order, at in (("asc", instant("2026-09-14T08:00")), ("desc", instant("2026-09-14T23:59"))):
            rows = (await sim.get("/v3/trades/AAPL", timestamp="2026-09-14", order=order, limit=3)).json()["results"]
            assert len(rows) == 3
            assert all(abs(row["sip_timestamp"] - at) < 1_800 * 10**9 for row in rows)
        coin = (await sim.get("/v3/trades/X:BTCUSD", limit=1)).json()["results"][0]
        assert coin["conditions"] in ([1], [2])
        assert "sip_timestamp" not in coin

    play(test, assets=(AssetClass.STOCKS, AssetClass.CRYPTO))
