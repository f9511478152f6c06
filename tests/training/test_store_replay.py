"""Replay of the database: what is stored gives what the Engine gives, holes, some symbols, other settings, mistakes."""

import asyncio
import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.block import BarBlock, columns_of, rows_of
from features.decisions.anomalies import anomaly_id
from features.decisions.config import DetectionConfig, DetectorRule
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, Hole
from features.stages.context import Contexts
from ray_apps.store import recovery
from ray_apps.store.connect import connect
from ray_apps.store.feeds import GapRow
from ray_apps.store.writer import ShardWriter
from tests.support.builders import Run, Scene, block, engine, gather, with_bars
from tests.support.postgres import query
from tests.support.store import anomaly
from tests.support.stored import put, put_hole
from training.difference import GONE
from training.lines import AnomalyLine
from training.reel import StorePlan, StoreSummary
from training.stored import compare_store, replay_store

pytestmark = pytest.mark.integration
MINUTE = 60 * NS_PER_S
DAY = 86_400 * NS_PER_S
STOCKS = Scene(AssetClass.STOCKS, n_symbols=8, n_windows=350, bursts=12, shocks=3)
SECONDS = Scene(AssetClass.CRYPTO, 5, n_symbols=6, n_windows=130, missing=0.3)
NAMES = [f"S{i}" for i in range(8)]
LATER = 4_000_000_000 * NS_PER_S
TABLES = "series, bars, bar_revisions, anomalies, episodes, applied, leases, gaps, contexts"


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, f"TRUNCATE {TABLES}")


def start_of(b: BarBlock, t: int) -> int:
    return int(b.ts[t].max())


def parts(b: BarBlock, at: int) -> tuple[BarBlock, BarBlock]:
    return rows_of(b, slice(0, at)), rows_of(b, slice(at, None))


def folded(scene: Scene, b: BarBlock, at: int, config: DetectionConfig | None = None) -> Run:
    """Fold rows before `at` as history and call those after it."""
    made = engine(scene, config=config)
    first, second = parts(b, at)
    made.warm(first)
    return gather(made.fold(second))


def ids_of(found: Run, made: Engine) -> list[str]:
    a = found.anomalies
    return [anomaly_id(made.table[int(s)], int(t)) for s, t in zip(a.slot, a.ts, strict=True)]


def plan_of(scene: Scene, b: BarBlock, at: int, **changes: object) -> StorePlan:
    plan = StorePlan(scene.asset_class, scene.bar_s, LATER, start_of(b, at), detection=scene.detection)
    return replace(plan, **changes)  # type: ignore[arg-type]


def replayed(dsn: str, plan: StorePlan) -> tuple[list[AnomalyLine], StoreSummary]:
    lines: list[AnomalyLine] = []
    return lines, asyncio.run(replay_store(dsn, plan, lines.append))


def assert_lines(lines: list[AnomalyLine], found: Run, scene: Scene) -> None:
    a = found.anomalies
    assert len(a) > 3
    assert [x.id for x in lines] == ids_of(found, engine(scene))
    assert [x.episode_id for x in lines] == found.episode_ids
    np.testing.assert_array_equal([(x.score, x.p_value, x.rate) for x in lines],
                                  np.stack([a.score, a.p_value, a.rate], axis=1))  # fmt: skip


# what comes out


@pytest.mark.parametrize(("scene", "at"), [(STOCKS, 210), (SECONDS, 80 * 12)], ids=["stocks-60", "crypto-5"])
def test_what_is_stored_gives_what_the_engine_gives(dsn: str, scene: Scene, at: int) -> None:
    b = block(scene)
    put(dsn, b, scene.asset_class, NAMES[: scene.n_symbols])
    lines, summary = replayed(dsn, plan_of(scene, b, at))
    expected = folded(scene, b, at)
    assert_lines(lines, expected, scene)
    first, second = parts(b, at)
    assert (summary.warm_bars, summary.bars) == (np.isfinite(first.close).sum(), np.isfinite(second.close).sum())
    assert summary.own_episodes + summary.market_episodes == len(expected.episodes)
    assert summary.symbol_days == sum(
        np.isfinite(second.close[day]).any(axis=0).sum() for day in days_of(second, scene)
    )
    assert summary.from_ts == start_of(b, at) // 10**6
    assert {x.state for x in lines if x.available_ts <= summary.to_ts - 900_000} == {"confirmed"}


def days_of(b: BarBlock, scene: Scene) -> list[np.ndarray]:
    days = (b.ts.max(axis=1) - (5 * 3_600 * NS_PER_S if scene.asset_class.has_sessions else 0)) // DAY
    return [days == d for d in np.unique(days)]


