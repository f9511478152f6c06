"""Ray's panels where Prometheus scrapes other clusters of Ray too, and where it scrapes ours alone."""

import shutil
from pathlib import Path

import pytest

from tests.grafana.board_files import FOLDER, load, panels
from tests.support.dashboards import Substitution
from tests.support.prometheus import hold

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here (Debian: apt-get install prometheus)"
)
GAUGES = {
    "CPU of Ray's nodes": ("ray_node_cpu_utilization", "instance"),
    "Memory of Ray's nodes": ("ray_node_mem_used", "instance"),
    "Requests that wait in Serve": ("ray_serve_deployment_queued_queries", "deployment"),
}
WHERE = {
    "shared": ('namespace="markets"', 'namespace="another"', "1x10"),
    "shared, its hub is down": ('namespace="markets"', 'namespace="another"', "1x2 stale"),
    "bundled": ('job="ray"', None, "1x10"),
}


@pytest.mark.parametrize("title", GAUGES)
@pytest.mark.parametrize("where", WHERE)
def test_only_rays_nodes_of_tapewatch_are_shown(title: str, where: str, tmp_path: Path) -> None:
    metric, label = GAUGES[title]
    own, other, ready = WHERE[where]
    series = [(f'{metric}{{{own},{label}="a"}}', "3x10"), (f'tapewatch_ready{{{own},part="database"}}', ready)]
    series += [(f'{metric}{{{other},{label}="{of}"}}', "5x10") for of in "ab" if other]
    (panel,) = [p for p in panels(load(FOLDER / "dashboards" / "health.json")) if p["title"] == title]
    expr = Substitution({}, 0, 600, range="5m").promql(panel["targets"][0]["expr"])
    hold(tmp_path, series, (expr, [(f'{{{label}="a"}}', 3)]))
