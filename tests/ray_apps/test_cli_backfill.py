"""`tapewatch backfill` as a person runs it: what it says, what it refuses, how it ends."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from features.market.types import AssetClass
from ray_apps.cli import run
from ray_apps.local.postgres import LocalPostgres
from tests.ray_apps.simulator.client import Running, running
from tests.support.http_server import ScriptedHttp, answer
from tests.support.postgres import query

pytestmark = pytest.mark.integration


class Terminal:
    """Runs commands beside a simulator and gives what they printed."""

    def __init__(self, sim: Running, capsys: pytest.CaptureFixture[str]) -> None:
        self._sim, self._capsys = sim, capsys

    async def __call__(self, *args: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, ["backfill", *args])
        out, err = self._capsys.readouterr()
        return code, out, err

    async def record(self, *args: str) -> dict[str, Any]:
        code, out, _ = await self(*args, "--json")
        return {"code": code, **json.loads(out)}


@pytest.fixture
def play(dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills, call_budgets")
    for name in ("MASSIVE_API_KEY", "REDIS_URL", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", dsn)

    def hold(test: Any, key: str = "sim-advanced", **how: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), running(**how) as sim:
                monkeypatch.setenv("POLYGON_API_KEY", key)
                monkeypatch.setenv("POLYGON_REST_URL", sim.rest)
                await test(Terminal(sim, capsys))

        asyncio.run(main())

    return hold


def test_a_first_run_a_second_one_and_what_they_say(play: Any, dsn: str) -> None:
    async def test(tapewatch: Terminal) -> None:
        asked = ("--asset", "crypto", "--symbols", "BTC-USD,crypto:ETH-USD,NOPE-USD", "--from", "3h")
        code, out, err = await tapewatch(*asked, "--dry-run")
        assert (code, err) == (0, "")
        assert out.startswith(
            "3 symbols from 2026-09-15 12:00 UTC to 2026-09-15 15:00 UTC: at most 540 bars in 8 calls, 2 of them to "
            "see what there is, at most about 0:00:00"
        )
        assert out.endswith("\nplan: real-time, no limit of calls\n")
        assert query(dsn, "SELECT count(*) FROM bars") == [(0,)]
        code, out, err = await tapewatch(*asked)
        assert (code, err) == (1, "error: NOPE-USD: expected a symbol the vendor lists, was unknown\n")
        rows = {line.split()[0]: line.split() for line in out.splitlines()}
        assert rows["BTC-USD"][1:4] == ["180", "0", "0"]
        assert rows["BTC-USD"][4:8] == ["2026-09-15", "12:00", "2026-09-15", "14:59"]
        assert " ".join(rows["NOPE-USD"]) == "NOPE-USD 0 0 0 - - unknown"
        assert "3 symbols: 360 bars new, 0 revised, 0 the same; 6 calls" in out
        assert query(dsn, "SELECT symbol FROM series ORDER BY symbol") == [("BTC-USD",), ("ETH-USD",)]
        again = await tapewatch.record("--asset", "crypto", "--from", "3h")  # those stored before
        assert sorted((s["symbol"], s["new"], s["same"]) for s in again["symbols"]) == [
            ("BTC-USD", 0, 20), ("ETH-USD", 0, 20),
        ]  # fmt: skip
        assert (again["code"], again["unknown"]) == (0, [])
        mistaken = await tapewatch.record("--asset", "crypto", "--symbols", "NOPE-USD", "--from", "3h")
        assert (mistaken["code"], mistaken["unknown"]) == (1, ["NOPE-USD"])  # though its span was answered for

    play(test)


def test_what_changed_at_the_vendor_is_revised_when_asked_for_again(play: Any, dsn: str) -> None:
    async def test(tapewatch: Terminal) -> None:
        asked = ("--asset", "crypto", "--symbols", "BTC-USD,ETH-USD", "--from", "3h")
        assert (await tapewatch.record(*asked))["new"] == 360
        query(dsn, "UPDATE bars SET close = low WHERE ts < '2026-09-15 12:05Z' AND close > low")  # as it was said then
        assert (await tapewatch.record(*asked))["revised"] == 0
        told = await tapewatch.record(*asked, "--again", "--dry-run")
        assert (told["bars"], told["calls"]) == (360, 4)
        code, out, _ = await tapewatch(*asked, "--again")
        assert code == 0
        assert "2 symbols: 0 bars new, 10 revised, 350 the same; 4 calls" in out
        assert out.endswith("10 bars had changed at the vendor since stored\n")
        assert query(dsn, "SELECT count(*) FROM bar_revisions") == [(10,)]
        assert (await tapewatch.record(*asked, "--again"))["revised"] == 0

    play(test)


def test_all_symbols_and_all_that_is_kept(play: Any, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(tapewatch: Terminal) -> None:
        monkeypatch.setenv("TAPEWATCH_RETENTION_DAYS", "2")
        monkeypatch.setenv("TAPEWATCH_UNIVERSE__SYMBOLS__CRYPTO", "BTC-USD")
        code, out, err = await tapewatch("--asset", "crypto", "--all", "--bar", "1h")
        assert (code, err) == (0, "from 2026-09-14 00:00 UTC: the store keeps 2 days (retention_days)\n")
        assert "4 symbols: 156 bars new" in out
        code, out, err = await tapewatch("--asset", "crypto", "--symbols", "BTC-USD", "--to", "3d")
        assert (code, out) == (2, "")
        assert err.startswith(
            "error: --to: expected after 2026-09-14 00:00 UTC, the oldest the store keeps, was 2026-09"
        )
        one = await tapewatch.record("--asset", "crypto", "--bar", "1d")  # the configured one; today is not over
        assert [(s["symbol"], s["new"], s["from"]) for s in one["symbols"]] == [("BTC-USD", 1, "2026-09-14 00:00 UTC")]

    play(test, symbols=4)


CRYPTO = "--symbols: expected a symbol of crypto such as BTC-USD, was 'BTCUSD'"
FOREX = "--symbols: expected a symbol of forex such as EUR/USD, was 'EURUSD'"
MISTAKES = [
    (("--asset", "bonds"), 2, "--asset: expected one of stocks, crypto, forex, indices, options, futures"),
    (("--asset", "crypto", "--symbols", "BTCUSD"), 2, CRYPTO),
    (("--asset", "forex", "--symbols", "EURUSD"), 2, FOREX),
    (("--asset", "crypto", "--symbols", ","), 2, "--symbols: expected names"),
    (("--asset", "crypto", "--symbols", "BTC-USD", "--all"), 2, "--symbols: expected no names beside --all"),
    (("--asset", "crypto"), 2, "--symbols: expected names, or --all"),
    (("--asset", "crypto", "--symbols", "A-B", "--from", "x"), 2, "--from: expected an instant"),
    (("--asset", "crypto", "--symbols", "A-B", "--from", "31d"), 2, "--from: expected 2026-08-17 00:00 UTC or later"),
    (("--asset", "crypto", "--symbols", "A-B", "--to", "2026-09-15T15:01"), 2, "--to: expected no later than now"),
    (("--asset", "crypto", "--symbols", "A-B", "--from", "1h", "--to", "2h"), 2, "--from: expected before --to, "),
    (("--asset", "options", "--all"), 1, "expected symbols of options by name, was all"),
]


def test_a_mistake_is_one_line(play: Any) -> None:
    async def test(tapewatch: Terminal) -> None:
        for args, code, said in MISTAKES:
            got, out, err = await tapewatch(*args)
            lines = [line for line in err.splitlines() if not line.startswith("from ")]
            assert (got, out, len(lines)) == (code, "", 1), err
            assert lines[0].startswith("error: ")
            assert said in lines[0]

    play(test)


def test_a_key_that_is_refused_and_a_plan_that_ends_with_yesterday(play: Any) -> None:
    async def refused(tapewatch: Terminal) -> None:
        code, out, err = await tapewatch("--asset", "crypto", "--symbols", "BTC-USD", "--from", "1h")
        assert (code, out) == (1, "")
        assert err == "error: expected a key the vendor accepts, was refused: 401 Unknown API Key\n"

    play(refused, key="hunter22")

    async def basic(tapewatch: Terminal) -> None:
        found = await tapewatch.record("--asset", "crypto", "--symbols", "BTC-USD", "--from", "2026-09-14T22:00")
        assert (found["code"], found["bars"], found["to"]) == (0, 120, "2026-09-15 00:00 UTC")
        told = await tapewatch.record("--asset", "stocks", "--symbols", "AAPL", "--from", "7d", "--dry-run")
        assert (told["calls"], told["probes"], told["plan"], told["calls_per_minute"]) == (4, 2, "end of day", 5)
        code, out, _ = await tapewatch("--asset", "stocks", "--symbols", "AAPL", "--from", "7d", "--dry-run")
        assert (code, out.splitlines()[1]) == (0, "plan: end of day, 5 calls a minute")

    play(basic, key="sim-basic", assets=(AssetClass.STOCKS, AssetClass.CRYPTO))


CLOCK = answer(b'{"serverTime":"2026-09-15T15:00:00Z"}')
BROKEN = answer(code=500, Retry_After="0")


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_vendor_that_answers_nothing_is_an_error(
    play: Any, monkeypatch: pytest.MonkeyPatch, dry_run: tuple[str, ...]
) -> None:
    async def test(tapewatch: Terminal) -> None:
        async with ScriptedHttp(lambda *_: BROKEN) as server:
            monkeypatch.setenv("POLYGON_REST_URL", server.url)
            said = f"error: expected an answer from {server.url}, was in 5 tries: 500\n"
            asked = ("--asset", "crypto", "--symbols", "BTC-USD", "--from", "1h", *dry_run)
            assert await tapewatch(*asked) == (1, "", said)

    play(test)


def test_an_estimate_counts_a_call_once_and_says_whose_plan_it_is(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(tapewatch: Terminal) -> None:
        async with ScriptedHttp(lambda path, _: CLOCK if "marketstatus" in path else BROKEN) as server:
            monkeypatch.setenv("POLYGON_REST_URL", server.url)
            asked = ("--asset", "forex", "--symbols", "EUR-USD,EUR/USD", "--from", "2026-09-14T22:00", "--dry-run")
            told = await tapewatch.record(*asked)
            assert (told["code"], told["n_symbols"], told["probes"], told["plan"]) == (0, 1, 2, "not answered")
            assert len(server.requests) == 1 + 5
            _, out, _ = await tapewatch(*asked)
            assert out.splitlines()[1].startswith("plan: as configured, for the vendor did not say, ")

    play(test)


def test_what_is_new_and_what_there_is_none_of(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = {"t": 1_789_480_800_000, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5}  # 14:00

    def said(path: str, _: int) -> bytes:
        if "marketstatus" in path:
            return CLOCK
        is_first = "BTC" in path and f"/{bar['t']}/" in path
        return answer(json.dumps({"status": "OK", "results": [bar] if is_first else []}).encode())

    async def test(tapewatch: Terminal) -> None:
        async with ScriptedHttp(said) as server:
            monkeypatch.setenv("POLYGON_REST_URL", server.url)
            asked = ("--asset", "crypto", "--symbols", "BTC-USD", "--from", "1h")
            _, out, _ = await tapewatch(*asked)
            assert out.splitlines()[0].split()[-1] == "remark"
            assert "1 symbol: 1 bar new, 0 revised, 0 the same" in out
            code, out, err = await tapewatch(*asked)
            assert (code, err) == (0, "")
            assert " ".join(out.splitlines()[1].split()) == "BTC-USD 0 0 0 - - nothing new"
            _, out, _ = await tapewatch(*asked, "--again", "--to", "2026-09-15T14:30")
            assert " ".join(out.splitlines()[1].split()) == "BTC-USD 0 0 1 2026-09-15 14:00 2026-09-15 14:00"

    play(test)


def test_symbols_that_fail_are_listed_and_the_others_stored(
    play: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = {"t": 1_789_484_340_000, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5}

    def said(path: str, _: int) -> bytes:
        if "marketstatus" in path:
            return CLOCK
        if "ETH" in path:
            return answer(b'{"message":"Ticker not found."}', 404)
        return answer(json.dumps({"status": "OK", "results": [bar, {**bar, "h": 1.5}]}).encode())

    async def test(tapewatch: Terminal) -> None:
        async with ScriptedHttp(said) as server:
            monkeypatch.setenv("POLYGON_REST_URL", server.url)
            code, out, err = await tapewatch("--asset", "crypto", "--symbols", "BTC-USD,ETH-USD", "--from", "1h")
        assert code == 1
        rows = [" ".join(line.split()) for line in out.splitlines()]
        assert "ETH-USD 0 0 0 - - failed" in rows[1]
        assert rows[2].startswith("BTC-USD 1 0 0 2026-09-15 14:59")
        assert rows[2].endswith("1 high_below_low")
        assert err.splitlines() == [
            "error: ETH-USD: expected a call the vendor takes, was refused: 404 Ticker not found.",
            "error: 1 of 2 symbols not complete: run it again",
        ]
        assert query(dsn, "SELECT count(*) FROM bars") == [(1,)]

    play(test)


def test_the_database_of_a_running_system_is_used(play: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(tapewatch: Terminal) -> None:
        monkeypatch.delenv("DATABASE_URL")
        with LocalPostgres(tmp_path / "mine") as server:
            asked = ("--asset", "crypto", "--symbols", "BTC-USD", "--from", "1h", "--data-dir", str(tmp_path / "mine"))
            assert (await tapewatch.record(*asked))["bars"] == 60
            assert query(server.dsn, "SELECT count(*) FROM bars") == [(60,)]
        again = await tapewatch.record(*asked)  # now it starts the server itself
        assert (again["bars"], again["symbols"][0]["same"]) == (20, 20)

    play(test)