@pytest.mark.parametrize("rows", [1, 300, 200_000])
def test_the_size_of_blocks_changes_nothing(dsn: str, rows: int) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)

    async def read() -> list[BarBlock]:
        conn = await connect(dsn, "test")
        try:
            slots = np.arange(8, dtype=np.int32)
            return [x async for x in recovery.blocks_since(conn, STOCKS.asset_class, slots, 60, 0, None, rows)]
        finally:
            await conn.close()

    blocks = asyncio.run(read())
    sizes = [int(np.isfinite(x.close).sum()) for x in blocks]
    assert sum(sizes) == np.isfinite(b.close).sum()
    assert max(sizes) <= max(8, recovery.MOST_BLOCKS * rows)
    made = engine(STOCKS)
    small = gather(decided for x in blocks for decided in made.fold(x))
    assert ids_of(small, made) == ids_of(gather(engine(STOCKS).fold(b)), made)


def test_the_span_is_as_asked(dsn: str) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    to = start_of(b, 300)
    whole, _ = replayed(dsn, plan_of(STOCKS, b, 140))
    lines, summary = replayed(dsn, plan_of(STOCKS, b, 140, to_ns=to + 20 * NS_PER_S))
    last = to + MINUTE  # a window is judged whole
    assert [x.id for x in lines] == [x.id for x in whole if x.available_ts * 10**6 <= last]
    assert summary.to_ts * 10**6 == last
    short, few = replayed(dsn, plan_of(STOCKS, b, 140, warm_days=1.0))
    assert few.warm_bars < summary.warm_bars
    assert {x.id for x in short} != {x.id for x in whole}


def test_the_values_are_the_newest_and_bars_never_folded_count(dsn: str) -> None:
    b = block(STOCKS)
    late = with_bars(b, (200, 2), close=float(b.close[199, 1]) * 1.2)
    put(dsn, late, STOCKS.asset_class, NAMES)
    put(dsn, b, STOCKS.asset_class, NAMES, in_state=False)
    lines, _ = replayed(dsn, plan_of(STOCKS, b, 140))
    assert_lines(lines, folded(STOCKS, b, 140), STOCKS)


def test_activity_may_be_said(dsn: str) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    trades, volume = (
        {(x.id, x.score) for x in replayed(dsn, plan_of(STOCKS, b, 140, activity=name))[0]}
        for name in ("trades", "volume")
    )
    assert trades == {(x.id, x.score) for x in replayed(dsn, plan_of(STOCKS, b, 140))[0]}
    assert trades != volume


def test_holes_that_were_not_filled_are_told_before_the_bars_after_them(dsn: str) -> None:
    scene = replace(STOCKS, bursts=0, shocks=0, missing=0.0)
    b = block(scene)
    for column in (b.open, b.high, b.low, b.close):
        column[250:] *= 1.04  # the market moved while nobody saw
    gone = np.r_[0:245, 250:350]
    seen = rows_of(b, np.isin(np.arange(350), gone))
    put(dsn, seen, scene.asset_class, NAMES)
    hole = GapRow("stocks", start_of(b, 245), start_of(b, 250), "reconnect")
    put_hole(dsn, replace(hole, is_filled=True))
    put_hole(dsn, replace(hole, from_ts=hole.from_ts + 1000, bar_s=1))
    put_hole(dsn, replace(hole, asset_class="crypto"))
    blind, summary = replayed(dsn, plan_of(scene, b, 140))
    assert (summary.holes, any(x.kind == "market_shock" for x in blind)) == (0, True)
    put_hole(dsn, replace(hole, reason="restart"))
    lines, summary = replayed(dsn, plan_of(scene, b, 140))
    assert (summary.holes, any(x.kind == "market_shock" for x in lines)) == (1, False)
    made = engine(scene)
    made.warm(rows_of(seen, slice(0, 140)))
    found = list(made.fold(rows_of(seen, slice(140, 245))))
    made.miss(Hole("restart", hole.from_ts, hole.to_ts))
    found += list(made.fold(rows_of(seen, slice(245, None))))
    assert [x.id for x in lines] == ids_of(gather(found), made)


# some symbols


def contexts_of(scene: Scene, b: BarBlock) -> Contexts:
    kept = gather(engine(scene).fold(b)).contexts
    assert kept is not None
    return kept


