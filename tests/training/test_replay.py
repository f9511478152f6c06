"""Replay: a folder gives what the Engine gives, in bounded blocks, as the CSV says; mistakes are one line each."""

import csv
import importlib.util
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from features.decisions.anomalies import anomaly_id
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_MS, AssetClass
from tests.support.builders import Run, Scene, block, gather, table
from tests.support.folders import write
from training.lines import CONFIRM_NS, AnomalyLine
from training.replay import ReplayPlan, Summary, load, replay
from training.spool import Spool

pytestmark = pytest.mark.thorough

SHARED = Path(__file__).parents[3] / "shared"
DATA = Path(os.environ.get("TAPEWATCH_DATA", SHARED / "data"))
SCORER = SHARED / "eval" / "pump_eval.py"
NEW_YORK = ZoneInfo("America/New_York")
HEADER = "id,symbol,ts,available_ts,kind,score,p_value,rate,severity,episode_id,state"
CRYPTO = Scene(AssetClass.CRYPTO, n_windows=200)
STOCKS = Scene(AssetClass.STOCKS, n_windows=200)
FIVE_SECONDS = Scene(AssetClass.CRYPTO, 5, n_windows=70, missing=0.3)


def found_in(folder: Path, asset_class: AssetClass, bar_s: int | None = None) -> tuple[list[AnomalyLine], Summary]:
    """Replay a folder in which nothing is wrong."""
    lines: list[AnomalyLine] = []
    faults: list[str] = []
    summary = replay(ReplayPlan(folder, asset_class, bar_s=bar_s), lines.append, faults.append)
    assert faults == []
    return lines, summary


def folded(scene: Scene, blocks) -> Run:
    engine = Engine(table(scene), scene.bar_s, "trades", DetectionConfig())
    return gather(decided for b in blocks for decided in engine.fold(b))


# what comes out


@pytest.mark.parametrize("scene", [CRYPTO, STOCKS, FIVE_SECONDS], ids=lambda s: f"{s.asset_class}-{s.bar_s}")
def test_a_folder_gives_what_the_engine_gives(scene: Scene, tmp_path: Path) -> None:
    b = block(scene)
    lines, summary = found_in(write(tmp_path / "bars", b), scene.asset_class)
    expected, names = folded(scene, [b]), table(scene)
    a = expected.anomalies
    assert len(a) > 3
    assert [x.id for x in lines] == [anomaly_id(names[int(s)], int(t)) for s, t in zip(a.slot, a.ts, strict=True)]
    assert [x.episode_id for x in lines] == expected.episode_ids
    np.testing.assert_array_equal([(x.score, x.p_value, x.rate) for x in lines],
                                  np.stack([a.score, a.p_value, a.rate], axis=1))  # fmt: skip
    assert summary.own_episodes + summary.market_episodes == len(expected.episodes)
    assert (summary.activity, summary.bars) == ("trades", np.isfinite(b.close).sum())
    assert (summary.bar_s, summary.series) == (scene.bar_s, scene.n_symbols)


@pytest.mark.parametrize("scene", [CRYPTO, FIVE_SECONDS], ids=lambda s: f"{s.bar_s}s")
@pytest.mark.parametrize("cells", [1, 333, 2_000])
def test_the_size_of_blocks_changes_nothing(scene: Scene, cells: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(scene))
    with Spool() as spool:
        loaded = load(ReplayPlan(folder, scene.asset_class), spool)
        order = [s.number for s in loaded.series]
        small = list(spool.blocks(order, scene.bar_s, cells))
        (whole,) = spool.blocks(order, scene.bar_s)
    a_window = scene.window_s // scene.bar_s * scene.n_symbols
    assert max(b.close.size for b in small) <= max(cells, a_window)
    one, two = folded(scene, small), folded(scene, [whole])
    np.testing.assert_array_equal(one.anomalies.scores, two.anomalies.scores)
    assert (one.episode_ids, one.notify) == (two.episode_ids, two.notify)


