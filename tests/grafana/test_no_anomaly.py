"""The Detectors board as it opens before anything was called: a kind is shown because it is watched."""

import shutil
from pathlib import Path

import pytest

from tests.grafana.board_files import FOLDER, load, panels, unknown
from tests.support.dashboards import Substitution
from tests.support.prometheus import hold

BOARD = load(FOLDER / "dashboards" / "detectors.json")
OF = 'asset_class="stocks"'
SERIES = [
    (f"tapewatch_series{{{OF}}}", "10x10"),
    (f'tapewatch_series_ready{{{OF},kind="gap"}}', "10x10"),
    (f'tapewatch_p_value_bucket{{{OF},kind="gap",le="0.01"}}', "0+1x10"),
    (f'tapewatch_p_value_count{{{OF},kind="gap"}}', "0+100x10"),
]
SHOWN = {
    "Ready": [(f'{{{OF}, kind="gap"}}', 1.0)],
    "Small p-values against uniform": [('{kind="gap"}', 1.0)],
}


def test_all_kinds_are_those_prometheus_knows_and_any_other() -> None:
    (kind,) = [v for v in BOARD["templating"]["list"] if v["name"] == "kind"]
    assert kind["datasource"]["uid"] == "${prometheus}"
    assert kind["query"].endswith(", kind)")
    assert unknown(kind["query"]) == []
    assert (kind["includeAll"], kind["allValue"]) == (True, ".*")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: apt-get install prometheus)")
@pytest.mark.parametrize("title", SHOWN)
def test_a_kind_that_called_nothing_is_shown(title: str, tmp_path: Path) -> None:
    (kind,) = [v for v in BOARD["templating"]["list"] if v["name"] == "kind"]
    (panel,) = [p for p in panels(BOARD) if p["title"] == title]
    chosen = Substitution({"market": ["stocks"], "kind": kind.get("allValue", [])}, 0, 600)
    hold(tmp_path, SERIES, (chosen.promql(panel["targets"][0]["expr"]), SHOWN[title]))
