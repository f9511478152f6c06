"""Every query of every panel against a real Prometheus and database, after ten minutes of a simulated market."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.process import free_port
from ray_apps.sinks.house import keep_house
from tests.grafana.board_files import DASHBOARDS, load, panels, rules
from tests.support import prometheus as server
from tests.support.dashboards import Substitution
from tests.support.eventually import eventually_sync
from tests.support.grafana_server import TOKEN, FakeGrafana, grafana_server
from tests.support.prometheus import Prometheus, prometheus
from tests.support.running import up

pytestmark = [
    pytest.mark.integration,
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not server.is_there(), reason="no prometheus here (Debian: apt-get install prometheus)"),
]
START_S = 240.0
MINUTES = 10
MARKET = "stocks"
ARGS = ("--symbols", "60", "--speed", "20", "--http-port")
SHOWN = f"""
sum(tapewatch_burst_seconds_count) >= {2 * MINUTES} and sum(increase(tapewatch_burst_seconds_count[1m])) > 0
and sum(tapewatch_shadow_p_value_count) > 0 and sum(tapewatch_episodes_total) > 0
and sum(tapewatch_sink_delivered_total{{sink="grafana"}}) > 0
and count(count_over_time(tapewatch_lag_seconds[40s]) > 35) > 0
"""
"""Ten minutes of both classes; the models score, an episode was told, and Prometheus has 35 scrapes."""
RAY = "Ray exports its metrics on a cluster only"
MAY_BE_EMPTY = {
    "Shocks": "the whole market moves together once a month; see test_rare_panels.py",
    "Members of shocks": "as above",
    "Retracted": "needs a correction by the vendor of a bar that was called; see test_rare_panels.py",
    "Given up": "no sink fails here; see test_rare_panels.py",
    "Holes": "the feed is not cut here; see test_rare_panels.py",
    "CPU of Ray's nodes": RAY,
    "Memory of Ray's nodes": RAY,
    "Requests that wait in Serve": RAY,
}


@dataclass
class Scene:
    """What ran for ten minutes of the tape: its Prometheus, its database, the spans of both."""

    prometheus: Prometheus
    conn: psycopg.Connection[tuple[Any, ...]]
    grafana: FakeGrafana
    wall: tuple[float, float]
    tape: tuple[float, float]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql.encode()).fetchall()

    def labels(self, query: str, chosen: Mapping[str, list[str] | str]) -> list[str]:
        """Give the values of `label_values(selector, label)`."""
        selector, label = query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        span = {"start": str(self.wall[0]), "end": str(self.wall[1])}
        asked = {"match[]": Substitution(chosen, *self.wall).promql(selector), **span}
        found: list[str] = self.prometheus.get(f"label/{label}/values", **asked)
        return found

    def chosen(self, board: dict[str, Any]) -> dict[str, list[str] | str]:
        """Choose the market that had its anomaly, else as Grafana does: the first of a query's values, or all."""
        chosen: dict[str, list[str] | str] = {}
        for v in board["templating"]["list"]:
            if v["type"] in ("textbox", "custom"):
                chosen[v["name"]] = [v["current"]["value"]]
            elif v["type"] == "query" and v["query"].startswith("label_values("):
                assert self.labels(v["query"], chosen), f"{board['uid']}: no value of {v['name']}"
                chosen[v["name"]] = v["allValue"]
            elif v["type"] == "query" and v["datasource"]["type"] == "prometheus":
                expr = Substitution(chosen, *self.wall).promql(v["query"].removeprefix("query_result"))
                chosen[v["name"]] = [str(self.prometheus.get("query", query=expr, time=str(self.wall[1]))["result"][1])]
            elif v["type"] == "query":
                values = [str(r[0]) for r in self.rows(Substitution(chosen, *self.tape).sql(v["query"]))]
                assert values, f"{board['uid']}: no value of {v['name']}"
                is_all = v["multi"] and v["includeAll"]
                chosen[v["name"]] = values if is_all else [MARKET] if v["name"] == "market" else values[:1]
        return chosen