def test_the_file_is_as_promised(tapewatch, tmp_path: Path) -> None:
    folder, out = write(tmp_path / "bars", block(CRYPTO)), tmp_path / "found.csv"
    code, said, errors = tapewatch("replay", folder, "--asset", "crypto", "--out", out, "--json")
    assert (code, errors) == (0, [])
    told = json.loads(said)
    assert out.read_text().splitlines()[0] == HEADER
    rows = list(csv.DictReader(out.read_text().splitlines()))
    lines, summary = found_in(folder, AssetClass.CRYPTO)
    assert (told["anomalies"], told["episodes_by_kind"]) == (len(rows), summary.episodes_by_kind)
    newest = summary.last_ts
    for row, line in zip(rows, lines, strict=True):
        assert (row["id"], row["symbol"], row["kind"]) == (line.id, line.symbol, line.kind)
        assert float(row["score"]) == line.score
        is_fault = line.kind == "data_fault"
        assert (row["p_value"], row["rate"]) == (("", "") if is_fault else (repr(line.p_value), repr(line.rate)))
        assert int(row["available_ts"]) - int(row["ts"]) == 60_000
        is_old = int(row["available_ts"]) + CONFIRM_NS // NS_PER_MS <= newest
        assert row["state"] == ("confirmed" if is_old else "provisional")
    assert {row["kind"] for row in rows} >= {"market_shock", "data_fault"}
    keys = [(int(row["available_ts"]), row["symbol"]) for row in rows]
    assert keys == sorted(keys)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["found.csv"]


