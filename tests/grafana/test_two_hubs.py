"""Panels of gauges where two hubs and two installations are scraped: each counts once, and none is a wrong query."""

import shutil
from pathlib import Path

import pytest

from tests.grafana.board_files import FOLDER, load, panels
from tests.support.dashboards import Substitution
from tests.support.prometheus import hold

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here (Debian: apt-get install prometheus)"
)
STOCKS = 'asset_class="stocks"'
GAUGES = {
    f"tapewatch_series{{{STOCKS}%s}}": {"one": 100, "two": 300},
    f"tapewatch_budget_episodes_per_symbol_day{{{STOCKS}%s}}": {"one": 0.02, "two": 0.02},
    f"tapewatch_episodes_today{{{STOCKS}%s}}": {"one": 1, "two": 9},
    f'tapewatch_series_ready{{{STOCKS},kind="gap"%s}}': {"one": 100, "two": 100},
    'tapewatch_queue_items{queue="bars"%s}': {"one": 3, "two": 4},
    'tapewatch_outbox_waiting{sink="webhook"%s}': {"one": 5, "two": 0},
    'tapewatch_outbox_dead{sink="webhook"%s}': {"one": 0, "two": 2},
    'tapewatch_notifications_today{job="hub"%s}': {"one": 10, "two": 10},
    'tapewatch_notifications_day_limit{job="hub"%s}': {"one": 200, "two": 20},
}
SHOWN = {
    ("detectors", "Budget spent today"): [(f"{{{STOCKS}}}", 1.5)],
    ("detectors", "Budget spent over the day"): [(f"{{{STOCKS}}}", 1.5)],
    ("detectors", "Ready"): [(f'{{{STOCKS}, kind="gap"}}', 0.5)],
    ("health", "Queues"): [('{queue="bars"}', 7)],
    ("health", "Outbox"): [('{sink="webhook"}', 5), ('{sink="webhook"}', 2)],
    ("alerts", "Told today, of the day's limit"): [("{}", 0.5)],
}


def series() -> list[tuple[str, str]]:
    """Give every gauge of both installations, as each of two hubs says it."""
    return [
        (gauge % f',namespace="{namespace}",instance="{hub}"', f"{value}x10")
        for gauge, values in GAUGES.items() for namespace, value in values.items() for hub in ("a", "b")
    ]  # fmt: skip


def asked(board: str, title: str) -> list[str]:
    (panel,) = [p for p in panels(load(FOLDER / "dashboards" / f"{board}.json")) if p["title"] == title]
    chosen = Substitution({"market": ["stocks", "crypto"], "kind": ["gap"]}, 0, 600)
    return [chosen.promql(target["expr"]) for target in panel["targets"]]


@pytest.mark.parametrize(("board", "title"), SHOWN, ids=[title for _, title in SHOWN])
def test_a_gauge_counts_once_of_each_installation(board: str, title: str, tmp_path: Path) -> None:
    samples = [[sample] for sample in SHOWN[board, title]]
    hold(tmp_path, series(), *zip(asked(board, title), samples, strict=True))