def span_of(conn: psycopg.Connection[tuple[Any, ...]]) -> tuple[float, float]:
    """Give what a person would look at: the tape's newest three hours, in Unix seconds."""
    ((newest,),) = conn.execute("SELECT extract(epoch FROM max(ts))::float8 FROM bars").fetchall()
    return newest - 3 * 3_600, newest + 120


def configured(data_dir: Path, grafana: FakeGrafana) -> Path:
    """Give a data folder whose config file names a Grafana."""
    data_dir.mkdir()
    told = {"sinks": {"grafana": {"url": grafana.url, "token": TOKEN, "gateway": "http://gateway.example"}}}
    (data_dir / "tapewatch.yaml").write_text(yaml.safe_dump(told))
    return data_dir


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("boards")
    port = free_port()
    with grafana_server() as grafana, up(configured(folder / "data", grafana), *ARGS, str(port)) as system:
        system.wait_for("scorer +up", START_S)
        with prometheus(folder / "prometheus", f"127.0.0.1:{port}") as watching:
            eventually_sync(lambda: watching.get("query", query=SHOWN)["result"], START_S)
            now = time.time()
            assert system.stop() == 0
            with LocalPostgres(folder / "data") as database, psycopg.connect(database.dsn, autocommit=True) as conn:
                asyncio.run(keep_house(database.dsn, 30))  # rolls the newest bars up: it is done once a minute
                yield Scene(watching, conn, grafana, (now - 60, now), span_of(conn))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_no_query_is_wrong_and_no_panel_is_empty(scene: Scene, path: Path) -> None:
    board = load(path)
    chosen = scene.chosen(board)
    on_tape, on_wall = Substitution(chosen, *scene.tape), Substitution(chosen, *scene.wall)
    empty, wrong = [], []
    for panel in panels(board):
        n = 0
        for target in panel["targets"]:
            try:
                if "rawSql" in target:
                    n += len(scene.rows(on_tape.sql(target["rawSql"])))
                else:
                    expr = on_wall.promql(target["expr"])
                    n += len(scene.prometheus.values(expr, *scene.wall, instant=target["instant"]))
            except (AssertionError, psycopg.Error) as e:
                wrong.append(f"{panel['title']}: {e}")
        if not n and panel["title"] not in MAY_BE_EMPTY:
            empty.append(panel["title"])
    assert not wrong
    assert not empty


def test_the_tapes_rows_are_there_at_every_resolution(scene: Scene) -> None:
    board = load(next(p for p in DASHBOARDS if p.stem == "tape"))
    chosen = scene.chosen(board)
    price = next(p for p in panels(board) if p["title"].startswith("Price"))["targets"][0]["rawSql"]
    for table in ("bars", "bars_5m", "bars_1h"):
        span = (scene.tape[0] - 86_400, scene.tape[1])
        assert scene.rows(Substitution({**chosen, "bars": [table]}, *span).sql(price)), table


def test_each_episode_that_was_told_is_one_annotation(scene: Scene) -> None:
    told = {str(r[0]) for r in scene.rows("SELECT id FROM episodes WHERE notified_at IS NOT NULL")}
    notes = list(scene.grafana.annotations.values())
    assert told
    assert sorted(tag for n in notes for tag in n["tags"] if tag.startswith("tapewatch-episode:")) == sorted(
        f"tapewatch-episode:{episode}" for episode in told
    )
    for note in notes:
        assert "http://gateway.example/v1/anomalies" in note["text"]


def test_prometheus_takes_every_rule_and_finds_values(scene: Scene) -> None:
    groups = scene.prometheus.get("rules")["groups"]
    found = {rule["name"]: rule for g in groups for rule in g["rules"]}
    told = [*rules("alerts.yaml"), *rules("recording.yaml")]
    assert set(found) == {r.get("alert") or r["record"] for r in told}
    for rule in found.values():
        assert rule["health"] != "err", rule
        scene.prometheus.get("query", query=rule["query"])
    for name in ("class:bars_received:rate5m", "class:burst_seconds:p99_10m", "class:budget_spent:ratio"):
        assert scene.prometheus.values(name, *scene.wall, instant=False), name


def test_a_panel_that_may_be_empty_is_one_of_a_board() -> None:
    titles = {p["title"] for path in DASHBOARDS for p in panels(load(path))}
    assert set(MAY_BE_EMPTY) <= titles
