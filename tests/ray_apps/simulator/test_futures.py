from typing import Any

import pytest

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, instant
from tests.ray_apps.simulator.test_reference import rows
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration

FUTURES = (AssetClass.FUTURES,)
AGGS = "/futures/v1/aggs/ESZ26"


async def told(sim: Running, path: str, **params: Any) -> list[dict[str, Any]]:
    """Give REST's rows of one page."""
    found: list[dict[str, Any]] = (await sim.get(path, **params)).json()["results"]
    return found


def test_minutes_come_newest_first_and_page_either_way() -> None:
    async def test(sim: Running) -> None:
        start, end = START - 3 * 3_600 * 10**9, START - 3_600 * 10**9
        span = {"resolution": "1min", "window_start.gte": start, "window_start.lt": end}
        whole = await told(sim, AGGS, **span)
        assert [row["window_start"] for row in whole] == list(range(end - 60 * 10**9, start - 1, -60 * 10**9))
        assert {row["session_end_date"] for row in whole} == {"2026-09-15"}
        assert all(row["dollar_volume"] > row["volume"] * row["low"] * 0.999 for row in whole)
        assert "settlement_price" not in whole[0]
        for sort, expected in (("window_start.desc", whole), ("window_start.asc", whole[::-1])):
            assert await rows(sim, AGGS, sort=sort, limit=50, **span) == expected
        old = await told(sim, "/futures/vX/aggs/ESZ26", **span)
        assert old == whole
        stocks_way = (await sim.get(f"/v2/aggs/ticker/ESZ26/range/1/minute/{start // 10**6}/{end // 10**6 - 1}")).json()
        assert [bar["c"] for bar in stocks_way["results"]] == [row["close"] for row in whole][::-1]
        # A window counts by its start.
        fives = await told(sim, AGGS, **(span | {"resolution": "5min", "window_start.gte": start + 1}))
        assert fives[-1]["window_start"] == start + 300 * 10**9
        assert fives[0]["volume"] == sum(row["volume"] for row in whole[:5])

    play(test, assets=FUTURES)


def test_sessions_are_named_by_the_day_they_end_on() -> None:
    async def test(sim: Running) -> None:
        (monday,) = await told(sim, AGGS, window_start="2026-09-13")
        assert monday["session_end_date"] == "2026-09-14"
        assert monday["window_start"] == instant("2026-09-13T22:00")  # 17:00 in Chicago
        assert monday["settlement_price"] == monday["close"]
        found = await told(sim, AGGS, resolution="1session", **{"window_start.gte": "2026-09-06"})
        ends = [row["session_end_date"] for row in found]
        assert ends == sorted(ends, reverse=True)
        assert {"2026-09-08", "2026-09-11", "2026-09-14", "2026-09-15"} <= set(ends)
        assert not {"2026-09-12", "2026-09-13"} & set(ends)
        minutes = await told(
            sim, AGGS, resolution="1min", limit=50_000,
            **{"window_start.gte": monday["window_start"], "window_start.lt": monday["window_start"] + 86_400 * 10**9},
        )  # fmt: skip
        assert monday["volume"] == sum(row["volume"] for row in minutes)
        assert {row["session_end_date"] for row in minutes} == {"2026-09-14"}

    play(test, assets=FUTURES)


def test_contracts_and_products_know_each_other() -> None:
    async def test(sim: Running) -> None:
        found = await rows(sim, "/futures/v1/contracts", product_code="ES", limit=2)
        assert [row["ticker"] for row in found] == sorted(row["ticker"] for row in found)
        assert "ESZ26" in {row["ticker"] for row in found}
        assert {row["trading_venue"] for row in found} == {"XCME"}
        one = (await sim.get("/futures/v1/contracts/ESZ26")).json()["results"]
        assert (one["last_trade_date"], one["active"]) == ("2026-12-18", True)
        codes = {row["product_code"] for row in await rows(sim, "/futures/v1/products")}
        assert {"ES", "CL", "6E"} <= codes
        product = (await sim.get("/futures/vX/products/CL")).json()["results"]
        assert (product["product_code"], product["trading_venue"]) == ("CL", "XNYM")
        for path in ("contracts/NOPE", "products/NOPE"):
            assert (await sim.get(f"/futures/v1/{path}")).status_code == 404
        assert {row["mic"] for row in await told(sim, "/futures/v1/exchanges")} >= {"XCME", "XNYM"}

    play(test, assets=FUTURES, symbols=40)