def test_the_newest_quarter_of_an_hour_is_provisional(tmp_path: Path) -> None:
    b = block(CRYPTO)
    b.close[-4, 0] *= 1.5
    b.high[-4, 0] = b.close[-4, 0]
    b.volume[-4, 0] = b.trades[-4, 0] = 1e6
    for column in (b.open, b.high, b.low, b.close):
        column[-4, 0] = 50.0 if np.isnan(column[-4, 0]) else column[-4, 0]
    lines, _ = found_in(write(tmp_path / "bars", b), AssetClass.CRYPTO)
    assert {x.state for x in lines} == {"confirmed", "provisional"}
    assert next(x.state for x in lines if x.ts == int(b.ts[-4, 0]) // NS_PER_MS) == "provisional"


def test_a_config_file_sets_the_budget(tapewatch, tmp_path: Path) -> None:
    folder, config = write(tmp_path / "bars", block(CRYPTO)), tmp_path / "c.yaml"
    config.write_text("budget: {episodes_per_symbol_day: 1.0e-9}\n")
    counts = [
        json.loads(tapewatch("replay", folder, "--asset", "crypto", "--json", *more)[1])["anomalies"]
        for more in ((), ("--config", config))
    ]
    assert 0 < counts[1] < counts[0]


def test_activity_is_trades_only_where_every_file_counts_them(tapewatch, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(CRYPTO))
    assert "trade count (n in every file)" in tapewatch("replay", folder, "--asset", "crypto")[1]
    text = (folder / "S1.csv").read_text().splitlines()
    (folder / "S1.csv").write_text("\n".join(line.rpartition(",")[0] for line in text))
    assert "log volume (no n in every file)" in tapewatch("replay", folder, "--asset", "crypto")[1]


def test_windows_without_volume_are_no_trade(tmp_path: Path) -> None:
    b = block(CRYPTO)
    lines, _ = found_in(write(tmp_path / "bars", b), AssetClass.CRYPTO)
    for i, j in zip(*np.nonzero(np.isnan(b.close)), strict=True):
        for column in (b.open, b.high, b.low, b.close):
            column[i, j] = 50.0
        b.volume[i, j] = b.trades[i, j] = 0.0
    n_silent = int((b.volume == 0.0).sum())
    padded, summary = found_in(write(tmp_path / "padded", b), AssetClass.CRYPTO)
    assert (repr(padded), summary.n_silent) == (repr(lines), n_silent)
    _, indices = found_in(tmp_path / "padded", AssetClass.INDICES)
    assert indices.n_silent == 0


def test_bars_are_joined_on_demand(tapewatch, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(FIVE_SECONDS))
    code, said, _ = tapewatch("replay", folder, "--asset", "crypto", "--bar", "1m")
    assert code == 0
    assert "bar length   60 s (the files' own: 5 s)" in said
    _, summary = found_in(folder, AssetClass.CRYPTO, bar_s=60)
    assert summary.bars <= 5 * 71
    assert repr(found_in(folder, AssetClass.CRYPTO, bar_s=5)[0]) == repr(found_in(folder, AssetClass.CRYPTO)[0])


def test_the_speed_is_told_when_asked(tapewatch, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(CRYPTO))
    assert "bars/s" not in tapewatch("replay", folder, "--asset", "crypto")[1]
    assert "bars/s in the Engine" in tapewatch("replay", folder, "--asset", "crypto", "--speed-report")[1]
    told = json.loads(tapewatch("replay", folder, "--asset", "crypto", "--speed-report", "--json")[1])
    assert told["engine_bars_per_s"] >= told["bars_per_s"] > 0


# what may be wrong


def test_bad_files_are_a_line_each_and_the_good_go_on(tapewatch, tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(CRYPTO))
    good = (folder / "S1.csv").read_text().splitlines()
    (folder / "GARBAGE.csv.gz").write_bytes(b"\x00\xff not gzip")
    (folder / "NOCLOSE.csv").write_text("t,o,h,l,v\n1700000000000,1,1,1,1\n")
    (folder / "SECONDS.csv").write_text("t,o,h,l,c,v\n1700000000,1,1,1,1,1\n1700000060,1,1,1,1,1\n")
    (folder / "SILENT.csv").write_text("\n".join(["t,o,h,l,c,v", *(f"{k * 60_000 + 17 * 10**11},1,1,1,1,0"
                                                                  for k in range(3))]))  # fmt: skip
    slow = [f"{k * 300_000 + 17 * 10**11},1,1,1,1,1" for k in range(300)]
    (folder / "SLOW.csv").write_text("\n".join(["t,o,h,l,c,v", *slow]))
    (folder / "S1.csv").write_text("\n".join([*good, "x,y", "1700000000000,-1,1,1,1,1,1"]))
    code, said, errors = tapewatch("replay", folder, "--asset", "crypto")
    assert code == 1
    assert "series       5 of crypto, 5 files left out" in said
    assert [e.split(":")[1].strip() for e in errors] == [
        "GARBAGE.csv.gz", "NOCLOSE.csv", "S1.csv", "SECONDS.csv", "SILENT.csv", "SLOW.csv"
    ]  # fmt: skip
    for error, expected in zip(
        errors,
        ["expected gzip data", "was without c", "2 of ", "t in Unix milliseconds", "a bar with volume", "bars of 60 s"],
        strict=True,
    ):
        assert error.startswith("warning: ")
        assert expected in error


def test_a_thin_name_may_look_coarser_than_its_market(tmp_path: Path) -> None:
    folder = write(tmp_path / "bars", block(CRYPTO))
    first = int((folder / "S1.csv").read_text().splitlines()[1].split(",")[0])
    rows = [f"{first + k * 600_000},1,1,1,1,1,1" for k in (0, 1, 2, 4, 5, 8, 9, 12)]
    (folder / "THIN.csv").write_text("\n".join(["t,o,h,l,c,v,n", *rows]))
    _, summary = found_in(folder, AssetClass.CRYPTO)
    assert (summary.series, summary.bar_s) == (6, 60)


def test_what_is_left_out_ends_a_comparison_with_1_too(tapewatch, tmp_path: Path) -> None:
    folder, other = write(tmp_path / "bars", block(CRYPTO)), tmp_path / "c.yaml"
    asked = ("replay", folder, "--asset", "crypto", "--config", other, "--diff", "--json")
    for text in ("budget: {episodes_per_symbol_day: 0.003}\n", "http: {port: 8001}\n"):  # one changes what is called
        other.write_text(text)
        (folder / "BAD.csv").unlink(missing_ok=True)
        assert tapewatch(*asked)[0] == 0
        (folder / "BAD.csv").write_text("t,o\n1,2\n")
        code, said, errors = tapewatch(*asked)
        assert (code, len(errors)) == (1, 1)
        assert json.loads(said)["now"]["n_bad_files"] == 1


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["{empty}", "--asset", "crypto"], 1, "expected files NAME.csv.gz, NAME.csv, NAME.parquet in {empty}"),
        (["{bad}", "--asset", "crypto"], 1, "expected a good bar file in {bad}, was none"),
        (["{bars}/nope"], 2, "expected a folder of bar files or a recording at {bars}/nope, was absent"),
        (["{bars}/S1.csv"], 2, "expected a folder of bar files or a recording at {bars}/S1.csv, was a file"),
        (["{bars}", "--asset", "bonds"], 2, "--asset: expected one of stocks, crypto"),
        (["{bars}"], 2, "--asset"),
        (["{bars}", "--asset", "crypto", "--bar", "5s"], 2, "--bar: expected a multiple of the bars' own 60 s"),
        (["{bars}", "--asset", "crypto", "--bar", "90s"], 2, "--bar: expected a multiple of the bars' own 60 s"),
        (["{bars}", "--asset", "crypto", "--bar", "soon"], 2, "--bar: expected a length such as 5s"),
        (["{bars}", "--asset", "crypto", "--out", "/nope/x.csv"], 2, "--out: expected a file in a folder that exists"),
        (["{bars}", "--asset", "crypto", "--out", "{empty}"], 2, "--out: expected a file in a folder that exists"),
        (["{bars}", "--asset", "crypto", "--config", "/nope"], 2, "expected a readable config file"),
    ],
)
def test_a_mistake_is_told_last_and_nothing_is_written(tapewatch, tmp_path, args, code, said) -> None:
    places = {name: str(tmp_path / name) for name in ("bars", "empty", "bad")}
    write(tmp_path / "bars", block(CRYPTO))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "A.csv").write_text("t,o\n1,2\n")
    out = [] if "--out" in args else ["--out", tmp_path / "found.csv"]
    got, printed, errors = tapewatch("replay", *(a.format(**places) for a in args), *out)
    assert (got, printed) == (code, "")
    assert said.format(**places) in errors[-1]
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_rows_that_are_not_played_are_told_of_all_there_were(tapewatch, tmp_path) -> None:
    (tmp_path / "bars").mkdir()
    rows = [f"{1_700_000_040_000 + 60_000 * i},10,11,9,10,5" for i in range(300)]
    bad = [rows[0].replace("11", "-1"), *rows[1:50], *rows[1:51], *rows[50:]]
    (tmp_path / "bars" / "A-USD.csv").write_text("\n".join(["t,o,h,l,c,v", *bad]) + "\n")
    code, printed, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto")
    assert code == 1
    assert any("A-USD.csv: 1 of 350 rows refused (1 bad_price" in e for e in errors)
    assert any("50 of 350 rows repeat another one" in e for e in errors)
    assert "0 rows without volume, 1 bad row, 50 repeated" in printed
    (tmp_path / "bars" / "A-USD.csv").write_text("\n".join(["t,o,h,l,c,v", *rows[:50], *rows[:100]]) + "\n")
    code, printed, errors = tapewatch("replay", tmp_path / "bars", "--asset", "crypto")
    assert (code, len(errors)) == (0, 1)  # what is there once more is played
    assert "1 symbol-day\n" in printed


