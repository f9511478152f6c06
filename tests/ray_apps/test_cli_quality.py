"""`tapewatch quality` as a person runs it: over files and over the store, its exit codes, its one line per mistake."""

import asyncio
import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.market.bars import BarColumns, aggregate
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.cli import run
from ray_apps.store.backfills import Span
from ray_apps.store.columns import Extent, bars_of, extent
from ray_apps.store.connect import connect
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import migrate
from ray_apps.store.rows import series_id
from tests.support.histories import DAY, MINUTE, edit, frame_of, joined, scaled, walk, without
from tests.support.postgres import query

DATA = Path(os.environ.get("TAPEWATCH_DATA", Path(__file__).parents[3] / "shared" / "data"))
START = int(datetime(2025, 3, 3, tzinfo=UTC).timestamp()) * NS_PER_S


@pytest.fixture
def tapewatch(capsys, monkeypatch, tmp_path):
    for name in ("DATABASE_URL", "TAPEWATCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["quality", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def coin(seed: int, n_days: int = 3) -> BarColumns:
    return walk(START + np.arange(n_days * 1_440, dtype=np.int64) * MINUTE, seed)


def write(path: Path, bars: BarColumns, *more: str) -> None:
    columns = (bars.ts // NS_PER_MS, bars.open, bars.high, bars.low, bars.close, bars.volume)
    rows = (",".join(map(str, row)) for row in zip(*(c.tolist() for c in columns), strict=True))
    path.write_text("\n".join(["t,o,h,l,c,v", *rows, *more]) + "\n")


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of three coins: one full, one with a hole, one with a wrong price and rows that are none."""
    made = tmp_path_factory.mktemp("coins")
    write(made / "A-USD.csv", coin(1))
    write(made / "B-USD.csv", without(coin(2), slice(600, 700)))
    t = START // NS_PER_MS
    write(made / "C-USD.csv", scaled(coin(3), slice(2_000, 2_001), 10.0), f"{t},1,2,3,x,5", f"{t + 60_000},0,0,0,0,0")
    return made


@pytest.fixture
def folder(coins: Path, tmp_path: Path) -> Path:
    """Give a copy of the coins that a test may change."""
    return shutil.copytree(coins, tmp_path / "bars")


def test_a_folder_is_judged_and_told_within_a_hundred_columns(tapewatch, folder: Path) -> None:
    code, out, err = tapewatch(folder, "--asset", "crypto")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == ("crypto 1m: 12,860 bars of 3 symbols, 3 trading days, 2025-03-03 00:00 to 2025-03-06 00:00 UTC")
    assert lines[lines.index("volatility") + 1].startswith("a day ")
    assert lines[-4] == "A-USD B-USD C-USD"
    assert [line.split()[k] for k, line in enumerate(lines[-3:], 1)] == ["1.00"] * 3
    assert "gap B-USD 2025-03-03 10:00 - 11:40 100 bars missing" in lines
    assert any(line.startswith("price outlier C-USD 2025-03-04 09:20 - 09:21 +90") for line in lines)
    assert "rows refused: 1 not numbers, 1 price not above zero" in lines
    assert [line.split()[0] for line in lines if line.startswith(("A-USD", "B-USD", "C-USD"))][:3] == [
        "C-USD", "B-USD", "A-USD",
    ]  # fmt: skip
    assert err.splitlines()[0].startswith("warning: C-USD.csv:")


def test_one_of_a_thing_is_said_as_one(tapewatch, tmp_path: Path) -> None:
    write(tmp_path / "A-USD.csv", coin(1, 1))
    code, out, _ = tapewatch(tmp_path / "A-USD.csv", "--asset", "crypto")
    assert code == 0
    assert out.startswith("crypto 1m: 1,440 bars of 1 symbol, 1 trading day, 2025-03-03 00:00 to ")


def test_on_a_terminal_it_is_shown_how_many_are_done(tapewatch, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    code, out, err = tapewatch(folder, "--asset", "crypto")
    assert (code, out[:9]) == (0, "crypto 1m")
    assert "3 of 3 symbols" in err


def test_a_narrow_terminal_has_every_number(tapewatch, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("ray_apps.commands.quality.WIDTH", 80)
    (folder / "A-USD.csv").rename(folder / "A20200530T1600C00150000-USD.csv")
    code, out, _ = tapewatch(folder, "--asset", "crypto")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out.split("finding")[0]


def test_json_and_page(tapewatch, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert tapewatch(folder, "--asset", "crypto", "--html", page)[0] == 0
    assert "C-USD.csv:4322: expected numbers, was " in page.read_text(encoding="utf-8")
    code, out, err = tapewatch(folder, "--asset", "crypto", "--json", "--html", page, "--symbols", "A-USD,crypto:B-USD")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert ([s["symbol"] for s in told["symbols"]], told["n_flaws"]["gap"]) == (["A-USD", "B-USD"], 1)
    assert ET.fromstring(page.read_text(encoding="utf-8")).tag == "html"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("bounds", "crossed"),
    [
        (["--max-gaps", "1", "--max-missing", "0.03", "--min-coverage", "0.9", "--max-bad-rows", "2"], []),
        (["--max-gaps", "0"], ["--max-gaps: expected at most 0 gaps and outages, was 1"]),
        (
            ["--max-missing", "0.01", "--max-outliers", "0", "--max-bad-rows", "0", "--max-findings", "1"],
            [
                "--max-missing: expected at most 1.0 % of a symbol's bars missing, was 2.3 % of B-USD",
                "--max-outliers: expected at most 0 outliers, was 1",
                "--max-bad-rows: expected at most 0 bad rows, was 2",
                "--max-findings: expected at most 1 finding, was 2",
            ],
        ),
    ],
)
def test_a_crossed_bound_is_a_line_and_exit_1(tapewatch, folder: Path, bounds: list[str], crossed: list[str]) -> None:
    code, out, err = tapewatch(folder, "--asset", "crypto", "--json", *bounds)
    assert code == (1 if crossed else 0)
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [f"error: {c}" for c in crossed]
    assert json.loads(out)["crossed"] == crossed


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["{}"], 2, "--asset: expected one of stocks, crypto"),
        (["{}", "--asset", "bonds"], 2, "--asset: expected one of stocks, crypto"),
        (["{}/none", "--asset", "crypto"], 2, "expected a folder or file of bars at"),
        (["{}/..", "--asset", "crypto"], 1, "expected files NAME.csv.gz, NAME.csv, NAME.parquet in"),
        (["{}", "--asset", "crypto", "--symbols", "NOPE,A-USD"], 2, "expected symbols among the files, was NOPE"),
        (["{}", "--asset", "crypto", "--symbols", ","], 2, "--symbols: expected names"),
        (["{}", "--asset", "crypto", "--from", "2026-01-01"], 1, "expected bars of crypto from 2026-01-01 00:00 UTC"),
        (["{}", "--asset", "crypto", "--from", "2025-03-05", "--to", "2025-03-04"], 2, "--from: expected before"),
        (["{}", "--asset", "crypto", "--from", "soon"], 2, "--from: expected an instant"),
        (["{}", "--asset", "crypto", "--bar", "5m"], 1, "expected bars of 5m, was 1m (A-USD.csv)"),
        (["{}", "--asset", "crypto", "--bar", "x"], 2, "--bar: expected a length"),
        (["{}", "--asset", "crypto", "--html", "{}/no/report.html"], 2, "--html: expected a file that can be written"),
        (["{}", "--asset", "crypto", "--html", "{}"], 2, "--html: expected a file that can be written"),
        (["{}", "--asset", "crypto", "--splits", "{}/A-USD.csv"], 2, "--splits: expected the vendor's list"),
        (["{}", "--asset", "crypto", "--max-missing", "1.5"], 2, "--max-missing"),
        (["{}", "{}/A-USD.csv", "--asset", "crypto"], 0, ""),
        (["--asset", "crypto"], 1, "expected a database in"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tapewatch, folder: Path, args: list[str], code: int, said: str) -> None:
    got, out, err = tapewatch(*(arg.format(folder) for arg in args))
    assert got == code
    if code:
        assert out == ""
        assert len([line for line in err.splitlines() if not line.startswith("warning: ")]) == 1
        assert said in err


def test_lengths_mixed_in_a_folder_are_chosen_by_name(tapewatch, folder: Path) -> None:
    write(folder / "D-USD.csv", aggregate(coin(4), 60, 300))
    code, _, err = tapewatch(folder, "--asset", "crypto")
    assert (code, err.splitlines()[-1]) == (
        2, "error: expected bars of one length, was 1m (A-USD.csv), 5m (D-USD.csv): choose one with --bar",
    )  # fmt: skip
    code, out, err = tapewatch(folder, "--asset", "crypto", "--bar", "5m", "--json")
    assert (code, [s["symbol"] for s in json.loads(out)["symbols"]]) == (0, ["D-USD"])
    assert "note: 3 files left out: bars of another length" in err


def test_lengths_mixed_in_a_file_are_found(tapewatch, tmp_path: Path) -> None:
    minutes = coin(4)
    late = aggregate(minutes.take(slice(2_880, None)), 60, 300)
    write(tmp_path / "D-USD.csv", joined(minutes.take(slice(0, 2_880)), late))
    code, out, _ = tapewatch(tmp_path / "D-USD.csv", "--asset", "crypto", "--max-findings", 0)
    assert code == 1
    assert re.search(r"longer bars +D-USD +2025-03-05 00:00 - 03-06 00:00 +288 bars of 5m", out)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tapewatch, folder: Path) -> None:
    (folder / "E-USD.csv").write_text("a,b\n1,2\n")
    code, out, err = tapewatch(folder, "--asset", "crypto", "--json")
    assert (code, json.loads(out)["n_symbols"]) == (0, 3)
    assert len(json.loads(out)["unreadable"]) == 1
    assert "warning: E-USD.csv: expected the columns" in err
    for path in folder.glob("[A-D]*"):
        path.unlink()
    code, _, err = tapewatch(folder, "--asset", "crypto")
    assert (code, err.count("\n")) == (1, 1)


def test_bars_of_the_future_are_refused_by_name(tapewatch, folder: Path) -> None:
    later = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S
    write(folder / "A-USD.csv", joined(coin(1), walk(later + np.arange(3) * MINUTE)))
    code, out, err = tapewatch(folder, "--asset", "crypto", "--symbols", "A-USD", "--json", "--max-bad-rows", 2)
    told = json.loads(out)
    assert (code, told["to"], told["n_flaws"]["gap"]) == (1, "2025-03-06T00:00:00Z", 0)
    assert told["symbols"][0]["refused"] == {"future": 3}
    assert re.search(r"A-USD\.csv: expected bars before .* UTC, was 3 from 2099-01-01 00:00 UTC on", err)


def test_a_page_that_was_there_stays_when_judging_fails(tapewatch, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "old.html"
    page.write_text("old")
    assert tapewatch(folder, "--asset", "crypto", "--from", "2026-01-01", "--html", page)[0] == 1
    assert page.read_text() == "old"
    assert list(tmp_path.glob(".*")) == []


def test_a_listed_split_is_said_to_be(tapewatch, tmp_path: Path) -> None:
    held = frame_of(AssetClass.STOCKS, 28)
    late = held.expected.ts >= held.days.start_ns[9]
    write(tmp_path / "X.csv", scaled(walk(held.expected.ts), late, 0.5, 9.0))
    told = {"results": [{"ticker": "X", "execution_date": "2025-03-14", "split_from": 1, "split_to": 2}]}
    (tmp_path / "splits.json").write_text(json.dumps(told))
    assert json.loads(tapewatch(tmp_path / "X.csv", "--asset", "stocks", "--json")[1])["n_flaws"]["split"] == 0
    code, out, _ = tapewatch(
        tmp_path / "X.csv", "--asset", "stocks", "--splits", tmp_path / "splits.json", "--max-splits", 0
    )
    assert code == 1
    assert re.search(r"2:1, volume x\S+, listed by the vendor", out)


# the store


@pytest.fixture(scope="module")
def stored(dsn: str) -> str:
    """Give a database with three coins of minutes, one of them in five minutes too, and a stock."""

    async def main() -> None:
        hole = without(coin(2), slice(600, 700))
        wanted = [("A-USD", 60, coin(1)), ("B-USD", 60, hole), ("C-USD", 60, edit(coin(3), slice(5, 9), vwap=np.nan))]
        wanted.append(("A-USD", 300, aggregate(coin(1), 60, 300)))
        writer = HistoryWriter(dsn, AssetClass.CRYPTO)
        for symbol, bar_s, bars in wanted:
            await writer.write([Stretch(symbol, bar_s, Span(START, START + 3 * DAY), bars)], START + 9 * DAY)
        await writer.close()

    asyncio.run(main())
    return dsn


@pytest.mark.integration
def test_columns_are_what_was_stored(stored: str) -> None:
    async def main() -> tuple[BarColumns, BarColumns, Extent | None, Extent | None]:
        conn = await connect(stored, "test")
        try:
            c = series_id(AssetClass.CRYPTO, 2)
            return (
                await bars_of(conn, c, 60, 0, START + 9 * DAY),
                await bars_of(conn, c, 60, START + 10 * MINUTE, START + 20 * MINUTE),
                await extent(conn, [c]),
                await extent(conn, [series_id(AssetClass.FOREX, 0)]),
            )
        finally:
            await conn.close()

    whole, part, found, nothing = asyncio.run(main())
    expected = edit(coin(3), slice(5, 9), vwap=np.nan)
    for name in ("ts", "open", "high", "low", "close", "volume", "vwap", "trades"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(expected, name))
    assert part.ts.tolist() == expected.ts[10:20].tolist()
    assert found == Extent(int(expected.ts[0]), int(expected.ts[-1]))
    assert nothing is None


@pytest.mark.integration
def test_the_store_is_judged_as_the_files_are(tapewatch, stored: str, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stored)
    asked = ("--asset", "crypto", "--symbols", "A-USD,B-USD", "--json")
    code, out, err = tapewatch(*asked, "--bar", "1m")
    assert (code, err) == (0, "")
    from_store, from_files = json.loads(out), json.loads(tapewatch(folder, *asked)[1])
    for told in (from_store, from_files):
        told["fields"] = [f for f in told["fields"] if f["name"] not in ("vwap", "trades")]
    assert from_store == from_files


@pytest.mark.integration
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--asset", "crypto"], 2, "expected bars of one length, was 1m (A-USD), 5m (A-USD): choose one with --bar"),
        (["--asset", "crypto", "--bar", "1h"], 1, "expected bars of 1h, was 1m (A-USD), 5m (A-USD)"),
        (["--asset", "crypto", "--symbols", "NOPE-USD"], 2, "expected symbols of crypto that are stored, was NOPE-USD"),
        (["--asset", "forex"], 1, "expected stored bars of forex, was none"),
        (["--asset", "crypto", "--bar", "1m", "--to", "2025-03-03"], 1, "the first to 2025-03-03 00:00 UTC, was none"),
        (["--asset", "crypto", "--bar", "1m", "--from", "2025-03-06"], 1, "2025-03-06 00:00 UTC to the last, was none"),
        (["--asset", "crypto", "--bar", "1m", "--max-gaps", "0"], 1, "--max-gaps: expected at most 0"),
        (["--asset", "crypto", "--bar", "5m", "--max-gaps", "0"], 0, ""),
    ],
)  # fmt: skip
def test_the_stores_mistakes(tapewatch, stored: str, monkeypatch, args: list[str], code: int, said: str) -> None:
    monkeypatch.setenv("DATABASE_URL", stored)
    got, _, err = tapewatch(*args)
    assert (got, err.count("\n")) == (code, 1 if code else 0)
    assert said in err


@pytest.mark.integration
def test_a_span_of_the_store(tapewatch, stored: str, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stored)
    asked = ("--asset", "crypto", "--bar", "1m", "--from", "2025-03-03T10:00", "--to", "2025-03-03T12:00", "--json")
    code, out, _ = tapewatch(*asked, "--min-coverage", "0.9")
    told = json.loads(out)
    assert code == 1
    assert (told["n_bars"], told["from"], told["to"]) == (260, "2025-03-03T10:00:00Z", "2025-03-03T12:00:00Z")


@pytest.mark.integration
def test_bars_of_the_future_in_the_store_are_refused(tapewatch, blank_dsn: str, monkeypatch) -> None:
    later = int(datetime.now(UTC).timestamp()) // 86_400 * DAY + 2 * DAY

    async def main() -> None:
        writer = HistoryWriter(blank_dsn, AssetClass.CRYPTO)
        bars = joined(coin(1), walk(later + np.arange(3) * MINUTE))
        await writer.write([Stretch("A-USD", 60, Span(START, later + DAY), bars)], later + DAY)
        await writer.close()

    migrate(blank_dsn)
    asyncio.run(main())
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    code, out, err = tapewatch("--asset", "crypto", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["to"] <= f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert json.loads(out)["symbols"][0]["refused"] == {"future": 3}
    assert json.loads(out)["n_bars"] == 3 * 1_440


@pytest.mark.integration
def test_a_database_without_tables_or_away(tapewatch, blank_dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    code, _, err = tapewatch("--asset", "crypto")
    assert (code, err) == (
        1,
        "error: expected the tables of stored bars, was none: `tapewatch db migrate` makes them\n",
    )
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:x@127.0.0.1:1/none")
    code, _, err = tapewatch("--asset", "crypto")
    assert (code, err.count("\n")) == (1, 1)
    assert query(blank_dsn, "SELECT 1") == [(1,)]


# real bars


@pytest.mark.integration
@pytest.mark.skipif(not DATA.is_dir(), reason="no real bars beside the project: set TAPEWATCH_DATA to their folder")
@pytest.mark.parametrize(
    ("name", "asset", "expected"),
    [
        ("us_stocks_1m_2025-04_tariff", "stocks", {"gap": 0, "outage": 22, "price_outlier": 2, "volume_outlier": 0}),
        ("us_stocks_1m_2024-06_firstrate", "stocks", {"gap": 0, "outage": 0, "price_outlier": 1, "volume_outlier": 0}),
        ("us_stocks_5m_2025H1", "stocks", {"gap": 2, "outage": 0, "price_outlier": 1, "volume_outlier": 0}),
        ("us_stocks_2013_lean_ticks/bars_1m", "stocks", {"gap": 1, "outage": 0, "price_outlier": 24}),
        ("crypto_1m_2023-03_usdc_depeg", "crypto", {"gap": 1, "outage": 0, "price_outlier": 6, "volume_outlier": 0}),
    ],
)
def test_real_bars_are_mostly_sound(tapewatch, name: str, asset: str, expected: dict[str, int]) -> None:
    code, out, _ = tapewatch(DATA / name, "--asset", asset, "--json", "--max-slips", 0, "--max-splits", 0)
    told = json.loads(out)
    assert code == 0
    assert {flaw: told["n_flaws"][flaw] for flaw in expected} == expected
    assert told["n_flaws"]["stale"] == told["n_bad_rows"] == 0
