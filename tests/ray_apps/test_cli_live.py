"""The commands that talk to something: the vendor's REST, the database, a gateway."""

import asyncio
import csv
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from features.market.calendar import is_trading
from features.market.polygon import Limits
from features.market.types import AssetClass
from ray_apps.api.http import create_app
from ray_apps.cli import run
from ray_apps.ingest.events import Admission
from ray_apps.local import gateway
from ray_apps.store import anomalies as table
from ray_apps.store.calendar import sessions
from ray_apps.store.connect import connect
from ray_apps.store.feeds import FeedRow
from ray_apps.store.migrate import migrate
from tests.ray_apps.api.fakes import MINUTE, START, World, anomaly
from tests.ray_apps.api.gateway import serving
from tests.ray_apps.api.test_stream import events
from tests.ray_apps.sinks.test_house import bring
from tests.support.postgres import query

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_world(monkeypatch, tmp_path):
    for name in ("POLYGON_API_KEY", "MASSIVE_API_KEY", "DATABASE_URL", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.fixture
def tapewatch(capsys):
    def call(*args: str) -> tuple[int, str, str]:
        code = run(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def vendor(plan: dict[str, tuple[int, dict]]) -> FastAPI:
    """Answer as the vendor does: one key, one answer per ticker."""
    app = FastAPI()

    @app.middleware("http")
    async def key(request: Request, following):
        if request.headers.get("authorization") != "Bearer secret-key":
            return JSONResponse({"status": "ERROR", "error": "Unknown API Key"}, 401)
        return await following(request)

    @app.get("/v1/marketstatus/now")
    def now():
        return {"market": "open", "serverTime": "2026-09-18T16:05:07-04:00"}

    @app.get("/v2/aggs/ticker/{ticker}/range/1/minute/{since}/{until}")
    def aggs(ticker: str, until: int):
        assert until == 1789761907000, "the vendor's time, not ours"
        status, body = plan[ticker]
        return JSONResponse(body, status)

    return app


OK = (200, {"status": "OK", "resultsCount": 0})
DELAYED = (200, {"status": "DELAYED"})
TODAY = (403, {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."})


def test_check_compares_the_key_with_the_tiers(tapewatch, monkeypatch):
    monkeypatch.setenv("POLYGON_API_KEY", "secret-key")
    monkeypatch.setenv("POLYGON_TIER_STOCKS", "starter")
    monkeypatch.setenv("POLYGON_TIER_CRYPTO", "starter")
    with serving(vendor({"AAPL": DELAYED, "X:BTCUSD": OK})) as url:
        monkeypatch.setenv("POLYGON_REST_URL", url)
        code, out, err = tapewatch("check")
    assert (code, err) == (0, "")
    assert "stocks starter: delayed 15 min" in out
    assert "the vendor answers: real-time" in out
    assert "secret-key" not in out
    with serving(vendor({"AAPL": TODAY, "X:BTCUSD": OK})) as url:
        monkeypatch.setenv("POLYGON_REST_URL", url)
        code, out, err = tapewatch("check")
    assert code == 1
    assert "POLYGON_TIER_STOCKS: expected a tier that is end of day" in err


def test_check_refused_or_unreachable_is_one_line(tapewatch, monkeypatch):
    monkeypatch.setenv("POLYGON_API_KEY", "wrong-key")
    with serving(vendor({})) as url:
        monkeypatch.setenv("POLYGON_REST_URL", url)
        code, out, err = tapewatch("check")
    assert (code, out) == (1, "")
    assert "POLYGON_API_KEY: expected a key" in err
    assert "refused: 401 Unknown API Key" in err
    code, _, err = tapewatch("check")
    assert code == 1
    assert "POLYGON_REST_URL: expected an answer" in err
    assert "wrong-key" not in err
    html = FastAPI()
    html.get("/v1/marketstatus/now")(lambda: PlainTextResponse("<html>oops</html>\n" * 99, 502))
    with serving(html) as url:
        monkeypatch.setenv("POLYGON_REST_URL", url)
        code, _, err = tapewatch("check")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "was 502 <html>oops</html>" in err


@pytest.fixture(scope="module")
def filled(dsn):
    async def fill():
        conn = await connect(dsn, "test")
        rows = [anomaly(i, severity="high" if i % 2 else "low", p_value=None) for i in range(1500)]
        await conn.execute(table.STAGE.encode())
        async with conn.transaction():
            await table.put(conn, rows)
        await conn.close()

    asyncio.run(fill())
    return dsn


def test_anomalies_as_json_csv_and_table(tapewatch, filled, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", filled)
    code, out, _ = tapewatch("anomalies", "--json", "-n", "1200")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, len(rows), len({r["id"] for r in rows})) == (0, 1200, 1200)
    assert rows[0]["ts"] > rows[-1]["ts"]
    assert rows[0]["p_value"] is None
    code, out, _ = tapewatch("anomalies", "--format", "csv", "--severity", "high", "--tz", "America/New_York")
    found = list(csv.DictReader(io.StringIO(out)))
    assert {r["severity"] for r in found} == {"high"}
    assert found[0]["ts"].endswith("-05:00")
    code, out, _ = tapewatch("anomalies", "--until", "2026-01-02T14:32Z", "--since", "2026-01-02T14:31Z")
    assert code == 0
    assert len(out.splitlines()) == 2, "a heading and the one anomaly"
    assert "9.46x normal volume" in out
    assert tapewatch("anomalies", "--symbol", "NOPE")[:2] == (0, "no anomalies of that description\n")


def test_a_span_counts_back_from_the_newest_stored_bar(tapewatch, blank_dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    migrate(blank_dsn)
    bring(blank_dsn, 1)
    (newest_ns,) = query(blank_dsn, "SELECT (extract(epoch FROM max(ts)) * 1000000000)::bigint FROM bars")[0]

    async def fill():
        conn = await connect(blank_dsn, "test")
        await conn.execute(table.STAGE.encode())
        async with conn.transaction():
            await table.put(conn, [replace(anomaly(i), ts=newest_ns - i * 3600 * 10**9) for i in range(3)])
        await conn.close()

    asyncio.run(fill())
    code, out, _ = tapewatch("anomalies", "--since", "90m", "--json")
    assert (code, len(out.splitlines())) == (0, 2)


def test_anomalies_of_a_database_that_is_away(tapewatch, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:hunter2@127.0.0.1:1/none")
    code, _, err = tapewatch("anomalies")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "hunter2" not in err


def test_db_migrate_and_size(tapewatch, blank_dsn, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    assert json.loads(tapewatch("db", "migrate", "--json")[1])["version"]
    code, out, _ = tapewatch("db", "size", "--json")
    assert (code, json.loads(out)["total"] > 0) == (0, True)
    assert "in the 30 days kept" in tapewatch("db", "size")[1]
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:hunter2@127.0.0.1:1/none")
    code, _, err = tapewatch("db", "migrate")
    assert (code, len(err.splitlines())) == (1, 1)


def test_tail_prints_lines_as_they_come(tapewatch):
    world = World(events=events("low", "high", "critical"))
    for event in world.events:
        event.body.update(available_at="2026-01-02T14:32:00Z", ts="2026-01-02T14:31:00Z")
    with serving(create_app(world.deps())) as url:
        code, out, _ = tapewatch("tail", "--url", url, "-n", "2", "--severity", "high")
        assert (code, len(out.splitlines())) == (0, 2)
        assert out.startswith("ANOMALY burst_up AAPL  +1.8 % on 9.46x normal volume  p=2e-6")
        code, out, _ = tapewatch("tail", "--url", url, "-n", "1", "--json")
        assert (json.loads(out)["severity"], json.loads(out)["type"]) == ("low", "anomaly")
    code, _, err = tapewatch("tail", "--url", url)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "start it with `tapewatch up`" in err


def test_tail_finds_the_gateway_of_a_data_folder(tapewatch, tmp_path):
    world = World(events=events("low"))
    world.events[0].body.update(available_at="2026-01-02T14:32:00Z", ts="2026-01-02T14:31:00Z")
    with serving(create_app(world.deps())) as url:
        gateway.write(tmp_path, url)
        code, out, _ = tapewatch("tail", "--data-dir", str(tmp_path), "-n", "1")
        assert (code, out.startswith("ANOMALY burst_up AAPL")) == (0, True)
    gateway.forget(tmp_path)
    code, _, err = tapewatch("tail", "--data-dir", str(tmp_path))
    assert code == 1
    assert err.startswith("error: http://127.0.0.1:8000/v1/stream: expected a running gateway")


def test_probe_says_where_each_feed_is_when_none_is_live(tapewatch):
    world = World(parts={"feed stocks": "expected a sign of life in 30 s, was none for 54000 s", "feed crypto": ""})
    stopped = FeedRow("stocks", "stopped", "socket.polygon.io", "advanced", newest_ts=START)
    world.reader.all_feeds = [stopped, FeedRow("crypto", "live", "127.0.0.1:1", "simulated")]
    with serving(create_app(world.deps())) as url:
        code, out, err = tapewatch("probe", "--url", url, "--timeout", "1")
        world.reader.all_feeds = []
        assert "was no feed that ever ran" in tapewatch("probe", "--url", url, "--timeout", "1")[2]
    assert (code, out, len(err.splitlines()), world.pushed) == (1, "", 1, [])
    silent = "stocks stopped, expected a sign of life in 30 s, was none for 54000 s; crypto live without a bar so far"
    assert f"expected a live feed with bars, was {silent}" in err
    today = datetime.now(UTC).date()
    days = sessions(AssetClass.STOCKS, today - timedelta(days=1), today)
    is_closed = not is_trading(AssetClass.STOCKS, days, time.time_ns())
    assert ("likely cause: outside the market hours of stocks" in err) is is_closed


def test_probe_posts_a_bar_of_the_newest_minute_until_the_feed_takes_it(tapewatch):
    busy = Admission("expected room", is_full=True)
    world = World(parts={"feed crypto": ""}, admission=busy)
    world.reader.all_feeds = [FeedRow("crypto", "live", "127.0.0.1:1", "simulated", newest_ts=START + MINUTE)]
    with serving(create_app(world.deps())) as url:
        code, _, err = tapewatch("probe", "--url", url, "--timeout", "1")
        assert (code, len(world.pushed) > 1) == (1, True)
        assert "expected the bar taken, was POST /v1/bars: 429" in err
        world.admission = Admission(now_ns=START + MINUTE, limits=Limits())
        code, _, err = tapewatch("probe", "--url", url, "--timeout", "1")
    assert code == 1
    assert "expected the bar of PROBE-USD, was /v1/symbols/PROBE-USD?asset_class=crypto: 404" in err
    assert {json.loads(body)["bars"][0]["t"] for _, body in world.pushed} == {START // 10**6}


def test_check_and_simulate_speak_to_each_other(tapewatch, monkeypatch):
    code = "from ray_apps.cli import main; main()"
    flags = ["--rest-port", "0", "--ws-port", "0", "--symbols", "5"]
    command = [sys.executable, "-c", code, "simulate", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            where = json.loads(simulator.stdout.readline())
            monkeypatch.setenv("POLYGON_REST_URL", where["rest"])
            monkeypatch.setenv("POLYGON_API_KEY", "sim-starter")
            code, out, err = tapewatch("check")
            assert (code, err) == (0, "")
            assert out.count("the vendor answers") == 2
            monkeypatch.setenv("POLYGON_TIER_STOCKS", "advanced")
            code, out, err = tapewatch("check")
            assert code == 1
            assert "POLYGON_TIER_STOCKS: expected a tier that is delayed" in err
            assert "sim-starter" not in out + err
        finally:
            simulator.send_signal(signal.SIGINT)
    assert simulator.returncode in (0, 130)


def test_dead_notifications_are_listed_and_sent_again(tapewatch, blank_dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    migrate(blank_dsn)
    assert tapewatch("outbox", "dead") == (0, "none\n", "")
    query(
        blank_dsn,
        "INSERT INTO outbox (sink, topic, key, payload, attempts, last_error, dead_at) "
        "SELECT 'webhook', 'anomaly', 'k' || i, '{}', 8, 'expected status 2xx, was 500', now() "
        "FROM generate_series(1, 3) i",
    )
    code, out, _ = tapewatch("outbox", "dead", "--sink", "webhook", "--json")
    letters = json.loads(out)
    assert (code, [x["key"] for x in letters], letters[0]["tries"]) == (0, ["k3", "k2", "k1"], 8)
    assert "8 tries: expected status 2xx, was 500" in tapewatch("outbox", "dead")[1]
    assert tapewatch("outbox", "dead", "--sink", "redis")[1] == "none\n"
    first = str(letters[0]["id"])
    assert tapewatch("outbox", "resend", "--sink", "webhook", first) == (0, "1 will be sent again\n", "")
    code, _, err = tapewatch("outbox", "resend", "--sink", "webhook", first)
    assert (code, err) == (2, "error: expected ids of dead notifications of webhook, was 1 that are not\n")
    assert json.loads(tapewatch("outbox", "resend", "--sink", "webhook", "--json")[1]) == {"resent": 2}
    assert tapewatch("outbox", "dead")[1] == "none\n"


def test_old_days_are_dropped_by_hand(tapewatch, blank_dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    migrate(blank_dsn)
    bring(blank_dsn, 3)
    monkeypatch.setenv("TAPEWATCH_RETENTION_DAYS", "1")
    assert tapewatch("db", "retention") == (0, "2 days dropped, 1 kept\n", "")
    assert json.loads(tapewatch("db", "retention", "--json")[1]) == {"dropped": []}
