"""The gateway over a reader of lists: shapes, paging, limits, problems."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import AssetClass
from ray_apps.api import http as module
from ray_apps.api.http import create_app
from ray_apps.api.schemas import from_ns
from ray_apps.sinks.redis_sink import Latest
from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.feeds import FeedRow, GapRow
from ray_apps.store.reader import SymbolRow
from tests.ray_apps.api.fakes import MINUTE, START, World, anomaly, bar, episode


@pytest.fixture
def world():
    world = World()
    world.reader.known = [
        SymbolRow("stocks", "AAPL", [60, 1], START),
        SymbolRow("stocks", "BTC", [60], START),
        SymbolRow("crypto", "BTC", [60], START),
        SymbolRow("forex", "EUR/USD", [60], START),
        SymbolRow("indices", "I:SPX", [60], START),
    ]
    world.reader.all_bars = [bar(i) for i in range(5)]
    world.reader.all_anomalies = [anomaly(i) for i in range(5)]
    world.reader.all_episodes = [episode(i, closed_at=START if i % 2 else None) for i in range(4)]
    return world


def ask(world: World, path: str, method: str = "GET", **params) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(world.deps()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, params=params)

    return asyncio.run(main())


def is_problem(answer: httpx.Response, status: int, *said: str) -> bool:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"]) == (status, status)
    assert body["type"] == "about:blank"
    assert body["title"]
    assert all(part in body["detail"] for part in said), body["detail"]
    return True


def pages(world: World, path: str, **params) -> list[list[dict]]:
    found, cursor = [], {}
    while True:
        body = ask(world, path, **params, **cursor).json()
        found.append(body["items"])
        if body["next"] is None:
            return found
        cursor = {"cursor": body["next"]}


def test_health_and_readiness(world):
    assert ask(world, "/healthz").json() == {"status": "ok"}
    assert [ask(world, path, "HEAD").status_code for path in ("/healthz", "/readyz")] == [200, 200]
    world.parts = {"database": "", "redis": ""}
    assert ask(world, "/readyz").json() == {"ready": True, "parts": {"database": "", "redis": ""}}
    world.parts = {"database": "", "redis": "no answer in 2 s"}
    refused = ask(world, "/readyz")
    assert is_problem(refused, 503, "redis: no answer in 2 s")
    assert refused.json()["parts"] == world.parts


def test_readiness_answers_in_time(world, monkeypatch):
    monkeypatch.setattr(module, "READY_TIMEOUT_S", 0.01)
    world.readiness_takes_s = 30.0
    assert is_problem(ask(world, "/readyz"), 503, "gateway")


def test_metrics_are_text(world):
    answer = ask(world, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text == "tapewatch_ready 1\n"


def test_symbols_page_by_page(world):
    found = pages(world, "/v1/symbols", limit=2)
    assert [[s["symbol"] for s in page] for page in found] == [["AAPL", "BTC", "BTC"], ["EUR/USD", "I:SPX"]]
    only = ask(world, "/v1/symbols", asset_class="forex", prefix="EUR/").json()["items"]
    seen = {"asset_class": "forex", "symbol": "EUR/USD", "bar_s": [60], "first_seen": "2026-01-02T14:30:00Z"}
    assert only == [seen | {"waiting": None}]
    world.waits["EUR/USD"] = {"volatility_spike": 42}
    only = ask(world, "/v1/symbols", asset_class="forex", prefix="EUR/").json()["items"]
    assert only == [seen | {"waiting": {"volatility_spike": 42}}]


@pytest.mark.parametrize("path", ["EUR/USD", "forex:EUR/USD", "EUR%2FUSD"])
def test_a_symbol_with_a_slash(world, path):
    body = ask(world, f"/v1/symbols/{path}").json()
    assert (body["symbol"], body["asset_class"], body["source"]) == ("EUR/USD", "forex", "database")
    assert body["bar"]["ts"] == "2026-01-02T14:34:00Z"
    assert body["bar"]["vwap"] is None


def test_a_symbol_from_the_cache(world):
    newest = {"ts": START // 10**6, "open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0}
    newest |= {"volume": float("nan"), "vwap": None, "trades": 3.0}
    scores = {"burst_up": float("nan")}
    why, waits = {"gap": "gap"}, {"price_move": 3}
    world.newest["I:SPX", 60] = Latest("indices", "I:SPX", 60, newest, {"activity_z": 1.0}, scores, why, waits)
    body = ask(world, "/v1/symbols/I:SPX").json()
    assert (body["reasons"], body["waiting"]) == ({"gap": "gap"}, {"price_move": {"windows": 3, "seconds": 180}})
    assert body["bar"]["ts"] == "2026-01-02T14:30:00Z"
    assert (body["source"], body["bar"]["volume"], body["scores"]) == ("cache", None, {"burst_up": None})
    world.newest["I:SPX", 60] = Latest("indices", "I:SPX", 60, {"ts": "x"})
    assert ask(world, "/v1/symbols/I:SPX").json()["source"] == "database", "what is not ours is left out"


def test_a_symbol_of_two_classes_needs_one(world):
    assert is_problem(ask(world, "/v1/symbols/BTC"), 409, "crypto, stocks")
    assert ask(world, "/v1/symbols/BTC", asset_class="crypto").json()["asset_class"] == "crypto"
    assert ask(world, "/v1/symbols/crypto:BTC").json()["asset_class"] == "crypto"
    assert is_problem(ask(world, "/v1/symbols/crypto:BTC", asset_class="stocks"), 422, "expected crypto")
    assert is_problem(ask(world, "/v1/symbols/NOPE"), 404, "'NOPE'")


def test_bars_page_by_page(world):
    found = pages(world, "/v1/bars", symbol="AAPL", limit=2)
    assert [len(page) for page in found] == [2, 2, 1]
    times = [b["ts"] for page in found for b in page]
    assert times == sorted(times, reverse=True)
    some = ask(world, "/v1/bars", symbol="AAPL", since=times[3], until=times[0]).json()["items"]
    assert [b["ts"] for b in some] == times[1:4]
    in_ms = ask(world, "/v1/bars", symbol="AAPL", since=START // 10**6 + 60_000).json()["items"]
    assert [b["ts"] for b in in_ms] == times[:4]


def test_anomalies_page_by_page_and_filtered(world):
    found = pages(world, "/v1/anomalies", limit=2)
    assert [a["id"] for page in found for a in page] == [f"{i:032x}" for i in (4, 3, 2, 1, 0)]
    world.reader.all_anomalies.append(anomaly(9, symbol="BTC-USD", asset_class="crypto", severity="low"))
    assert len(pages(world, "/v1/anomalies", symbol="crypto:BTC-USD")[0]) == 1
    assert len(pages(world, "/v1/anomalies", min_severity="medium")[0]) == 5
    assert len(pages(world, "/v1/anomalies", kind="gap")[0]) == 0
    assert len(pages(world, "/v1/anomalies", since=from_ns(START + 3 * MINUTE).isoformat())[0]) == 3


def test_one_anomaly(world):
    body = ask(world, f"/v1/anomalies/{3:032x}").json()
    assert body["available_at"] == "2026-01-02T14:34:00Z"
    assert body["features"] == {"activity_z": 6.1}
    left = {"state": "provisional", "until": START // 10**6}
    world.reader.all_anomalies[3] = anomaly(3, state="confirmed", history=[left])
    history = ask(world, f"/v1/anomalies/{3:032x}").json()["history"]
    assert history == [{"state": "provisional", "until": "2026-01-02T14:30:00Z"}]
    assert is_problem(ask(world, f"/v1/anomalies/{77:032x}"), 404)
    assert is_problem(ask(world, "/v1/anomalies/nope"), 422, "anomaly_id")


def test_episodes(world):
    assert [e["id"] for page in pages(world, "/v1/episodes", limit=3) for e in page] == ["e3", "e2", "e1", "e0"]
    assert [e["id"] for e in ask(world, "/v1/episodes", is_open=True).json()["items"]] == ["e2", "e0"]


def test_feeds_show_their_holes(world):
    world.reader.all_feeds = [FeedRow("stocks", "subscribed", "127.0.0.1:8765", "advanced", START, START, 0.2)]
    world.reader.all_gaps = [GapRow("stocks", START, START + MINUTE, "reconnect", 0, True, 7, 4.5)]
    (feed,) = ask(world, "/v1/feeds").json()["items"]
    assert (feed["status"], feed["lag_s"], feed["updated_at"]) == ("subscribed", 0.2, None)
    (gap,) = feed["gaps"]
    assert (gap["from_ts"], gap["to_ts"]) == ("2026-01-02T14:30:00Z", "2026-01-02T14:31:00Z")
    assert (gap["reason"], gap["is_filled"], gap["n_bars"], gap["blind_s"]) == ("reconnect", True, 7, 4.5)


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("/v1/anomalies", {"limit": 1001}, "limit: expected less than or equal to 1000, was '1001'"),
        ("/v1/anomalies", {"limit": 0}, "limit"),
        ("/v1/anomalies", {"limt": 5}, "limt: expected limit, was an unknown parameter"),
        ("/v1/anomalies", {"severity": "huge"}, "severity: expected min_severity, was an unknown parameter"),
        ("/v1/anomalies", {"kind": "nope"}, "kind: expected 'volume_spike'"),
        (
            "/v1/anomalies",
            {"since": "2026-01-02T14:30:00"},
            "since: expected a time zone, as in 2026-01-02T09:30Z, was '2026-01-02T14:30:00'",
        ),
        (
            "/v1/episodes",
            {"since": "2026-01-02T14:30Z", "until": "2026-01-02T14:29Z"},
            "until: expected an instant after since (2026-01-02T14:30:00+00:00), was '2026-01-02T14:29Z'",
        ),
        ("/v1/anomalies", {"since": "9999-12-31T00:00:00Z"}, "between 1970 and 2200"),
        *(
            (
                "/v1/anomalies",
                {"since": t},
                f"since: expected ISO 8601 with a zone, or Unix ms from 1973 to 2100, was '{t}'",
            )
            for t in ("99", "1767364200", "1767364200000000", "-1", "nan", "2026")
        ),
        ("/v1/anomalies", {"cursor": "AAAA"}, "cursor: expected a cursor"),
        ("/v1/anomalies", {"cursor": "WzEsIDJd"}, "cursor"),
        ("/v1/anomalies", {"symbol": "A\x00"}, "symbol"),
        ("/v1/bars", {}, "symbol: expected a value, was none"),
        ("/v1/bars", {"symbol": "AAPL", "bar_s": 7}, "bar_s: expected one of 1, 5"),
        ("/v1/symbols/" + "A" * 49, {}, "symbol"),
        ("/v1/symbols/-", {}, "symbol: expected text that matches '^[A-Za-z0-9]"),
        ("/v1/stream", {"x": 1}, "x: expected one of asset_class, kind, min_severity, symbol, was an unknown"),
        ("/v1/symbols/AAPL", {"x": 1}, "x: expected one of asset_class, was an unknown parameter"),
        ("/v1/feeds", {"x": 1}, "x: expected no parameter, was an unknown parameter"),
        ("/healthz", {"x": 1}, "x: expected no parameter"),
    ],
)
def test_wrong_input_is_a_named_problem(world, path, params, said):
    assert is_problem(ask(world, path, **params), 422, said)


def test_problems_of_the_transport(world):
    assert is_problem(ask(world, "/nope"), 404, "/nope")
    assert is_problem(ask(world, "/v1/anomalies", "POST"), 405, "expected GET, was POST")
    assert is_problem(ask(world, "/healthz", "PUT"), 405, "expected GET or HEAD, was PUT")
    deleted = ask(world, "/v1/bars", "DELETE")
    assert is_problem(deleted, 405, "expected GET or POST, was DELETE")
    assert deleted.headers["allow"] == "GET, POST"
    world.reader.error = StoreUnavailableError("expected the database to answer, was unavailable: gone")
    away = ask(world, "/v1/anomalies")
    assert is_problem(away, 503, "unavailable: gone")
    assert away.headers["retry-after"] == "2"
    world.reader.error = RuntimeError("a secret of ours")
    bug = ask(world, "/v1/anomalies")
    assert is_problem(bug, 500)
    assert "secret" not in bug.text


def test_openapi_has_examples_and_problems(world):
    document = ask(world, "/openapi.json").json()
    assert document["components"]["schemas"]["Problem"]["properties"]["detail"]
    for path, item in document["paths"].items():
        for status in ("422", "500"):
            assert "application/problem+json" in item["get"]["responses"][status]["content"], path
    anomaly_out = document["components"]["schemas"]["AnomalyOut"]["properties"]
    assert anomaly_out["reading"]["examples"] == ["+1.8 % on 9.46x normal volume"]
    assert "HTTPValidationError" not in str(document["paths"])


NAMES = st.sampled_from(
    [
        *("symbol", "asset_class", "kind", "min_severity", "state", "bar_s", "since", "until", "limit", "cursor"),
        *("is_open", "prefix", "episode_id", "x"),
    ]
)
GOOD = ["AAPL", "stocks:AAPL", "stocks", "gap", "high", "60", "2026-01-02T14:30:00Z", "5", "NXxhYg", "true"]
VALUES = st.sampled_from(GOOD) | st.text(max_size=8) | st.integers().map(str) | st.datetimes().map(str)
PATHS = st.sampled_from(["/v1/bars", "/v1/anomalies", "/v1/episodes", "/v1/symbols", "/v1/symbols/AAPL"])


@pytest.mark.thorough
@given(PATHS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_no_query_is_a_500(path, params):
    world = World()
    world.reader.known = [SymbolRow("stocks", "AAPL", [60], START)]
    world.reader.all_bars = [bar(1)]
    world.reader.all_anomalies = [anomaly(1)]
    answer = ask(world, path, **params)
    assert answer.status_code in (200, 404, 422)
    if answer.status_code != 200:
        assert is_problem(answer, answer.status_code)


def test_each_asset_class_can_be_asked(world):
    for asset_class in AssetClass:
        assert ask(world, "/v1/symbols", asset_class=asset_class.value).status_code == 200


def test_instants_are_exact():
    assert from_ns(START + 123_456_000) == datetime(2026, 1, 2, 14, 30, 0, 123456, UTC)