# real bars beside the project

real = pytest.mark.skipif(not DATA.is_dir(), reason="no real bars beside the project: set TAPEWATCH_DATA")


@real
@pytest.mark.skipif(not SCORER.is_file(), reason="no pump_eval.py beside the project")
@pytest.mark.integration
@pytest.mark.parametrize(("folder", "bar_s"), [("bars_1m", None), ("bars_1s", 5)], ids=["1m", "5s"])
def test_announced_pumps(folder: str, bar_s: int | None, tmp_path: Path) -> None:
    alerts = []
    for path in sorted((DATA / "pnd_binance" / folder).glob("*.csv.gz")):
        alone = tmp_path / path.name
        alone.mkdir()
        (alone / path.name).symlink_to(path)
        lines, summary = found_in(alone, AssetClass.CRYPTO, bar_s)
        assert summary.activity == "trades"
        alerts += [(line.symbol, line.available_ts) for line in lines]
    spec = importlib.util.spec_from_file_location("pump_eval", SCORER)
    assert spec is not None
    assert spec.loader is not None
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    columns = ["event_id", "alert_ms"]
    score, _ = scorer.score(str(DATA / "pnd_binance"), pd.DataFrame(alerts, columns=columns), boot=10)
    assert score["events"] == 24
    assert score["R"] >= 0.9
    assert score["FA_day"] <= 0.05


