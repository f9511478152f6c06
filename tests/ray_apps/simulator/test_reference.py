import base64
from datetime import datetime
from typing import Any

import httpx
import pytest

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import Running, instant
from tests.ray_apps.simulator.test_rest import BOTH, pages
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration


async def rows(sim: Running, path: str, **params: Any) -> list[dict[str, Any]]:
    """Give the rows of all pages."""
    return [row for page in await pages(sim, path, **params) for row in page["results"]]


@pytest.mark.parametrize(
    ("text", "market", "early", "late"),
    [
        ("2026-09-15T07:59", "closed", False, False),
        ("2026-09-15T08:00", "extended-hours", True, False),
        ("2026-09-15T15:00", "open", False, False),
        ("2026-09-15T20:05", "extended-hours", False, True),
        ("2026-09-15T23:59", "extended-hours", False, True),
        ("2026-09-16T00:00", "closed", False, False),  # 20:00 in New York
        ("2026-11-27T17:59", "open", False, False),  # the half day after Thanksgiving
        ("2026-11-27T18:01", "extended-hours", False, True),
        ("2026-11-27T22:01", "closed", False, False),
        ("2026-11-26T16:00", "closed", False, False),
        # Clocks change on these Sundays; the Mondays after are an hour earlier or later in UTC.
        ("2026-03-06T14:29", "extended-hours", True, False),
        ("2026-03-06T14:30", "open", False, False),
        ("2026-03-08T14:30", "closed", False, False),
        ("2026-03-09T13:30", "open", False, False),
        ("2026-10-30T13:30", "open", False, False),
        ("2026-11-02T13:30", "extended-hours", True, False),
        ("2026-11-02T14:30", "open", False, False),
    ],
)
def test_market_status_follows_the_clock(text: str, market: str, early: bool, late: bool) -> None:
    async def test(sim: Running) -> None:
        body = (await sim.get("/v1/marketstatus/now")).json()
        assert (body["market"], body["earlyHours"], body["afterHours"]) == (market, early, late)
        assert body["exchanges"]["nyse"] == market
        assert datetime.fromisoformat(body["serverTime"]).timestamp() == instant(text) // 10**9

    play(test, start_ns=instant(text))


def test_bars_keep_to_the_sessions_of_odd_days() -> None:
    async def test(sim: Running) -> None:
        async def edges(day: str) -> tuple[int, int]:
            bars = (await sim.get(f"/v2/aggs/ticker/AAPL/range/1/minute/{day}/{day}")).json()["results"]
            return bars[0]["t"] * 10**6, bars[-1]["t"] * 10**6 + 60 * 10**9

        # AAPL prints every minute of a session, the first and last hours not quite.
        slack = 600 * 10**9
        for day, first, last in (
            ("2026-03-06", "2026-03-06T09:00", "2026-03-07T01:00"),
            ("2026-03-09", "2026-03-09T08:00", "2026-03-10T00:00"),
            ("2026-11-27", "2026-11-27T09:00", "2026-11-27T22:00"),
        ):
            start, end = await edges(day)
            assert 0 <= start - instant(first) < slack
            assert 0 <= instant(last) - end < slack

    play(test, assets=(AssetClass.STOCKS,), start_ns=instant("2026-12-01T15:00"))


def test_holidays_have_a_row_per_exchange() -> None:
    async def test(sim: Running) -> None:
        found = (await sim.get("/v1/marketstatus/upcoming")).json()
        assert {"2026-11-26", "2026-11-27", "2026-12-25"} <= {row["date"] for row in found}
        thanksgiving = [row for row in found if row["date"] == "2026-11-26"]
        assert {row["exchange"] for row in thanksgiving} == {"NYSE", "NASDAQ", "OTC"}
        assert {(row["name"], row["status"]) for row in thanksgiving} == {("Thanksgiving", "closed")}
        half = [row for row in found if row["date"] == "2026-11-27"]
        assert {row["exchange"] for row in half} == {"NYSE", "NASDAQ"}
        assert half[0]["close"] == "2026-11-27T18:00:00.000Z"
        king = next(row["name"] for row in found if row["date"] == "2027-01-18")
        assert king.startswith("Martin Luther King")

    play(test)


def test_tickers_are_listed_by_market_and_page() -> None:
    async def test(sim: Running) -> None:
        found = await rows(sim, "/v3/reference/tickers", market="crypto", limit=20)
        assert len(found) == len({row["ticker"] for row in found}) == 140
        bitcoin = next(row for row in found if row["ticker"] == "X:BTCUSD")
        assert (bitcoin["base_currency_symbol"], bitcoin["currency_symbol"]) == ("BTC", "USD")
        for params, some in (
            ({"ticker": "AAPL"}, {"AAPL"}),
            ({"search": "googl"}, {"GOOGL"}),
            ({"ticker.gte": "X:", "ticker.lt": "X:A"}, {"X:1INCHUSD"}),
            ({"market": "stocks", "ticker.any_of": "MSFT,AAPL,NOPE"}, {"AAPL", "MSFT"}),
            ({"active": "false"}, set()),
            ({"market": "otc"}, set()),
        ):
            names = {row["ticker"] for row in await rows(sim, "/v3/reference/tickers", **params)}
            assert names == some, params
        down = await rows(sim, "/v3/reference/tickers", market="stocks", order="desc", limit=30)
        assert [row["ticker"] for row in down] == sorted((row["ticker"] for row in down), reverse=True)
        exchange = down[0]["primary_exchange"]
        listed = await rows(sim, "/v3/reference/tickers", market="stocks", exchange=exchange)
        assert 0 < len(listed) < 140
        one = (await sim.get("/v3/reference/tickers/BRK.B")).json()["results"]
        assert (one["ticker"], one["market"], one["ticker_root"]) == ("BRK.B", "stocks", "BRK")
        types = (await sim.get("/v3/reference/tickers/types", asset_class="stocks")).json()["results"]
        assert "CS" in {row["code"] for row in types}

    play(test, assets=BOTH, symbols=140)