def test_some_symbols_are_what_they_are_within_the_whole(dsn: str) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES, contexts_of(STOCKS, b))
    whole, _ = replayed(dsn, plan_of(STOCKS, b, 140))
    lines, summary = replayed(dsn, plan_of(STOCKS, b, 140, symbols=("S5", "S2")))
    mine = [x for x in whole if x.symbol in ("S2", "S5")]
    assert {x.kind for x in mine} >= {"market_shock"}
    assert len({x.kind for x in mine}) > 1
    assert [repr(x._replace(episode_id="")) for x in lines] == [repr(x._replace(episode_id="")) for x in mine]
    assert (summary.series, summary.windows_unknown) == (2, 0)


def test_windows_of_which_nothing_was_kept_are_counted(dsn: str) -> None:
    b = block(STOCKS)
    kept = contexts_of(STOCKS, b)
    put(dsn, b, STOCKS.asset_class, NAMES, kept.take(slice(300, None)))
    _, summary = replayed(dsn, plan_of(STOCKS, b, 140, symbols=("S1",)))
    mine = columns_of(b, b.slot == 1)
    assert summary.windows_unknown == np.isfinite(mine.close[:300]).sum()


def call(dsn: str, ts_ns: int) -> None:
    """Store an anomaly, as a live system does."""

    async def main() -> None:
        query(dsn, "INSERT INTO leases VALUES ('live', 'test', 1, 'infinity') RETURNING 1")
        writer = ShardWriter(dsn, "live")
        await writer.commit(epoch=1, seq=0, bars=[], anomalies=[anomaly(1, ts=ts_ns, available_at=ts_ns + MINUTE)])
        await writer.close()

    asyncio.run(main())


# other settings


def test_two_settings_over_the_same_bars(dsn: str) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    other = DetectionConfig(budget=0.003, rules={"price_move": DetectorRule(enabled=False)})
    now, then, comparison = asyncio.run(compare_store(dsn, plan_of(STOCKS, b, 140), other))
    one, two = folded(STOCKS, b, 140), folded(STOCKS, b, 140, other)
    assert (now.anomalies, then.anomalies) == (len(one.anomalies), len(two.anomalies))
    assert then.own_episodes + then.market_episodes == len(two.episodes)
    made = engine(STOCKS)
    gone = {d.line.id for d in comparison.differences if d.what == GONE}
    assert gone == set(ids_of(one, made)) - set(ids_of(two, made))
    assert gone


# the command


