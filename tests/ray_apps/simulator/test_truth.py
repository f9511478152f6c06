"""Knobs of the market itself: the stream and REST tell the same story."""

from typing import Any

import pytest

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, instant
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration

NOW_MS = START // 10**6
AAPL = "/v2/aggs/ticker/AAPL/range"


async def told(sim: Running, path: str, **params: Any) -> list[dict[str, Any]]:
    """Give REST's rows, none where it has none."""
    rows: list[dict[str, Any]] = (await sim.get(path, **params)).json().get("results", [])
    return rows


async def minutes(sim: Running, ticker: str, start_ms: int, end_ms: int) -> list[int]:
    """Give the minutes REST has bars of."""
    return [bar["t"] for bar in await told(sim, f"/v2/aggs/ticker/{ticker}/range/1/minute/{start_ms}/{end_ms}")]


def test_a_symbol_without_activity_is_acknowledged_and_silent() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD,XA.*,XAS.BTC-USD") as stream:
            assert len(await stream.statuses(3)) == 3
            bars = await stream.bars(12)
            assert "ETH-USD" in {bar["pair"] for bar in bars}
            assert "BTC-USD" not in {bar["pair"] for bar in bars}
        assert not await minutes(sim, "X:BTCUSD", NOW_MS - 3_600_000, NOW_MS)

    play(test, faults={"zero_activity": ["BTC-USD"]})


def test_missing_minutes_are_missing_everywhere() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD") as stream:
            streamed = [bar["s"] for bar in await stream.bars(20)]
        first, last = streamed[0], streamed[-1]
        assert 25 < (last - first) // 60_000 < 80
        assert await minutes(sim, "X:BTCUSD", first, last) == streamed
        gone = next(t for t in range(first, last, 60_000) if t not in streamed)
        assert not await told(sim, f"/v2/aggs/ticker/X:BTCUSD/range/1/second/{gone}/{gone + 59_999}")
        assert await told(sim, f"/v2/aggs/ticker/X:BTCUSD/range/1/second/{first}/{first + 59_999}")
        every = range(first, last + 60_000, 60_000)
        assert await minutes(sim, "X:ETHUSD", first, last) == list(every)

    play(test, faults={"missing_minutes": {"BTC-USD": 0.5}})


def test_any_symbol_may_miss_minutes() -> None:
    async def test(sim: Running) -> None:
        first = NOW_MS - 3_600_000
        gaps = [set(await minutes(sim, t, first, NOW_MS)) for t in ("X:BTCUSD", "X:ETHUSD")]
        assert all(10 < len(found) < 50 for found in gaps)
        assert gaps[0] != gaps[1]

    play(test, faults={"missing_minutes": {"*": 0.5}})


