from typing import Any

import pytest

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, instant
from tests.ray_apps.simulator.test_reference import rows
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration

STOCKS = "/v2/snapshot/locale/us/markets/stocks"
GLOBAL = "/v2/snapshot/locale/global/markets"
EVERY = (AssetClass.STOCKS, AssetClass.CRYPTO, AssetClass.FOREX, AssetClass.INDICES, AssetClass.OPTIONS)
NOW_MS = START // 10**6


async def first_row(sim: Running, path: str, **params: Any) -> dict[str, Any]:
    """Give REST's first row."""
    row: dict[str, Any] = (await sim.get(path, **params)).json()["results"][0]
    return row


def numbers(part: dict[str, Any]) -> dict[str, float]:
    """Give a part's values as numbers: volumes come as text too."""
    return {name: float(value) for name, value in part.items()}


def test_a_snapshot_is_what_the_other_calls_say() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.get(f"{STOCKS}/tickers/AAPL")
        row = answer.json()["ticker"]
        day = await first_row(sim, "/v2/aggs/ticker/AAPL/range/1/day/2026-09-15/2026-09-15")
        minute = await first_row(sim, "/v2/aggs/ticker/AAPL/range/1/minute/2026-09-15/2026-09-15", sort="desc", limit=1)
        before = await first_row(sim, "/v2/aggs/ticker/AAPL/prev")
        for told, known in ((row["day"], day), (row["min"], minute), (row["prevDay"], before)):
            assert [told[name] for name in ("o", "h", "l", "c", "v", "vw")] == [
                known[name] for name in ("o", "h", "l", "c", "v", "vw")
            ]
        assert (row["min"]["t"], row["min"]["n"]) == (minute["t"], minute["n"])
        assert row["min"]["av"] == day["v"] == float(row["day"]["dv"])
        trade = await first_row(sim, "/v3/trades/AAPL", limit=1)
        assert (row["lastTrade"]["p"], row["lastTrade"]["t"]) == (trade["price"], trade["sip_timestamp"])
        assert row["lastTrade"]["i"] == trade["id"]
        assert row["lastQuote"]["p"] < row["lastQuote"]["P"]
        assert row["todaysChange"] == pytest.approx(trade["price"] - before["c"], abs=1e-6)
        assert row["todaysChangePerc"] == pytest.approx(100 * row["todaysChange"] / before["c"], abs=1e-4)
        assert row["updated"] >= trade["sip_timestamp"]
        # The newest minute is over; a trade of the running one may be younger.
        await sim.admin("clock", now_ms=NOW_MS + 30_000)
        later = (await sim.get(f"{STOCKS}/tickers/AAPL")).json()["ticker"]
        assert later["min"] == row["min"]
        assert later["lastTrade"]["t"] > row["lastTrade"]["t"]

    play(test, assets=(AssetClass.STOCKS,), speed=0.001)


def test_a_markets_snapshot_has_all_that_traded() -> None:
    async def test(sim: Running) -> None:
        whole = (await sim.get(f"{STOCKS}/tickers")).json()
        assert whole["count"] == len(whole["tickers"]) == 59
        found = {row["ticker"]: row for row in whole["tickers"]}
        assert "MSFT" not in found
        names = [name for name in found if name != "AAPL"][:50]
        for asked in (["AAPL", names[0], "MSFT", "NOPE"], [*names, "AAPL"]):
            some = (await sim.get(f"{STOCKS}/tickers", tickers=",".join(asked))).json()["tickers"]
            assert {row["ticker"] for row in some} == set(asked) - {"MSFT", "NOPE"}
            for row in some:
                for part in ("day", "min", "prevDay"):
                    assert numbers(row[part]) == pytest.approx(numbers(found[row["ticker"]][part]))
        await sim.admin("clock", now_ms=NOW_MS + 120_000)
        again = {row["ticker"]: row for row in (await sim.get(f"{STOCKS}/tickers")).json()["tickers"]}
        assert again["AAPL"]["day"]["v"] > found["AAPL"]["day"]["v"]
        one = (await sim.get(f"{STOCKS}/tickers/AAPL")).json()["ticker"]
        assert numbers(one["day"]) == pytest.approx(numbers(again["AAPL"]["day"]))
        assert (await sim.get(f"{STOCKS}/tickers/MSFT")).status_code == 404

    play(test, assets=(AssetClass.STOCKS,), symbols=60, speed=0.001, faults={"zero_activity": ["MSFT"]})


