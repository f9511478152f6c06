"""The boards' JSON: the current schema, units, data sources by variable, metrics that exist, links."""

import json
import re

import pytest

from grafana.boards.__main__ import made, text_of
from ray_apps.config import BudgetConfig
from tests.grafana.board_files import DASHBOARDS, FOLDER, Query, load, panels, queries, unknown

NAMES = {"tape", "market", "detectors", "health", "alerts"}
SOURCES = {"${prometheus}": "prometheus", "${postgres}": "grafana-postgresql-datasource"}
BUILT_IN = {"$__rate_interval", "$__range", "$__interval"}
EVERY = [q for path in DASHBOARDS for q in queries(load(path), path.stem)]


def sources(value: object) -> list[object]:
    """Give every `datasource` at any depth."""
    if isinstance(value, list):
        return [s for v in value for s in sources(v)]
    if not isinstance(value, dict):
        return []
    return [v for k, v in value.items() if k == "datasource"] + [s for v in value.values() for s in sources(v)]


def test_the_five_boards_are_there_and_are_what_the_generator_writes() -> None:
    assert {p.stem for p in DASHBOARDS} == NAMES
    for name, board in made().items():
        assert (FOLDER / "dashboards" / name).read_text("utf-8") == text_of(board), "run: python -m grafana.boards"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_a_board_holds_to_the_schema(path) -> None:
    board = load(path)
    assert board["schemaVersion"] >= 39
    assert board["uid"] == f"tapewatch-{path.stem}"
    assert "id" not in board
    numbers = [p["id"] for p in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells = [cell for p in board["panels"] for cell in cells_of(p["gridPos"])]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in panels(board):
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [t["refId"] for t in panel["targets"]] == list("ABCDEFGH")[: len(panel["targets"])]


def cells_of(at: dict[str, int]) -> list[tuple[int, int]]:
    return [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_data_sources_are_two_variables(path) -> None:
    board = load(path)
    variables = {v["name"]: v for v in board["templating"]["list"]}
    for reference, plugin in SOURCES.items():
        variable = variables[reference.strip("${}")]
        assert (variable["type"], variable["query"]) == ("datasource", plugin)
    found = sources(board["panels"]) + sources(board["templating"])
    assert found
    assert {(s["uid"], s["type"]) for s in found} <= set(SOURCES.items())
    builtin = {s["uid"] for s in sources(board["annotations"])}
    assert builtin == {"-- Grafana --"}  # Grafana's own annotations, the same in every Grafana


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_every_variable_used_is_there_and_every_repeat_too(path) -> None:
    board = load(path)
    names = {v["name"] for v in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["templating"]])
    used = set(re.findall(r"\$\{(\w+)(?::\w+)?\}", text)) - {"__data", "__all_variables"}
    assert used <= names, used - names
    assert {p["repeat"] for p in board["panels"] if "repeat" in p} <= names


@pytest.mark.parametrize("query", [q for q in EVERY if q.kind != "sql"], ids=str)
def test_every_metric_and_label_is_declared(query: Query) -> None:
    assert unknown(query.text) == []


def test_a_share_has_an_axis_of_its_own() -> None:
    (panel,) = [p for p in panels(load(FOLDER / "dashboards" / "health.json")) if p["title"].startswith("Shards")]
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byRegexp", "options": "/ busy$/"}
    assert {"id": "unit", "value": "percentunit"} in override["properties"]
    assert [t["legendFormat"].endswith(" busy") for t in panel["targets"]] == [False, True]


@pytest.mark.parametrize("name", ["tape", "detectors"])
def test_the_budget_is_what_the_system_says_it_is(name: str) -> None:
    variables = load(FOLDER / "dashboards" / f"{name}.json")["templating"]["list"]
    names = [v["name"] for v in variables]
    budget = variables[names.index("budget")]
    assert budget["datasource"]["uid"] == "${prometheus}"
    assert (named := re.fullmatch(r"query_result\(scalar\((.+) or vector\((.+)\)\)\)", budget["query"]))
    assert unknown(named[1]) == []
    assert "tapewatch_budget_episodes_per_symbol_day" in named[1]
    assert float(named[2]) == BudgetConfig().episodes_per_symbol_day
    assert names.index("market") < names.index("budget")


def test_what_is_not_declared_is_found() -> None:
    assert unknown("tapewatch_bars_total") == ["tapewatch_bars_total"]
    assert unknown('tapewatch_lag_seconds{symbol="AAPL"}') == ["tapewatch_lag_seconds{symbol}"]
    assert unknown("sum by (shard) (tapewatch_series)") == ["by shard"]
    assert unknown("tapewatch_lag_seconds_bucket") == ["tapewatch_lag_seconds_bucket"]
    assert unknown('sum by (le) (rate(tapewatch_p_value_bucket{le="0.01"}[5m]))') == []


def test_anomalies_link_to_their_entry_in_the_api() -> None:
    for path in DASHBOARDS:
        board = load(path)
        for panel in panels(board):
            listed = [
                t["rawSql"] for t in panel["targets"] if re.search(r"\bid\b[^()]* FROM anomalies", t.get("rawSql", ""))
            ]
            if listed and panel["type"] in ("table", "timeseries"):
                urls = json.dumps(panel["fieldConfig"]["overrides"])
                assert "${gateway}/v1/anomalies/${__data.fields.id}" in urls, panel["title"]


def test_rates_are_asked_over_an_interval_of_the_board() -> None:
    for query in EVERY:
        if query.kind != "sql":
            assert set(re.findall(r"\[([^\]]+)\]", query.text)) <= BUILT_IN, str(query)