def shocks(folder: str) -> dict[datetime, set[str]]:
    """Give the symbols raised by each shock's episode by the start of its first window, New York time."""
    lines, summary = found_in(DATA / folder, AssetClass.STOCKS)
    raised: dict[str, list[AnomalyLine]] = {}
    for line in lines:
        if line.kind == "market_shock":
            raised.setdefault(line.episode_id, []).append(line)
    assert len(raised) == summary.market_episodes
    first = {k: min(x.available_ts for x in found) // 1000 - summary.bar_s for k, found in raised.items()}
    return {datetime.fromtimestamp(first[k], NEW_YORK): {x.symbol for x in found} for k, found in raised.items()}


@real
@pytest.mark.integration
def test_tariff_days() -> None:
    found = shocks("us_stocks_1m_2025-04_tariff")
    for day in (3, 4):
        assert len(found[datetime(2025, 4, day, 9, 30, tzinfo=NEW_YORK)]) == 16
    late = [s for at, s in found.items() if (at.day, at.hour) == (4, 10) and 51 <= at.minute <= 57]
    assert [len(symbols) for symbols in late] == [16]


@real
@pytest.mark.integration
def test_shocks_in_5_minute_bars() -> None:
    found = shocks("us_stocks_5m_2025H1")
    for at in (datetime(2025, 4, 7, 10, 10, tzinfo=NEW_YORK), datetime(2025, 4, 9, 13, 15, tzinfo=NEW_YORK)):
        assert len(found[at]) == 25


@real
@pytest.mark.integration
def test_the_depeg_of_usdc() -> None:
    lines, summary = found_in(DATA / "crypto_1m_2023-03_usdc_depeg", AssetClass.CRYPTO)
    assert summary.n_silent > 10_000
    first = {x.episode_id: x for x in reversed(lines) if (x.symbol, x.kind) == ("BTCUSDC", "correlation_break")}
    at = [datetime.fromtimestamp(x.available_ts / 1000, UTC) for x in first.values()]
    near = [t for t in at if datetime(2023, 3, 11, 4, 10, tzinfo=UTC) <= t <= datetime(2023, 3, 11, 4, 30, tzinfo=UTC)]
    assert len(near) == 1


def test_prices_that_cannot_be_true_are_called_and_learned_from_by_nothing(tmp_path: Path) -> None:
    b = block(Scene(AssetClass.CRYPTO, n_windows=200, faults=0))
    spoiled = write(tmp_path / "spoiled", b)
    path = spoiled / "S1.csv"
    header, *rows = path.read_text().splitlines()
    taken = [r.split(",") for r in (rows[100], rows[150])]
    zero = [taken[0][0], "0.0", *taken[0][2:]]
    crossed = [*taken[1][:2], taken[1][3], taken[1][2], *taken[1][4:]]
    rows[100], rows[150] = ",".join(zero), ",".join(crossed)
    path.write_text("\n".join([header, *rows]) + "\n")
    without = write(tmp_path / "without", b)
    kept = [r for i, r in enumerate(rows) if i not in (100, 150)]
    (without / "S1.csv").write_text("\n".join([header, *kept]) + "\n")
    lines: list[AnomalyLine] = []
    warnings: list[str] = []
    replay(ReplayPlan(spoiled, CRYPTO.asset_class), lines.append, warnings.append)
    faults = [x for x in lines if x.kind == "data_fault" and str(x.ts) in (taken[0][0], taken[1][0])]
    assert [(x.symbol, x.severity) for x in faults] == [("S1", "medium")] * 2
    assert len({x.episode_id for x in faults}) == 2
    assert [x for x in lines if x not in faults] == found_in(without, CRYPTO.asset_class)[0]
    assert len(warnings) == 1