def test_those_that_moved_most_lead() -> None:
    async def test(sim: Running) -> None:
        whole = (await sim.get(f"{STOCKS}/tickers")).json()["tickers"]
        for direction, sign in (("gainers", 1), ("losers", -1)):
            found = (await sim.get(f"{STOCKS}/{direction}")).json()["tickers"]
            moves = [sign * row["todaysChangePerc"] for row in found]
            assert moves == sorted(moves, reverse=True)
            assert min(moves) > 0
            assert len(moves) <= 20
            assert max(sign * row["todaysChangePerc"] for row in whole if row["day"]["v"] >= 10_000) == moves[0]
        assert (await sim.get("/v2/snapshot/locale/us/markets/bonds/gainers")).status_code == 404

    play(test, assets=(AssetClass.STOCKS,), symbols=60, speed=0.001)


@pytest.mark.parametrize(
    ("text", "n", "day"),
    [
        ("2026-09-15T07:29", 3, "2026-09-14"),  # 03:29 in New York: yesterday's still stand
        ("2026-09-15T07:30", 0, ""),
        ("2026-09-15T08:30", 3, "2026-09-15"),
        ("2026-09-13T15:00", 0, ""),  # a Sunday
    ],
)
def test_snapshots_are_cleared_before_the_session(text: str, n: int, day: str) -> None:
    async def test(sim: Running) -> None:
        found = (await sim.get(f"{STOCKS}/tickers")).json()["tickers"]
        assert len(found) == n
        for row in found:
            assert instant(f"{day}T08:00") <= row["min"]["t"] * 10**6 < instant(f"{day}T23:59") + 60 * 10**9

    play(test, assets=(AssetClass.STOCKS,), symbols=3, start_ns=instant(text))


def test_currencies_have_their_own_shape() -> None:
    async def test(sim: Running) -> None:
        coin = (await sim.get(f"{GLOBAL}/crypto/tickers/X:BTCUSD")).json()["ticker"]
        assert coin["lastTrade"]["c"] in ([1], [2])
        assert "lastQuote" not in coin
        assert "dv" not in coin["day"]
        pair = (await sim.get(f"{GLOBAL}/forex/tickers", tickers="C:EURUSD")).json()["tickers"][0]
        assert pair["lastQuote"]["b"] < pair["lastQuote"]["a"]
        assert "lastTrade" not in pair
        assert (await sim.get(f"{STOCKS}/tickers/X:BTCUSD")).status_code == 404
        assert (await sim.get(f"{STOCKS}/tickers", tickers="X:BTCUSD")).json()["tickers"] == []

    play(test, assets=EVERY)


def test_plans_decide_what_a_snapshot_tells() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.get(f"{STOCKS}/tickers/AAPL", "sim-starter")
        row = answer.json()["ticker"]
        assert answer.json()["status"] == "DELAYED"
        assert not {"lastTrade", "lastQuote", "fmv"} & row.keys()
        assert row["min"]["t"] == NOW_MS - 16 * 60_000
        developer = (await sim.get(f"{STOCKS}/tickers/AAPL", "sim-developer")).json()["ticker"]
        assert "lastTrade" in developer
        assert "lastQuote" not in developer
        business = (await sim.get(f"{STOCKS}/tickers/AAPL", "sim-business")).json()["ticker"]
        assert business["lastQuote"]["p"] < business["fmv"] < business["lastQuote"]["P"]
        assert (await sim.get(f"{STOCKS}/tickers/AAPL", "sim-basic")).status_code == 403

    play(test, assets=(AssetClass.STOCKS,), speed=0.001)


