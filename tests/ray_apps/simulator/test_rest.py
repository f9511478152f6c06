import asyncio
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from features.market.types import AssetClass
from tests.ray_apps.simulator.client import START, Running, instant
from tests.ray_apps.simulator.test_session import play

pytestmark = pytest.mark.integration

BOTH = (AssetClass.STOCKS, AssetClass.CRYPTO)
AAPL = "/v2/aggs/ticker/AAPL/range"


async def pages(sim: Running, path: str, **params: Any) -> list[dict[str, Any]]:
    """Follow next_url as a careful client does."""
    found, seen = [], set()
    answer = await sim.get(path, **params)
    while True:
        body = answer.json()
        found.append(body)
        if "next_url" not in body:
            return found
        assert body["next_url"] not in seen
        seen.add(body["next_url"])
        url = httpx.URL(body["next_url"])
        assert "apiKey" not in str(url)
        answer = await sim.get(url.raw_path.decode())


def test_times_beyond_all_markets_are_answered() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.get(f"{AAPL}/1/day/0001-01-01/9999-12-31")
        assert answer.status_code == 403  # no plan goes so far back
        for path in (
            f"{AAPL}/1/minute/{'9' * 15}/{'9' * 15}",
            *(f"/v2/aggs/grouped/locale/us/market/stocks/{day}" for day in ("0001-01-01", "9999-12-31")),
            f"/v3/trades/AAPL?timestamp.gte={'9' * 19}",
        ):
            answer = await sim.get(path)
            assert (answer.status_code, answer.json().get("results") or []) == (200, []), path

    play(test, assets=(AssetClass.STOCKS,))


def test_pages_give_every_bar_once_up_and_down() -> None:
    async def test(sim: Running) -> None:
        whole = (await sim.get(f"{AAPL}/1/minute/2026-09-14/2026-09-15", limit=50_000)).json()
        times = [bar["t"] for bar in whole["results"]]
        assert times == sorted(times)
        assert whole["count"] == whole["queryCount"] == whole["resultsCount"] == len(times)
        for sort in ("asc", "desc"):
            found = await pages(sim, f"{AAPL}/1/minute/2026-09-14/2026-09-15", limit=500, sort=sort)
            assert len(found) >= 3
            joined = [bar for page in found for bar in page["results"]]
            assert joined == whole["results"][:: 1 if sort == "asc" else -1]
            assert {len(page["results"]) for page in found[:-1]} == {500}

    play(test, assets=BOTH, speed=0.001)


def test_history_ends_where_the_clock_stands() -> None:
    async def test(sim: Running) -> None:
        newest = {}
        for key in ("sim-advanced", "sim-starter", "sim-basic"):
            answer = (await sim.get(f"{AAPL}/1/minute/2026-09-14/2026-09-15", key, sort="desc", limit=1)).json()
            newest[key] = answer["results"][0]["t"]
            assert answer["status"] == ("DELAYED" if key == "sim-starter" else "OK")
        now = START // 10**6
        assert newest["sim-advanced"] == now - 60_000
        assert newest["sim-starter"] == now - 16 * 60_000
        assert newest["sim-basic"] < instant("2026-09-15T04:00") // 10**6
        await sim.admin("clock", now_ms=now + 59_999)
        later = (await sim.get(f"{AAPL}/1/minute/2026-09-15/2026-09-15", sort="desc", limit=1)).json()
        assert later["results"][0]["t"] == now - 60_000

    play(test, assets=BOTH)


def test_coarser_bars_are_made_of_minutes() -> None:
    async def test(sim: Running) -> None:
        start, end = START // 10**6 - 3_600_000, START // 10**6 - 1
        minutes = (await sim.get(f"{AAPL}/1/minute/{start}/{end}")).json()["results"]
        (hour,) = (await sim.get(f"{AAPL}/1/hour/{start}/{end}")).json()["results"]
        fives = (await sim.get(f"{AAPL}/5/minute/{start}/{end}")).json()["results"]
        assert (hour["o"], hour["c"]) == (minutes[0]["o"], minutes[-1]["c"])
        assert hour["h"] == max(bar["h"] for bar in minutes)
        assert hour["v"] == sum(bar["v"] for bar in minutes)
        assert hour["n"] == sum(bar["n"] for bar in fives)
        assert [bar["t"] for bar in fives] == list(range(start, end, 300_000))
        paged = await pages(sim, f"{AAPL}/5/minute/{start}/{end}", limit=23)
        assert [bar for page in paged for bar in page["results"]] == fives
        seconds = (await sim.get(f"{AAPL}/1/second/{end - 59_999}/{end}")).json()["results"]
        assert sum(bar["v"] for bar in seconds) == minutes[-1]["v"]

    play(test, assets=BOTH)