def test_a_halted_symbol_prints_nothing() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("AM.*", path="stocks") as stream:
            bars = [bar for bar in await stream.bars(60) if bar["sym"] == "AAPL"]
        starts = {(bar["s"] - NOW_MS) // 60_000 for bar in bars}
        assert {-1, 0, 1, 8, 9} <= starts
        assert not starts & set(range(2, 8))
        rest = {(t - NOW_MS) // 60_000 for t in await minutes(sim, "AAPL", NOW_MS, NOW_MS + 600_000)}
        assert not rest & set(range(2, 8))

    halt = {"symbol": "AAPL", "start_ms": NOW_MS + 120_000, "minutes": 6}
    play(test, assets=(AssetClass.STOCKS,), symbols=5, faults={"halt": [halt]})


def test_a_split_is_in_the_raw_bars_and_not_in_the_adjusted() -> None:
    async def test(sim: Running) -> None:
        path = f"{AAPL}/1/day/2026-09-08/2026-09-14"
        raw, adjusted = [await told(sim, path, adjusted=flag) for flag in ("false", "true")]
        assert [round(a["c"] / b["c"], 3) for a, b in zip(raw, adjusted, strict=True)] == [4, 4, 4, 1, 1]
        assert [round(b["v"] / a["v"], 3) for a, b in zip(raw, adjusted, strict=True)] == [4, 4, 4, 1, 1]
        assert raw[2]["c"] / raw[3]["o"] == pytest.approx(4, rel=0.2)
        assert adjusted[2]["c"] / adjusted[3]["o"] == pytest.approx(1, rel=0.2)
        grouped = "/v2/aggs/grouped/locale/us/market/stocks/2026-09-09"
        for flag, days in (("false", raw), ("true", adjusted)):
            row = next(r for r in await told(sim, grouped, adjusted=flag) if r["T"] == "AAPL")
            assert (row["o"], row["c"], row["v"]) == tuple(days[1][name] for name in "ocv")
            flat = (await sim.get("/v1/open-close/AAPL/2026-09-09", adjusted=flag)).json()
            assert (flat["open"], flat["volume"]) == (row["o"], row["v"])
        # Minutes as well, and nobody else's.
        at = instant("2026-09-10T15:00") // 10**6
        (a,), (b,) = [await told(sim, f"{AAPL}/1/minute/{at}/{at}", adjusted=flag) for flag in ("false", "true")]
        assert [a[name] for name in "ohlc"] == pytest.approx([4 * b[name] for name in "ohlc"])
        assert a["n"] <= a["v"] == b["v"] / 4
        other = f"/v2/aggs/ticker/MSFT/range/1/minute/{at}/{at}"
        assert await told(sim, other, adjusted="false") == await told(sim, other, adjusted="true")

    split = {"symbol": "AAPL", "date": "2026-09-11", "split_to": 4}
    play(test, assets=(AssetClass.STOCKS,), faults={"split_event": [split]})


def test_a_split_to_come_is_listed_and_adjusts_nothing_yet() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("AM.AAPL", path="stocks") as stream:
            (bar,) = await stream.bars(1)
        (raw,), (adjusted,) = [
            await told(sim, f"{AAPL}/1/minute/{bar['s']}/{bar['s']}", adjusted=flag) for flag in ("false", "true")
        ]
        assert raw == adjusted
        assert [raw[name] for name in "ohlcv"] == [bar[name] for name in "ohlcv"]
        (row,) = await told(sim, "/v3/reference/splits", ticker="AAPL", **{"execution_date.gte": "2026-09-16"})
        assert (row["execution_date"], row["split_from"], row["split_to"]) == ("2026-09-16", 1, 0.1)
        (row,) = await told(sim, "/stocks/v1/splits")
        assert (row["adjustment_type"], row["historical_adjustment_factor"]) == ("reverse_split", 10)
        await sim.admin("faults", split_event=[])
        (plain,) = await told(sim, f"{AAPL}/1/minute/{bar['s']}/{bar['s']}")
        assert plain["c"] == pytest.approx(10 * raw["c"], rel=1e-3)
        await sim.admin("faults", split_event=[split])
        await sim.admin("clock", now_ms=instant("2026-09-16T15:00") // 10**6)
        (later,) = await told(sim, f"{AAPL}/1/minute/{bar['s']}/{bar['s']}")
        assert later["c"] == pytest.approx(10 * raw["c"])

    split = {"symbol": "AAPL", "date": "2026-09-16", "split_to": 0.1}
    play(test, assets=(AssetClass.STOCKS,), faults={"split_event": [split]})


def test_corrections_after_a_quarter_of_an_hour_are_rests_alone() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD") as stream:
            bars = await stream.bars(40)
        assert len({bar["s"] for bar in bars}) == len(bars)
        bar = next(bar for bar in bars if bar["s"] == NOW_MS)
        path = f"/v2/aggs/ticker/X:BTCUSD/range/1/minute/{NOW_MS}/{NOW_MS}"
        for minutes, is_corrected in ((14, False), (16, True)):
            await sim.admin("clock", now_ms=NOW_MS + 60_000 + minutes * 60_000, speed=0.001)
            (row,) = await told(sim, path)
            assert (row["v"] > bar["v"]) == is_corrected
            assert (row["c"] == bar["c"]) != is_corrected
            assert (row["o"], row["h"], row["l"]) == (bar["o"], bar["h"], bar["l"])

    play(test, faults={"correction_after_15m": 1.0})


def test_the_running_minute_can_be_shown() -> None:
    async def test(sim: Running) -> None:
        await sim.admin("clock", now_ms=NOW_MS + 30_500)
        path = f"{AAPL}/1/minute/{NOW_MS - 60_000}/{NOW_MS + 120_000}"
        assert [bar["t"] for bar in await told(sim, path)] == [NOW_MS - 60_000]
        await sim.admin("faults", rest_partial=True)
        rows = await told(sim, path)
        assert [bar["t"] for bar in rows] == [NOW_MS - 60_000, NOW_MS]
        assert rows[::-1] == await told(sim, path, sort="desc")
        seconds = await told(sim, f"{AAPL}/1/second/{NOW_MS}/{NOW_MS + 29_000}")
        assert rows[1]["v"] == sum(bar["v"] for bar in seconds)
        assert rows[1]["c"] == seconds[-1]["c"]

    play(test, assets=(AssetClass.STOCKS,), speed=0.001)


def test_knobs_name_symbols_that_are_played() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.http.post("/admin/faults", json={"zero_activity": ["NOPE", "BTC-USD"]})
        assert answer.status_code == 400
        assert answer.json()["error"] == "expected symbols that are played, was NOPE"
        answer = await sim.http.post(
            "/admin/faults", json={"split_event": [{"symbol": "BTC-USD", "date": "2026-02-30", "split_to": 2}]}
        )
        assert answer.status_code == 400
        assert "expected a date like 2026-08-31, was '2026-02-30'" in answer.json()["error"]

    play(test)