def test_a_cursor_does_not_tell_the_key() -> None:
    async def test(sim: Running) -> None:
        body = (await sim.http.get("/v3/reference/tickers?limit=2&apiKey=sim-advanced")).json()
        cursor = httpx.URL(body["next_url"]).params["cursor"]
        assert b"sim-advanced" not in base64.urlsafe_b64decode(cursor + "==")
        assert (await sim.get("/v3/reference/tickers?cursor=bm8")).status_code == 400

    play(test)


def test_lists_lead_astray_as_told() -> None:
    async def test(sim: Running) -> None:
        path = "/v3/reference/tickers?limit=2&market=stocks"
        await sim.admin("faults", next_url_foreign_host=True)
        assert httpx.URL((await sim.get(path)).json()["next_url"]).host != "127.0.0.1"
        await sim.admin("faults", reset=True, next_url_cycle=True)
        cycle = httpx.URL((await sim.get(path)).json()["next_url"]).raw_path.decode()
        again = (await sim.get(cycle)).json()
        assert httpx.URL(again["next_url"]).raw_path.decode() == cycle

    play(test, assets=(AssetClass.STOCKS,))


def test_contracts_are_chosen_by_their_terms() -> None:
    async def test(sim: Running) -> None:
        path = "/v3/reference/options/contracts"
        every = await rows(sim, path, limit=1_000)
        assert len(every) == 300
        assert {row["expiration_date"] for row in every} == {"2026-12-18"}
        found = await rows(sim, path, underlying_ticker="AAPL", contract_type="call", **{"strike_price.gte": 200})
        assert found
        assert all(row["underlying_ticker"] == "AAPL" and row["strike_price"] >= 200 for row in found)
        assert [row["ticker"] for row in found] == sorted(row["ticker"] for row in found)
        one = (await sim.get(f"{path}/{found[0]['ticker']}")).json()["results"]
        assert one == found[0]
        assert await rows(sim, path, expired="true") == []
        assert len(await rows(sim, path, expired="true", as_of="2027-01-01", limit=1_000)) == 300
        assert (await sim.get(path, strike_price="high")).status_code == 400
        assert (await sim.get("/v3/reference/options/contracts/O:NOPE")).status_code == 404
        assert (await sim.get(f"/v3/reference/tickers/{found[0]['ticker']}")).status_code == 404

    play(test, assets=(AssetClass.OPTIONS,), symbols=300)


def test_conditions_and_exchanges_are_listed() -> None:
    async def test(sim: Running) -> None:
        path = "/v3/reference/conditions"
        odd = next(row for row in await rows(sim, path, asset_class="stocks") if row["id"] == 37)
        assert odd["update_rules"]["consolidated"] == {
            "updates_high_low": False,
            "updates_open_close": False,
            "updates_volume": True,
        }
        assert {row["id"] for row in await rows(sim, path, asset_class="crypto")} == {0, 1, 2}
        assert {row["asset_class"] for row in await rows(sim, path, data_type="nbbo")} == {"stocks"}
        assert all("CTA" in row["sip_mapping"] for row in await rows(sim, path, sip="CTA"))
        stocks = (await sim.get("/v3/reference/exchanges", asset_class="stocks")).json()["results"]
        assert {(row["id"], row["mic"]) for row in stocks} >= {(10, "XNYS"), (12, "XNAS")}

    play(test)


def test_dividends_are_listed_old_and_new() -> None:
    async def test(sim: Running) -> None:
        old = await rows(sim, "/v3/reference/dividends", ticker="AAPL", limit=3)
        assert len(old) >= 8
        dates = [row["ex_dividend_date"] for row in old]
        assert dates == sorted(dates, reverse=True)
        assert all(row["declaration_date"] < row["ex_dividend_date"] <= row["pay_date"] for row in old)
        assert "historical_adjustment_factor" not in old[0]
        new = await rows(sim, "/stocks/v1/dividends", sort="ex_dividend_date.desc", **{"ticker.any_of": "AAPL"})
        assert [row["id"] for row in new] == [row["id"] for row in old]
        assert all(0 < row["historical_adjustment_factor"] < 1 for row in new)
        since = await rows(sim, "/v3/reference/dividends", ticker="AAPL", **{"ex_dividend_date.gte": dates[2]})
        assert len(since) == 3

    play(test, assets=(AssetClass.STOCKS,))
