"""A recording replayed gives what was called live, bit for bit: on a day on which everything goes wrong."""

import asyncio
import csv
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from features.decisions.config import DetectionConfig, DetectorRule
from features.market.types import F64, NS_PER_S, AssetClass
from ray_apps.cli import run
from ray_apps.ingest.journal import RecordingPlan
from ray_apps.ingest.plan import WarmPlan
from ray_apps.metrics import MetricSet
from ray_apps.scoring.scorer import Scored, Served
from ray_apps.scoring.shadow import Shadow
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.server import simulator
from ray_apps.store import recording
from ray_apps.store.migrate import migrate
from tests.support.eventually import eventually
from tests.support.live import live, plans
from tests.support.postgres import query
from training.lines import AnomalyLine
from training.recording import RecordingSummary, replay_recording

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300)]
START = 1_789_741_910 * NS_PER_S  # 2026-09-18 10:31:50 New York
MINUTE = 60 * NS_PER_S
MINUTES = 40
FAULTS = Faults(
    correction_fraction=0.2, duplicate_fraction=0.1, out_of_order_fraction=0.05, late_fraction=0.1, late_s=90.0,
    drop_every_s=4.0, field_drift=True, garbage_fraction=0.05,
)  # fmt: skip
CONFIG = SimulatorConfig(
    0, 0, symbols=40, assets=(AssetClass.STOCKS,), speed=240, start_ns=START, per_day=300, hold=True, faults=FAULTS
)
WARM = WarmPlan(CONFIG.symbols, CONFIG.seed, CONFIG.per_day, 2, START)
LOUD = DetectionConfig(budget=2.0)  # noise enough to see many
LOUDER = DetectionConfig(budget=4.0, rules={"price_move": DetectorRule(share=0.2)})


MODEL = Served("forest.stocks.60s", AssetClass.STOCKS, 60, "first")


async def swapped(model: str, x: F64) -> Scored:
    """Score nothing: the first version, then one answer too late, then another version."""
    n_calls = next(CALLS)
    if n_calls % 10 == 5:
        await asyncio.sleep(1.0)
    none = np.full(len(x), np.nan)
    return Scored("first" if n_calls < 5 else "second", none, none, 0.0)


CALLS = count()


def watch(dsn: str, folder: Path, plan: RecordingPlan, n_shards: int) -> None:
    """Watch `MINUTES` of a bad day with other settings from the middle on."""

    async def run() -> None:
        async with simulator(CONFIG) as where:
            feed, shards = plans(AssetClass.STOCKS, str(where["ws"]), dsn, folder, warm=WARM, n_shards=n_shards,
                                 recording=plan, detection=LOUD)  # fmt: skip
            shadow = Shadow([MODEL], swapped, MetricSet("shadow", "1"), lambda *_: None, timeout_s=0.05)
            async with live(feed, shards, shadow) as running:

                def closed(minutes: int) -> bool:
                    watch = running.service.watch
                    is_there = watch is not None and watch.stream.minute.closed_to >= START + minutes * MINUTE
                    return is_there or running.task.done()

                await eventually(lambda: closed(MINUTES // 2), 120)
                await running.service.configure(LOUDER)
                await eventually(lambda: closed(MINUTES), 120)
                assert not running.task.done(), running.task.exception()

    asyncio.run(run())


def replayed(folder: Path) -> tuple[dict[str, AnomalyLine], RecordingSummary]:
    found: dict[str, AnomalyLine] = {}
    (summary,) = replay_recording(folder, None, lambda line: found.__setitem__(line.id, line))
    return found, summary


def stored(dsn: str) -> dict[str, tuple[object, ...]]:
    rows = query(dsn, "SELECT id, kind, score, p_value, rate, severity, state FROM anomalies")
    return {str(r[0]): r[1:] for r in rows}


def told(line: AnomalyLine) -> tuple[object, ...]:
    """Give a line as the database has it: NULL for NaN."""
    p_value, rate = (None if v != v else v for v in (line.p_value, line.rate))
    return line.kind, line.score, p_value, rate, line.severity, line.state


@pytest.mark.parametrize(("n_shards", "segment_mib"), [(1, 256), (3, 0)])
def test_a_bad_day_replayed_gives_the_same_ids_scores_and_states(
    blank_dsn: str, tmp_path: Path, capsys, n_shards: int, segment_mib: int
) -> None:
    migrate(blank_dsn)
    plan = RecordingPlan(tmp_path / "tape", segment_mib)
    watch(blank_dsn, tmp_path, plan, n_shards)
    found, summary = replayed(plan.folder)
    assert {i: told(line) for i, line in found.items()} == stored(blank_dsn)
    assert len(found) > 25
    assert {"amended", "confirmed"} <= {line.state for line in found.values()}
    assert summary.holes["reconnect"] >= 2
    assert summary.windows >= MINUTES - 5
    assert summary.segments == 1 if segment_mib else summary.segments >= 2
    assert not summary.notes
    assert summary.shadow[f"{MODEL.name} timeout"] >= 1
    assert summary.shadow[f"{MODEL.name} scored"] >= 10
    assert_the_command_tells(found, summary, plan.folder, tmp_path, capsys)


def assert_the_command_tells(
    found: dict[str, AnomalyLine], summary: RecordingSummary, folder: Path, tmp_path: Path, capsys
) -> None:
    """Say that `tapewatch replay RECORDING` writes the same anomalies and tells what was recorded."""
    out = tmp_path / "found.csv"
    assert run(["replay", str(folder), "--out", str(out), "--json", "--speed-report"]) == 0
    printed, warned = capsys.readouterr()
    told = json.loads(printed)
    (one,) = told["recordings"]
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {r["id"]: (r["kind"], float(r["score"]), r["state"]) for r in rows} == {
        i: (line.kind, line.score, line.state) for i, line in found.items()
    }
    assert (one["segments"], one["frames"], one["windows"]) == (summary.segments, summary.frames, summary.windows)
    assert one["holes"]["reconnect"] == summary.holes["reconnect"]
    assert one["holes_filled"] == summary.holes["filled"]
    assert one["shadow"] == dict(summary.shadow)
    assert one["models"] == summary.models
    assert one["first_ts"] <= min(line.ts for line in found.values())
    assert one["last_ts"] >= max(line.available_ts for line in found.values())
    assert sum(one["anomalies_by_state"].values()) == one["anomalies"] == len(found)
    assert told["bars_per_s"] > 0
    assert warned == ""
    last = recording.segments(folder)[-1]
    last.write_bytes(last.read_bytes()[:-3])
    assert run(["replay", str(folder), "--asset", "stocks"]) == 0
    printed, warned = capsys.readouterr()
    assert warned.startswith(f"warning: stocks: {last.name}: dropped a torn tail after ")
    assert len(warned.splitlines()) == 1
    assert f"{summary.segments:,} segment" in printed
    assert f"{summary.holes['reconnect']} reconnect" in printed