@pytest.fixture
def tapewatch(dsn, monkeypatch, tapewatch):
    """Run the command line on the test's database."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    return tapewatch


def said(ns: int) -> str:
    return datetime.fromtimestamp(ns / NS_PER_S, UTC).isoformat()


def test_the_command_writes_what_was_found(dsn: str, tapewatch, tmp_path: Path) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    lines, summary = replayed(dsn, plan_of(STOCKS, b, 140))
    out = tmp_path / "found.csv"
    code, printed, errors = tapewatch("replay", "--asset", "stocks", "--from", said(start_of(b, 140)), "--out", out,
                                      "--json", "--speed-report")  # fmt: skip
    assert (code, errors) == (0, [])
    told = json.loads(printed)
    assert (told["anomalies"], told["bars"]) == (len(lines), summary.bars)
    assert told["engine_bars_per_s"] >= told["bars_per_s"] > 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(r["id"], r["kind"], float(r["score"])) for r in rows] == [(x.id, x.kind, x.score) for x in lines]
    keys = [(int(r["available_ts"]), r["symbol"]) for r in rows]
    assert keys == sorted(keys)
    # the default is all that has enough before it: 3 of 7 calendar days
    code, printed, _ = tapewatch("replay", "--asset", "stocks", "--warm-days", "3", "--symbols", "stocks:S1, S3")
    assert code == 0
    assert "series       2 of stocks, their market as it was kept" in printed
    assert f"{said(start_of(b, 0) + 3 * DAY)[:10]}" in printed


def test_the_command_says_what_other_settings_would_call(dsn: str, tapewatch, tmp_path: Path) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    other = tmp_path / "other.yaml"
    other.write_text("budget: {episodes_per_symbol_day: 0.003}\n")
    asked = ("replay", "--asset", "stocks", "--from", said(start_of(b, 140)), "--config", other, "--diff")
    code, printed, errors = tapewatch(*asked, "--json")
    assert (code, errors) == (0, [])
    told = json.loads(printed)
    assert told["gone"]
    assert not told["added"]
    for d in told["gone"]:
        assert d["reason"] == f"rate {d['now']['rate']:.2g} is above the budget 0.003"
    assert told["then"]["anomalies"] == told["now"]["anomalies"] - len(told["gone"])
    assert told["settings"] == [
        {"key": "budget.episodes_per_symbol_day", "now": 0.03, "then": 0.003, "is_detection": True}
    ]
    code, printed, _ = tapewatch(*asked)
    assert code == 0
    assert f"gone         {len(told['gone'])}" in printed
    other.write_text("bar_lengths: [1]")
    assert tapewatch(*asked)[0] == 2


def test_a_replay_that_starts_colder_than_the_live_run_says_so(dsn: str, tapewatch, tmp_path: Path) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    other = tmp_path / "other.yaml"
    other.write_text("budget: {episodes_per_symbol_day: 0.003}\n")
    since = ("replay", "--asset", "stocks", "--from", said(start_of(b, 10)))
    assert tapewatch(*since)[2] == []  # nobody called anything of these bars
    call(dsn, start_of(b, 200))
    for args in (since, (*since, "--config", other, "--diff")):
        code, _, errors = tapewatch(*args)
        assert (code, len(errors)) == (0, 1)
        assert errors[0].startswith("warning: 7.0 of the 7 days of history are not stored: a live run that began warm")
    assert tapewatch(*since, "--warm-days", "0.001")[2] == []  # all that was asked for is there
    assert tapewatch("replay", "--asset", "stocks", "--from", said(start_of(b, 140)))[2] == []  # two days are


def test_a_store_younger_than_the_history_is_judged_whole(dsn: str, tapewatch) -> None:
    b = block(STOCKS)
    put(dsn, b, STOCKS.asset_class, NAMES)
    code, printed, errors = tapewatch("replay", "--asset", "stocks", "--json")
    assert (code, len(errors)) == (0, 1)
    assert errors[0].startswith("warning: 7.0 of the 7 days of history are not stored: ")
    told = json.loads(printed)
    assert (told["from_ts"], told["warm_bars"]) == (start_of(b, 0) // 10**6, 0)
    assert told["bars"] == np.isfinite(b.close).sum()
    asked = ("replay", "--asset", "stocks", "--from", said(start_of(b, 0)), "--json")
    assert json.loads(tapewatch(*asked)[1])["anomalies"] == told["anomalies"]
    code, printed, errors = tapewatch("replay", "--asset", "stocks", "--warm-days", "1", "--to", said(start_of(b, 20)))
    assert (code, len(errors)) == (0, 1)
    assert "history      0 bars of 1 day before" in printed
    assert tapewatch("replay", "--asset", "stocks", "--warm-days", "0")[2] == []  # no history was asked for


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--from", "2100-01-01"], 2, "--from: expected an instant that has come, was 2100-01-01T00:00:00Z"),
        (["--to", "2100-01-01"], 2, "--to: expected an instant that has come"),
        (["--from", "soon"], 2, "--from: expected an instant such as"),
        (
            ["--from", "2025-03-05", "--to", "2025-03-04"],
            2,
            "expected --from before --to, was 2025-03-05T00:00:00Z and",
        ),
        (["--from", "2025-03-05", "--to", "2025-03-05"], 2, "expected --from before --to"),
        (["--from", "2025-03-08", "--to", "2025-03-09"], 1, "expected stored bars from 2025-03-08T00:00:00Z to"),
        (
            ["--to", "2025-03-01"],
            1,
            "expected stored bars before 2025-03-01T00:00:00Z, was none: they begin at 2025-03-",
        ),
        (["--symbols", "S1,NOPE"], 2, "--symbols: expected stored stocks of 60 s, was 'NOPE'"),
        (["--symbols", "S11"], 2, "was 'S11' (stored is S1"),
        (["--symbols", ","], 2, "--symbols: expected symbols such as AAPL,MSFT, was ','"),
        (["--activity", "noise"], 2, "--activity: expected trades or volume, was 'noise'"),
        (["--asset", "crypto"], 1, "expected stored crypto of 60 s (the longest of bar_lengths), was none"),
        (["--asset", "bonds"], 2, "--asset: expected one of stocks"),
        (["--warm-days", "-1"], 2, "--warm-days"),
        (["--bar", "5m"], 2, "--bar: expected none without DIR"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(dsn: str, tapewatch, tmp_path: Path, args, code, text) -> None:
    put(dsn, block(STOCKS), STOCKS.asset_class, NAMES)
    got, printed, errors = tapewatch("replay", "--asset", "stocks", "--out", tmp_path / "x.csv", *args)
    assert (got, printed, len(errors)) == (code, "", 1)
    assert text in errors[0]
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_a_database_without_our_tables_says_what_to_do(blank_dsn: str, tapewatch, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", blank_dsn)
    code, _, errors = tapewatch("replay", "--asset", "stocks")
    assert (code, len(errors)) == (1, 1)
    assert "`tapewatch db migrate` brings it" in errors[0]