def test_schedules_say_when_sessions_are() -> None:
    async def test(sim: Running) -> None:
        found = await told(sim, "/futures/v1/schedules", product_code="ES", session_end_date="2026-09-15")
        (row,) = found
        events = {event["event"]: event["timestamp"] for event in row["schedule"]}
        assert events["open"] == "2026-09-14T22:00:00+00:00"
        assert events["close"] == "2026-09-15T21:00:00+00:00"
        assert await told(sim, "/futures/v1/products/ES/schedules", session_end_date="2026-09-12") == []
        state = await told(sim, "/futures/v1/market-status", product_code="ES")
        assert [row["market_status"] for row in state] == ["open"]
        await sim.admin("clock", now_ms=instant("2026-09-15T21:30") // 10**6)
        assert (await told(sim, "/futures/v1/market-status", product_code="ES"))[0]["market_status"] == "close"

    play(test, assets=FUTURES, speed=0.001)


def test_ticks_and_snapshots_are_told() -> None:
    async def test(sim: Running) -> None:
        (trade,) = await told(sim, "/futures/v1/trades/ESZ26", limit=1)
        assert trade["session_end_date"] == "2026-09-15"
        assert 0 <= START - trade["timestamp"] < 5 * 10**9
        (quote,) = await told(sim, "/futures/v1/quotes/ESZ26", limit=1)
        assert quote["bid_price"] < quote["ask_price"]
        row = next(r for r in await told(sim, "/futures/v1/snapshot", product_code="ES") if r["ticker"] == "ESZ26")
        assert row["last_trade"]["price"] == trade["price"]
        assert row["last_quote"]["bid"] == quote["bid_price"]
        assert row["session"]["low"] <= trade["price"] <= row["session"]["high"]
        assert row["last_minute"]["last_updated"] == START // 10**6 - 60_000
        starter = (await sim.get("/futures/v1/snapshot", "sim-starter", ticker="ESZ26")).json()
        assert starter["status"] == "DELAYED"
        assert "last_trade" not in starter["results"][0]

    play(test, assets=FUTURES, speed=0.001)


@pytest.mark.parametrize(
    ("path", "key", "code"),
    [
        (f"{AGGS}?resolution=1fortnight", "sim-advanced", 400),
        (f"{AGGS}?window_start.gte=soon", "sim-advanced", 400),
        (f"{AGGS}?limit=50001", "sim-advanced", 400),
        (f"{AGGS}?window_start.gte=2021-01-04&resolution=1min", "sim-starter", 403),
        ("/futures/v1/trades/ESZ26", "sim-starter", 403),
        ("/futures/v1/snapshot", "sim-basic", 403),
        ("/futures/v1/trades/AAPL", "sim-advanced", 404),
        ("/futures/v1/contracts?limit=1001", "sim-advanced", 400),
    ],
)
def test_errors_are_the_vendors(path: str, key: str, code: int) -> None:
    async def test(sim: Running) -> None:
        assert (await sim.get(path, key)).status_code == code

    play(test, assets=FUTURES)


def test_unknown_contracts_have_no_bars() -> None:
    async def test(sim: Running) -> None:
        assert await told(sim, "/futures/v1/aggs/ZZZ99", resolution="1min") == []
        assert await told(sim, AGGS, **{"window_start.gte": "2027-01-01"}) == []

    play(test, assets=FUTURES)