def test_days_and_longer_begin_at_the_classes_midnight() -> None:
    async def test(sim: Running) -> None:
        days = (await sim.get(f"{AAPL}/1/day/2026-09-07/2026-09-14")).json()["results"]
        # Labor Day and the weekend have no bar.
        expected = [f"2026-09-{d:02d}T04:00" for d in (8, 9, 10, 11, 14)]
        assert [bar["t"] for bar in days] == [instant(text) // 10**6 for text in expected]
        (week,) = (await sim.get(f"{AAPL}/1/week/2026-09-07/2026-09-12")).json()["results"]
        assert week["t"] == instant("2026-09-06T04:00") // 10**6
        assert week["v"] == sum(bar["v"] for bar in days[:4])
        assert week["o"] == days[0]["o"]
        coin = (await sim.get("/v2/aggs/ticker/X:BTCUSD/range/1/day/2026-09-13/2026-09-14")).json()
        assert [bar["t"] % 86_400_000 for bar in coin["results"]] == [0, 0]
        previous = (await sim.get("/v2/aggs/ticker/AAPL/prev")).json()["results"][0]
        assert previous["t"] == instant("2026-09-14T20:00") // 10**6
        assert previous["c"] == days[-1]["c"]
        grouped = (await sim.get("/v2/aggs/grouped/locale/us/market/stocks/2026-09-14")).json()
        assert grouped["results"][0] == previous
        assert grouped["resultsCount"] == 5
        closed = (await sim.get("/v2/aggs/grouped/locale/us/market/stocks/2026-09-13")).json()
        assert closed["resultsCount"] == 0
        assert "results" not in closed
        flat = (await sim.get("/v1/open-close/AAPL/2026-09-14")).json()
        assert (flat["open"], flat["close"]) == (previous["o"], previous["c"])
        assert (await sim.get("/v1/open-close/AAPL/2026-09-13")).status_code == 404

    play(test, assets=BOTH)


def test_nothing_known_is_no_error() -> None:
    async def test(sim: Running) -> None:
        for path in ("NOPE/range/1/minute/2026-09-14/2026-09-14", "AAPL/range/1/minute/2026-09-13/2026-09-13"):
            answer = await sim.get(f"/v2/aggs/ticker/{path}")
            body = answer.json()
            assert answer.status_code == 200
            assert "results" not in body
            assert "next_url" not in body
            assert answer.headers["x-request-id"] == body["request_id"]

    play(test, assets=BOTH)


@pytest.mark.parametrize(
    ("path", "key", "code", "text"),
    [
        (f"{AAPL}/1/minute/yesterday/2026-09-14", "sim-advanced", 400, "Could not parse the time parameter: 'from'"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-32", "sim-advanced", 400, "Could not parse the time parameter: 'to'"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-13", "sim-advanced", 400, "occurs before 'from'"),
        (f"{AAPL}/1/fortnight/2026-09-14/2026-09-14", "sim-advanced", 400, "timespan"),
        (f"{AAPL}/0/minute/2026-09-14/2026-09-14", "sim-advanced", 400, "multiplier"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-14?limit=50001", "sim-advanced", 400, "limit"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-14?cursor=%25", "sim-advanced", 400, "cursor"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-14", None, 401, "API Key was not provided"),
        (f"{AAPL}/1/minute/2026-09-14/2026-09-14", "secret", 401, "Unknown API Key"),
        (f"{AAPL}/1/minute/2020-09-14/2026-09-14", "sim-starter", 403, "doesn't include this data timeframe"),
        (f"{AAPL}/1/minute/2026-09-15/2026-09-15", "sim-basic", 403, "doesn't include this data timeframe"),
        ("/v3/reference/tickers/NOPE", "sim-advanced", 404, "Ticker not found."),
    ],
)
def test_errors_are_the_vendors(path: str, key: str | None, code: int, text: str) -> None:
    async def test(sim: Running) -> None:
        answer = await sim.get(path, key)
        body = answer.json()
        assert answer.status_code == code
        assert text in body["message" if code in (403, 404) else "error"]
        assert body["request_id"]

    play(test, assets=(AssetClass.STOCKS,))


def test_an_unknown_route_is_plain_text() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.get("/v9/nothing")
        assert (answer.status_code, answer.text) == (404, "404 page not found")

    play(test)


def test_a_basic_key_gets_five_calls_a_minute_and_class() -> None:
    async def test(sim: Running) -> None:
        path = f"{AAPL}/1/minute/2026-09-14/2026-09-14?limit=1"
        codes = Counter([(await sim.get(path, "sim-basic")).status_code for _ in range(7)])
        assert codes == {200: 5, 429: 2}
        assert (await sim.get("/v2/aggs/ticker/X:BTCUSD/prev", "sim-basic")).status_code == 200
        assert (await sim.get(path, "sim-basic-2")).status_code == 200
        assert "retry-after" not in (await sim.get(path, "sim-basic")).headers
        await sim.admin("faults", retry_after_s=7)
        assert (await sim.get(path, "sim-basic")).headers["retry-after"] == "7"

    play(test, assets=BOTH)


@pytest.mark.alone
def test_a_paid_key_gets_a_hundred_calls_a_second_unless_told() -> None:
    async def test(sim: Running) -> None:
        async def codes() -> Counter[int]:
            answers = await asyncio.gather(*(sim.get("/v1/marketstatus/now") for _ in range(130)))
            return Counter(answer.status_code for answer in answers)

        # The calls may take longer than the second that is looked at.
        assert 0 < (await codes())[429] <= 30
        await sim.admin("faults", rest_calls_per_s=0)
        assert await codes() == {200: 130}
        await sim.admin("faults", rest_calls_per_s=5)
        await asyncio.sleep(1.1)
        assert (await codes())[200] >= 5
        assert (await codes())[429] > 100

    play(test)


def test_a_burst_of_errors_ends() -> None:
    async def test(sim: Running) -> None:
        for _ in range(2):
            await sim.admin("faults", rest_error=503, rest_error_burst=2)
            codes = [(await sim.get("/v1/marketstatus/now")).status_code for _ in range(4)]
            assert codes == [503, 503, 200, 200]

    play(test)


def test_calls_take_as_long_as_told() -> None:
    async def test(sim: Running) -> None:
        start = time.monotonic()
        assert (await sim.get("/v1/marketstatus/now")).status_code == 200
        assert time.monotonic() - start >= 0.3

    play(test, faults={"rest_latency_s": 0.3})


def test_a_delayed_plan_may_not_say_so() -> None:
    async def test(sim: Running) -> None:
        assert (await sim.get("/v2/aggs/ticker/AAPL/prev", "sim-starter")).json()["status"] == "OK"

    play(test, assets=(AssetClass.STOCKS,), faults={"rest_delayed_status": False})


def test_errors_come_as_told() -> None:
    async def test(sim: Running) -> None:
        path = "/v1/marketstatus/now"
        for code, body, kind in ((503, "html", "text/html"), (429, "json", "application/json"), (500, "empty", "")):
            await sim.admin("faults", rest_error=code, rest_error_body=body)
            answer = await sim.get(path)
            assert answer.status_code == code
            assert answer.headers.get("content-type", "").startswith(kind)
            assert (body == "empty") == (not answer.content)
        await sim.admin("faults", rest_error_fraction=0.5)
        assert len({(await sim.get(path)).status_code for _ in range(20)}) == 2
        await sim.admin("faults", reset=True, rest_truncate=True)
        with pytest.raises(ValueError, match=r"\w"):
            (await sim.get(path)).json()

    play(test)


def test_next_urls_go_astray_as_told() -> None:
    async def test(sim: Running) -> None:
        path = f"{AAPL}/1/minute/2026-09-14/2026-09-14?limit=3&adjusted=false"
        first = (await sim.get(path)).json()
        assert first["adjusted"] is False
        assert "adjusted" not in first["next_url"]
        url = httpx.URL(first["next_url"])
        assert (await sim.get(url.raw_path.decode())).json()["adjusted"] is True
        assert (await sim.get(url.raw_path.decode() + "&adjusted=false")).json()["adjusted"] is False
        await sim.admin("faults", next_url_foreign_host=True)
        foreign = httpx.URL((await sim.get(path)).json()["next_url"])
        assert foreign.host != url.host
        await sim.admin("faults", reset=True, next_url_cycle=True)
        cycle = (await sim.get(path)).json()["next_url"]
        assert (await sim.get(httpx.URL(cycle).raw_path.decode())).json()["next_url"] == cycle

    play(test, assets=(AssetClass.STOCKS,))
