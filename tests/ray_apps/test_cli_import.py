"""`tapewatch import` as a person runs it: what it says, what it asks, what it refuses, how it ends."""

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.market.polygon import Limits
from ray_apps.api.http import create_app
from ray_apps.cli import run
from ray_apps.ingest.events import Admission
from ray_apps.local.postgres import LocalPostgres
from tests.ray_apps.api.fakes import START, World
from tests.ray_apps.api.gateway import serving
from tests.support.bar_files import PLAIN_HEADER, assert_stored, plain_rows, stored, write_csv, write_flat
from tests.support.past import walk
from tests.support.postgres import query

pytestmark = pytest.mark.integration

T0 = 1_743_600_000 * 10**9  # 2025-04-02 13:20 UTC
DAY_NS = 86_400 * 10**9
TOKEN = "0123456789abcdef"
GOOD = {"symbol": "BTC-USD", "t": START // 10**6, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5}
Tapewatch = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tapewatch(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tapewatch:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills, imports")
    for name in ("POLYGON_API_KEY", "MASSIVE_API_KEY", "REDIS_URL", "TAPEWATCH_CONFIG", "TAPEWATCH_HTTP__TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("TAPEWATCH_RETENTION_DAYS", "3000")

    def call(*args: str, lines: bytes = b"") -> tuple[int, str, str]:
        (tmp_path / "stdin").write_bytes(lines)
        with (tmp_path / "stdin").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            code = run(["import", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def record(done: tuple[int, str, str]) -> dict[str, Any]:
    return {"code": done[0], **json.loads(done[1])}


def test_a_folder_a_second_time_and_a_bad_file_mended(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    a, b, c = (walk(k, T0, 300) for k in range(3))
    folder = tmp_path / "bars"
    write_flat(folder / "minute_aggs_v1/2025-04-02.csv.gz", {"A": a, "B": b})
    whole = write_csv(folder / "C.csv", PLAIN_HEADER, plain_rows(c)).read_text()
    (folder / "C.csv").write_text(whole[: len(whole) // 2])  # as a copy that was broken off leaves it
    planned = record(tapewatch(str(folder), "--asset", "stocks", "--dry-run", "--json"))
    assert [(Path(f["file"]).name, f["layout"], f["bar_s"]) for f in planned["files"]] == [
        ("C.csv", "series", 60), ("2025-04-02.csv.gz", "flat file", 60),
    ]  # fmt: skip
    code, out, err = tapewatch(str(folder), "--asset", "stocks")
    n = len(stored(dsn, "C"))
    assert code == 1
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0] == "file bar symbols new revised same from (UTC) to (UTC) remark"
    assert rows[1].startswith(f"C.csv 1m 1 {n} 0 0 2025-04-02 13:20")
    assert rows[2].startswith(f"minute_aggs_v1/2025-04-02.csv.gz 1m 2 {len(a) + len(b)} 0 0 2025-04-02 13:20")
    assert rows[3].startswith(f"2 files: {len(a) + len(b) + n} bars new, 0 revised, 0 the same; in ")
    assert err.splitlines()[0].startswith(f"error: C.csv:{n + 2}: expected ")
    assert err.splitlines()[-1] == "error: 1 of 2 files not complete: mend what is named, then run it again"
    (folder / "C.csv").write_text(whole)
    mended = record(tapewatch(str(folder), "--asset", "stocks", "--json"))
    assert (mended["code"], mended["failed"]) == (0, [])
    files = {Path(f["file"]).name: f for f in mended["files"]}
    assert (files["C.csv"]["new"], files["C.csv"]["same"]) == (len(c) - n, n)
    for name, bars in (("A", a), ("B", b), ("C", c)):
        assert_stored(dsn, name, bars, without=("vwap",) if name != "C" else ())
    code, out, err = tapewatch(str(folder), "--asset", "stocks")
    assert (code, err) == (0, "")
    assert out.count("imported before (--again reads it anew)") == 2
    assert "2 files: 0 bars new, 0 revised, 0 the same" in out
    again = record(tapewatch(str(folder), "--asset", "stocks", "--again", "--json"))
    assert again["bars"] == sum(f["same"] for f in again["files"]) == len(a) + len(b) + len(c)
    assert query(dsn, "SELECT count(*) FROM bar_revisions") == [(0,)]


def test_what_is_not_clear_is_asked_and_the_answer_taken(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    bars = walk(1, T0, 60)
    at = [(f"2025-04-02 {9 + (20 + k) // 60:02d}:{(20 + k) % 60:02d}", k) for k in range(60)]
    rows = [(text, 10, 12, 9, 11, 100 + k) for text, k in at]
    path = write_csv(tmp_path / "prices.csv", "time,open,high,low,close,volume", rows)
    for given, question in (
        ((), "error: prices.csv: which symbol of stocks is it?"),
        (("--symbol", "AAPL"), "error: prices.csv: in which time zone is '2025-04-02 09:20'?"),
    ):
        code, _, err = tapewatch(str(path), "--asset", "stocks", *given)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert err.startswith(question)
    write_csv(tmp_path / "MSFT.csv", PLAIN_HEADER, plain_rows(bars))
    code, out, err = tapewatch(str(tmp_path), "--asset", "stocks")  # what is clear comes in
    assert code == 1
    assert "asks" in out
    assert len(stored(dsn, "MSFT")) == len(bars)
    answers = ("--symbol", "AAPL", "--tz", "America/New_York")
    code, out, err = tapewatch(str(path), "--asset", "stocks", *answers, "--dry-run")
    assert (code, err) == (0, "")
    assert " ".join(out.splitlines()[1].split()).startswith("prices.csv series 1m AAPL 2025-04-02 13:20")
    assert len(stored(dsn, "AAPL")) == 0
    done = record(tapewatch(str(path), "--asset", "stocks", *answers, "--json"))
    assert (done["code"], done["bars"], done["files"][0]["from"]) == (0, 60, "2025-04-02 13:20 UTC")


def coins(folder: Path) -> list[str]:
    """Write a file each of three markets, named as the vendor's REST does; give their symbols."""
    for k, name in enumerate(("BTCUSD", "BTCUSDC", "BTCUSDT")):
        write_csv(folder / f"{name}.csv", PLAIN_HEADER, plain_rows(walk(k, T0, 60)))
    return ["BTC-USD", "BTC-USDC", "BTC-USDT"]


PAIRS = "BTCUSD=BTC-USD,BTCUSDC=BTC-USDC,BTCUSDT=BTC-USDT"


def test_one_symbol_is_not_told_of_several_files(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    names = coins(tmp_path / "bars")
    asked = (str(tmp_path / "bars"), "--asset", "crypto")
    for given, question in (
        ((), "Its name is not spelled BASE-QUOTE: --symbol BTCUSD=BTC-USD"),
        (("--symbol", "BTC-USD"), "--symbol BTC-USD: expected one file without symbols of its own, was 3: "),
    ):
        for how in ((), ("--dry-run",)):
            code, _, err = tapewatch(*asked, *given, *how)
            lines = err.splitlines()
            assert (code, len(lines)) == (2, 4)
            assert lines[0].startswith(f"error: BTCUSD.csv: which symbol of crypto is it? {question}")
            assert lines[3] == f"error: to answer all at once: --symbol {PAIRS}"
    assert query(dsn, "SELECT count(*) FROM bars") == [(0,)]
    told = record(tapewatch(*asked, "--dry-run", "--json"))
    assert ",".join(f["pair"] for f in told["files"]) == PAIRS
    told = record(tapewatch(*asked, "--symbol", PAIRS, "--dry-run", "--json"))
    assert (told["code"], [f["symbol"] for f in told["files"]]) == (0, names)
    code, _, err = tapewatch(*asked, "--symbol", PAIRS)
    assert (code, err) == (0, "")
    for k, name in enumerate(names):
        assert_stored(dsn, name, walk(k, T0, 60))
    assert "imported before" in tapewatch(*asked, "--symbol", PAIRS)[1]


def test_a_symbol_told_of_a_file_before_is_not_told_of_the_next(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    coins(folder)
    one = record(tapewatch(str(folder / "BTCUSD.csv"), "--asset", "crypto", "--symbol", "BTC-USD", "--json"))
    assert (one["code"], one["bars"]) == (0, len(walk(0, T0, 60)))
    (folder / "BTCUSDC.csv").unlink()
    code, out, err = tapewatch(str(folder), "--asset", "crypto", "--symbol", "BTC-USD")
    assert code == 2
    assert "imported before" in out
    assert err.startswith("error: BTCUSDT.csv: which symbol of crypto is it? --symbol BTC-USD: expected one file")
    assert query(dsn, "SELECT count(*) FROM bar_revisions") == [(0,)]


def test_parts_of_one_symbol_are_told_by_a_pattern(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    early, late = walk(1, T0, 60), walk(2, T0 + DAY_NS, 60)
    for name, bars in (("a/2025-04", early), ("a/2025-05", late), ("b/2025-04", walk(3, T0, 60))):
        write_csv(tmp_path / f"{name}.csv", PLAIN_HEADER, plain_rows(bars))
    flat = write_flat(tmp_path / "all.csv", {"X": walk(4, T0, 60), "Y": walk(5, T0, 60)})
    asked = (str(tmp_path), "--asset", "stocks", "--json")
    done = record(tapewatch(*asked, "--symbol", "a/*=AAPL", "--symbol", "b/*.csv=MSFT,all=Y"))
    assert done["code"] == 0
    assert query(dsn, "SELECT symbol FROM series ORDER BY symbol") == [("AAPL",), ("MSFT",), ("Y",)]
    assert len(stored(dsn, "AAPL")) == len(early) + len(late)
    assert record(tapewatch(str(flat), *asked[1:], "--symbol", "X"))["code"] == 0  # a column says, one is taken
    for pairs, said in (
        ("c=AAPL", "--symbol: expected the name of a file before =, one of a/2025-04, a/2025-05, all, ..., was 'c'"),
        ("2025*=A,a/*=B", "--symbol: expected one symbol for a/2025-04, was A and B"),
    ):
        assert record(tapewatch(*asked, "--symbol", pairs)) == {"code": 2, "error": said}


def torn_parquet(path: Path) -> None:
    write_flat(path, {"A": walk(1, T0, 300)})
    path.write_bytes(path.read_bytes()[:-50])


def torn_gz(path: Path) -> None:
    write_flat(path, {"A": walk(1, T0, 3_000)})
    path.write_bytes(path.read_bytes()[:9_000])


def mixed(path: Path) -> None:
    write_flat(path, {"A": walk(1, T0, 400, missing=0), "B": walk(2, T0, 300, bar_s=300, missing=0)})


def of_2099(path: Path) -> None:
    write_csv(path, PLAIN_HEADER, plain_rows(walk(1, 4_070_000_000 * 10**9 // (60 * 10**9) * 60 * 10**9, 50)))


def of_other_units(path: Path) -> None:
    plain = plain_rows(walk(1, T0, 50))
    write_csv(path, PLAIN_HEADER, [*plain[:20], *((t // 1000, *row) for t, *row in plain[20:])])


def of_unknown_symbols(path: Path) -> None:
    write_csv(path, "symbol," + PLAIN_HEADER, [("not a symbol", *row) for row in plain_rows(walk(1, T0, 50))])


def test_refused_rows_are_listed_in_full_for_a_program(tapewatch: Tapewatch, tmp_path: Path) -> None:
    rows = plain_rows(walk(1, T0, 3_000, missing=0))
    bad = [(t, o, h, low, -1 if 500 <= k < 1_700 else c, *rest) for k, (t, o, h, low, c, *rest) in enumerate(rows)]
    path = write_csv(tmp_path / "A.csv", PLAIN_HEADER, bad)
    told = record(tapewatch(str(path), "--asset", "stocks", "--json"))
    (file,) = told["files"]
    assert (told["code"], file["refused"], file["messages_left_out"]) == (1, {"bad_price": 1_200}, 200)
    assert len(file["messages"]) == len(set(file["messages"])) == 1_000
    assert file["messages"][-1] == "A.csv:1501: expected a positive price in c, was -1"
    code, _, err = tapewatch(str(path), "--asset", "stocks")
    assert code == 1
    assert err.splitlines()[5] == "error: A.csv: 1,195 more rows refused: --json lists them"
    assert len(err.splitlines()) == 7


BAD: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("A.csv", lambda path: path.write_text(""), 1, "A.csv: expected a line of column names, was an empty file"),
    ("A.csv", lambda path: path.write_text(PLAIN_HEADER + "\n"), 1, "A.csv: expected rows of bars, was a header alone"),
    ("A.csv.gz", lambda path: path.write_bytes(b""), 1, "A.csv.gz: expected a line of column names, was an empty file"),
    ("A.parquet", lambda path: path.write_bytes(b""), 1, "A.parquet: expected a whole Parquet file"),
    ("A.parquet", torn_parquet, 1, "A.parquet: expected a whole Parquet file, was damaged or none"),
    ("A.csv.gz", torn_gz, 1, "expected more data, was broken off or damaged"),
    ("x.csv", mixed, 2, "x.csv: which length have the bars, 60 s or 300 s? It has both: --symbol NAME takes one"),
    ("A.parquet", lambda path: path.write_text(PLAIN_HEADER), 1, "A.parquet: expected a Parquet file, was text"),
    (
        "A.csv",
        lambda path: path.write_bytes(random.Random(1).randbytes(9_000)),
        1,
        "A.csv: expected UTF-8 text, was binary data",
    ),
    ("A.csv", lambda path: path.write_text(PLAIN_HEADER, "utf-16"), 1, "A.csv: expected UTF-8 text, was UTF-16 text"),
    ("A.csv", of_2099, 1, "future); first: 2: expected a window that is over by now"),
    ("A.csv", of_other_units, 2, "A.csv: in which unit are the times?"),
    ("A.csv", of_unknown_symbols, 1, "bad_symbol); first: 2: expected a symbol of stocks, was not a symbol"),
]


@pytest.mark.parametrize(("name", "write", "code", "said"), BAD)
def test_a_bad_file_is_named_and_the_good_one_beside_it_stored(
    tapewatch: Tapewatch, dsn: str, tmp_path: Path, name: str, write: Callable[[Path], object], code: int, said: str
) -> None:
    folder = tmp_path / "bars"
    good = write_csv(folder / "GOOD.csv", PLAIN_HEADER, plain_rows(walk(1, T0, 300)))
    write(folder / name)
    alone, _, err = tapewatch(str(folder / name), "--asset", "stocks")
    assert alone == code
    lines = err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    assert any(said in line and line.startswith(f"error: {name}:") for line in lines), err
    together, _, err = tapewatch(str(folder), "--asset", "stocks")
    assert together == 1
    assert said in err
    assert_stored(dsn, "GOOD", walk(1, T0, 300))
    good.unlink()


def test_a_symbol_that_no_file_has_and_a_line_without_an_end(tapewatch: Tapewatch, dsn: str, tmp_path: Path) -> None:
    path = write_flat(tmp_path / "x.csv", {"A": walk(1, T0, 300), "B": walk(2, T0, 300)})
    code, out, err = tapewatch(str(path), "--asset", "stocks", "--symbol", "C")
    assert (code, err) == (1, "error: --symbol: expected bars of C in the files, was none\n")
    assert "no bars" in out
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = tapewatch(str(path), "--asset", "stocks", "--symbol", "B")
    assert (code, err) == (0, "")
    assert "last line without an end: is it whole?" in out
    assert_stored(dsn, "B", walk(2, T0, 300), without=("vwap",))
    assert len(stored(dsn, "A")) == 0


def test_a_wrong_unit_is_contradicted(tapewatch: Tapewatch, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "A.csv", PLAIN_HEADER, plain_rows(walk(1, T0, 50)))
    code, _, err = tapewatch(str(path), "--asset", "stocks", "--time-unit", "s")
    assert code == 1
    assert "A.csv: expected times in s as --time-unit says, was 1743600000000, by its size in ms" in err


MISTAKES = [
    (("x.csv",), 2, "expected --asset, was none"),
    (("--asset", "stocks"), 2, "expected DIR_OR_FILES, was none"),
    (("x.csv", "--asset", "bonds"), 2, "--asset: expected one of stocks, crypto"),
    (("x.csv", "--asset", "crypto", "--symbol", "BTCUSD"), 2, "--symbol: expected a symbol of crypto such as BTC-USD"),
    (("x.csv", "--asset", "crypto", "--symbol", "x=BTCUSD"), 2, "a symbol of crypto such as BTC-USD, was 'BTCUSD'"),
    (("x.csv", "--asset", "stocks", "--symbol", "A,B"), 2, "--symbol: expected one name, or FILE=NAME for each of"),
    (("x.csv", "--asset", "stocks", "--symbol", "x=A,x=B"), 2, "--symbol: expected one symbol for x, was A and B"),
    (("x.csv", "--asset", "stocks", "--bar", "1w"), 2, "--bar: expected a length such as 1s"),
    (("x.csv", "--asset", "stocks", "--tz", "Mars/Base"), 2, "--tz: expected a time zone"),
    (("x.csv", "--asset", "stocks", "--columns", "t"), 2, "--columns: expected"),
    (("x.csv", "--asset", "stocks", "--time-unit", "h"), 2, "--time-unit: expected one of ms, us, ns, s, was 'h'"),
    (("nowhere/x.csv", "--asset", "stocks"), 2, "expected a file, a folder or a pattern, was absent: nowhere/x.csv"),
    (("x.csv", "--asset", "stocks", "--url", "http://a"), 2, "--url: expected - for lines to send, was files"),
    (("-", "x.csv", "--asset", "stocks"), 2, "-: expected no files beside it"),
    (("-", "--asset", "stocks", "--url", "localhost:8000"), 2, "--url: expected an address such as"),
    (("-", "--asset", "stocks", "--tz", "UTC"), 2, "--tz: expected files to read, was -"),
    (("-", "--asset", "stocks", "--symbol", "x=A"), 2, "--symbol: expected one name for the lines of -"),
    (("-", "--asset", "stocks", "--again"), 2, "--again: expected files to read, was -"),
    (("-", "--asset", "stocks", "--bar", "1d"), 2, "--bar: expected a length of live bars"),
]


@pytest.mark.parametrize(("args", "code", "said"), MISTAKES)
def test_a_mistake_is_one_line(tapewatch: Tapewatch, args: tuple[str, ...], code: int, said: str) -> None:
    got, out, err = tapewatch(*args)
    assert (got, out, len(err.splitlines())) == (code, "", 1), err
    assert err.startswith("error: ")
    assert said in err


def lines(*rows: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows) + b"\n"


def test_lines_go_to_the_running_system(tapewatch: Tapewatch, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(admission=Admission(now_ns=START + 120 * 10**9, limits=Limits()))
    with serving(create_app(world.deps(token=TOKEN))) as url:
        to = ("-", "--asset", "crypto", "--url", f"{url}/")
        code, out, err = tapewatch(*to, lines=lines(GOOD))
        assert (code, out) == (1, "0 bars accepted, 0 refused\n")
        assert "was 401: expected the header Authorization: Bearer with http.token, was none" in err
        assert err.endswith("lines after 0 were not sent\n")
        monkeypatch.setenv("TAPEWATCH_HTTP__TOKEN", TOKEN)
        assert tapewatch(*to, lines=lines(GOOD)) == (0, "1 bar accepted, 0 refused\n", "")
        assert tapewatch(*to, lines=b"") == (0, "0 bars accepted, 0 refused\n", "")
        code, out, err = tapewatch(*to, lines=lines(GOOD, b"", b"oops", {**GOOD, "h": 1}, GOOD))
        assert (code, out) == (1, "2 bars accepted, 2 refused\n")
        assert [line.split(": ")[:2] for line in err.splitlines()] == [
            ["line 3", "malformed"], ["line 4", "high_below_low"],
        ]  # fmt: skip
        monkeypatch.setenv("TAPEWATCH_HTTP__PORT", url.rpartition(":")[2])
        told = record(tapewatch("-", "--asset", "crypto", "--json", lines=lines(GOOD, {**GOOD, "h": 1})))
        assert {k: told[k] for k in ("code", "accepted", "refused", "skipped", "last_line", "failure")} == {
            "code": 1, "accepted": 1, "refused": 1, "skipped": 0, "last_line": 2, "failure": "",
        }  # fmt: skip
        assert [(r["line"], r["reason"]) for r in told["refusals"]] == [(2, "high_below_low")]
        n = len(world.pushed)
        minute = time.time_ns() // (60 * 10**9) * 60_000
        now = [{**GOOD, "t": minute - 120_000}, {**GOOD, "t": minute + 60_000}]
        code, out, err = tapewatch("-", "--asset", "crypto", "--symbol", "BTC-USD", "--dry-run", lines=lines(*now))
        assert (code, out) == (1, "1 bar good, 1 refused, 0 of other symbols\n")
        assert err.startswith("line 2: future: ")
        assert len(world.pushed) == n


def test_without_a_running_system_lines_say_so(tapewatch: Tapewatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_HTTP__PORT", "1")
    monkeypatch.setenv("TAPEWATCH_HTTP__HOST", "::")
    code, out, err = tapewatch("-", "--asset", "crypto", lines=lines(GOOD))
    assert (code, out) == (1, "0 bars accepted, 0 refused\n")
    assert err.startswith("error: expected a running system at http://[::1]:1 (`tapewatch up`), was: ")
    monkeypatch.setenv("TAPEWATCH_HTTP__PORT", "0")
    code, _, err = tapewatch("-", "--asset", "crypto", lines=lines(GOOD))
    assert code == 2
    assert err.startswith("error: --url: expected the address that `tapewatch up` printed")
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["import", "-", "--asset", "crypto", "--dry-run"]) == 1


def test_the_database_of_the_data_folder_is_used(
    tapewatch: Tapewatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    path = write_flat(tmp_path / "x.parquet", {"A": walk(1, T0, 300)})
    n = pq.read_metadata(path).num_rows
    mine = tmp_path / "mine"
    asked = (str(path), "--asset", "stocks", "--data-dir", str(mine), "--json")
    assert record(tapewatch(*asked))["files"][0]["new"] == n  # it starts the server itself
    with LocalPostgres(mine) as server:
        assert query(server.dsn, "SELECT count(*) FROM bars") == [(n,)]
        assert record(tapewatch(*asked, "--again"))["files"][0]["same"] == n
