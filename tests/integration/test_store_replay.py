"""What was watched and stored, replayed from the database, is called as it was called live."""

import asyncio
import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_S, AssetClass, SlotTable
from ray_apps.cli import run
from ray_apps.ingest import warm
from ray_apps.ingest.plan import WarmPlan
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.server import simulator
from tests.support.eventually import eventually
from tests.support.live import live, plans
from tests.support.postgres import query
from tests.support.stored import put

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
START = 1_789_741_910 * NS_PER_S  # 2026-09-18 10:31:50 New York
MINUTE = 60 * NS_PER_S
MINUTES = 40
CONFIG = SimulatorConfig(
    0, 0, symbols=30, assets=(AssetClass.STOCKS,), speed=240, start_ns=START, per_day=300, hold=True
)
# from the third day on what half-hours of the days before taught counts
PAST = WarmPlan(CONFIG.symbols, CONFIG.seed, CONFIG.per_day, 4, START)
LOUD = DetectionConfig(budget=2.0)  # noise enough to see many
Found = dict[str, tuple[str, float, float | None, str, str]]


async def watch(dsn: str, folder: Path) -> None:
    async with simulator(CONFIG) as where:
        plan, shards = plans(AssetClass.STOCKS, str(where["ws"]), dsn, folder, detection=LOUD)
        async with live(plan, shards) as running:

            def closed() -> bool:
                watch = running.service.watch
                is_there = watch is not None and watch.stream.minute.closed_to >= START + MINUTES * MINUTE
                return is_there or running.task.done()

            await eventually(closed, 120)
            assert not running.task.done(), running.task.exception()


@pytest.fixture(scope="module")
def watched(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a database with days of history and what was watched after them."""
    table = SlotTable(AssetClass.STOCKS)
    for block in warm.blocks(PAST, AssetClass.STOCKS, table):
        put(dsn, block, AssetClass.STOCKS, [s.symbol for s in table.since(0)], in_state=False)
    asyncio.run(watch(dsn, tmp_path_factory.mktemp("watched")))
    return dsn


def called(dsn: str) -> Found:
    """Give what was called up to the last minute that is surely whole: id -> kind, score, rate, symbol, episode."""
    rows = query(
        dsn,
        "SELECT id, kind, score, rate, symbol, episode_id FROM anomalies WHERE available_at <= to_timestamp(%s)",
        until() / NS_PER_S,
    )
    return {str(r[0]): (str(r[1]), float(str(r[2])), r[3], str(r[4]), str(r[5])) for r in rows}  # type: ignore[misc]


def until() -> int:
    return (START // MINUTE + MINUTES - 2) * MINUTE


def replayed(dsn: str, tmp_path: Path, monkeypatch, capsys, *args: str) -> tuple[Found, dict[str, object], list[str]]:
    monkeypatch.delenv("TAPEWATCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("TAPEWATCH_BUDGET__EPISODES_PER_SYMBOL_DAY", str(LOUD.budget))
    out = tmp_path / "found.csv"
    first, last = (
        datetime.fromtimestamp(ns // NS_PER_S, UTC).isoformat() for ns in (START // MINUTE * MINUTE, until())
    )
    code = run(["replay", "--asset", "stocks", "--from", first, "--to", last, "--out", str(out), "--json", *args])
    printed, warned = capsys.readouterr()
    assert code == 0
    rows = csv.DictReader(out.read_text().splitlines())
    found = {
        r["id"]: (r["kind"], float(r["score"]), float(r["rate"]) if r["rate"] else None, r["symbol"], r["episode_id"])
        for r in rows
    }
    return found, json.loads(printed), warned.splitlines()


def test_a_calm_day_replayed_from_the_database_is_called_as_it_was(watched, tmp_path, monkeypatch, capsys) -> None:
    found, told, warned = replayed(watched, tmp_path, monkeypatch, capsys)
    assert found == called(watched)
    assert len(found) > 20
    assert len({kind for kind, *_ in found.values()}) >= 4
    assert warned == []
    assert told["warm_bars"] == query(watched, "SELECT count(*) FROM bars WHERE NOT in_state")[0][0]


def test_some_symbols_are_called_as_they_were_within_the_whole(watched, tmp_path, monkeypatch, capsys) -> None:
    everything = called(watched)
    mine = sorted({symbol for _, _, _, symbol, _ in everything.values()})[:4]
    found, told, warned = replayed(watched, tmp_path, monkeypatch, capsys, "--symbols", ",".join(mine))
    # the past was not watched, so nothing was kept of its market: what is held against it is not known yet, nor by
    # what factor the days before changed the rates
    expected = {i: (c[1], c[3]) for i, c in everything.items() if c[3] in mine and c[0] != "correlation_break"}
    assert expected.items() <= {i: (c[1], c[3]) for i, c in found.items()}.items()
    assert len(expected) >= 3
    assert told["windows_unknown"]
    assert len(warned) == 1