def test_any_tickers_come_in_one_call_each_with_its_failure() -> None:
    async def test(sim: Running) -> None:
        key = "sim-advanced+indices.basic"
        names = ("AAPL", "X:BTCUSD", "C:EURUSD", "I:SPX", "NOPE", "O:AAPL261218C00196000")
        answer = await sim.get("/v3/snapshot", key, **{"ticker.any_of": ",".join(names)})
        found = {row["ticker"]: row for row in answer.json()["results"]}
        assert set(found) == set(names)
        assert found["NOPE"] == {"ticker": "NOPE", "error": "NOT_FOUND", "message": "Ticker not found."}
        assert found["I:SPX"]["error"] == "NOT_ENTITLED"
        assert [found[name]["type"] for name in ("AAPL", "X:BTCUSD", "C:EURUSD")] == ["stocks", "crypto", "fx"]
        stock = found["AAPL"]
        assert (stock["market_status"], stock["timeframe"]) == ("open", "REAL-TIME")
        old = (await sim.get(f"{STOCKS}/tickers/AAPL")).json()["ticker"]
        assert stock["session"]["change"] == old["todaysChange"]
        assert stock["session"]["previous_close"] == old["prevDay"]["c"]
        assert stock["last_trade"]["price"] == old["lastTrade"]["p"] == stock["session"]["price"]
        assert stock["last_quote"]["bid"] < stock["last_quote"]["midpoint"] < stock["last_quote"]["ask"]
        assert stock["last_minute"]["transactions"] == old["min"]["n"]
        option = found["O:AAPL261218C00196000"]
        assert option["details"]["strike_price"] == 196
        assert option["underlying_asset"]["ticker"] == "AAPL"
        assert option["break_even_price"] == pytest.approx(196 + option["session"]["price"])
        assert (await sim.get("/v3/snapshot", **{"ticker.any_of": ",".join(map(str, range(251)))})).status_code == 400
        assert (await sim.get("/v3/snapshot", limit=251)).status_code == 400

    play(test, assets=EVERY, symbols=6, speed=0.001)


def test_all_tickers_come_page_by_page() -> None:
    async def test(sim: Running) -> None:
        found = await rows(sim, "/v3/snapshot", type="crypto", limit=3)
        assert [row["ticker"] for row in found] == sorted(row["ticker"] for row in found)
        assert len(found) == 8
        first = found[0]["ticker"]
        assert len(await rows(sim, "/v3/snapshot", type="crypto", **{"ticker.gt": first})) == 7
        assert len((await sim.get("/v3/snapshot")).json()["results"]) == 10
        assert (await sim.get("/v3/snapshot", type="bonds")).json()["results"] == []

    play(test, assets=(AssetClass.STOCKS, AssetClass.CRYPTO), symbols=8, speed=0.001)


def test_indices_have_a_call_of_their_own() -> None:
    async def test(sim: Running) -> None:
        found = (await sim.get("/v3/snapshot/indices", **{"ticker.any_of": "I:SPX,I:NOPE,AAPL"})).json()["results"]
        spx, nope, stock = sorted(found, key=lambda row: ["I:SPX", "I:NOPE", "AAPL"].index(row["ticker"]))
        assert (spx["type"], spx["market_status"]) == ("indices", "open")
        assert spx["session"]["low"] <= spx["value"] <= spx["session"]["high"]
        assert "volume" not in spx["session"]
        assert nope["error"] == stock["error"] == "NOT_FOUND"
        assert len(await rows(sim, "/v3/snapshot/indices", limit=2)) == 5

    play(test, assets=EVERY, speed=0.001)
