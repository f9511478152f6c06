"""The rules: names, annotations with a way to the runbook, metrics that exist, and what promtool says."""

import re
import shutil
import subprocess

import pytest
import yaml

from ray_apps.ingest.counting import CALLED, CALLED_S
from tests.grafana.board_files import FOLDER, RECORDED, rules, unknown

ALERTS, RECORDING = rules("alerts.yaml"), rules("recording.yaml")
NAME = re.compile(r"[a-z_]+:[a-z_]+:[a-z0-9_]+")
TESTS = sorted((FOLDER / "rules" / "tests").glob("*.yaml"))
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here (Debian: apt-get install prometheus)"
)


def anchors() -> set[str]:
    """Give the anchors of the runbook's headings, as GitHub makes them."""
    text = (FOLDER / "RUNBOOK.md").read_text("utf-8")
    return {h.lower().replace(" ", "-") for h in re.findall(r"^## (.+)$", text, re.M)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda r: r["alert"])
def test_an_alert_says_what_and_where_to_read_on(rule) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "grafana/RUNBOOK.md"
    assert anchor in anchors()


def test_the_runbook_has_a_part_for_each_alert_and_no_other() -> None:
    assert anchors() == {r["annotations"]["runbook_url"].partition("#")[2] for r in ALERTS}
    text = (FOLDER / "RUNBOOK.md").read_text("utf-8")
    for part in text.split("\n## ")[1:]:
        for word in ("**Cause**", "**Check**", "**Fix**"):
            assert word in part, part.splitlines()[0]


def test_a_runbook_is_named_in_one_way_so_that_what_comes_before_it_can_be_put() -> None:
    text = (FOLDER / "rules" / "alerts.yaml").read_text("utf-8")
    assert text.count("runbook_url: grafana/RUNBOOK.md#") == len(ALERTS)
    assert text.count("grafana/RUNBOOK.md") == len(ALERTS)


@pytest.mark.parametrize("rule", ALERTS + RECORDING, ids=lambda r: r.get("alert") or r["record"])
def test_a_rule_keeps_installations_apart(rule) -> None:
    """Every aggregation and every match of two sides goes by the namespace too."""
    kept = re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"])
    assert all("namespace" in names.split(", ") or not names for names in kept), rule["expr"]
    assert not re.search(r"\b(?:sum|max|min|count|avg|topk)\s*\(", rule["expr"]), rule["expr"]


@pytest.mark.parametrize("rule", ALERTS + RECORDING, ids=lambda r: r.get("alert") or r["record"])
def test_every_metric_label_and_recorded_name_exists(rule) -> None:
    assert unknown(rule["expr"]) == []
    assert set(RECORDED.findall(rule["expr"])) <= {r["record"] for r in RECORDING}


def test_recorded_names_are_level_metric_op_and_are_used() -> None:
    for rule in RECORDING:
        assert NAME.fullmatch(rule["record"])
    used = {name for rule in ALERTS for name in RECORDED.findall(rule["expr"])}
    assert {r["record"] for r in RECORDING} - used == {"class:budget_spent:ratio"}  # for people


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[str, set[bool]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            n_series = len(test["input_series"])
            for case in test["alert_rule_test"]:
                found = fires.setdefault(case["alertname"], set())
                found.add(bool(case["exp_alerts"]))
                if len(case["exp_alerts"]) < n_series:  # the other series of the case stay quiet
                    found.add(False)
    assert fires == {rule["alert"]: {True, False} for rule in ALERTS}


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    done = run("check", "rules", *(str(p) for p in sorted((FOLDER / "rules").glob("*.yaml"))))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.stem)
def test_the_rules_fire_and_do_not_as_they_should(path) -> None:
    done = run("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60, check=False)


def test_a_silence_is_called_where_the_feed_counts_none_as_usual() -> None:
    (expr,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "TapewatchFeedSilent"]
    assert f"(tapewatch_feed_silent_seconds) > {CALLED_S:.0f}\n" in expr
    assert f"<= {CALLED} * max by (namespace, asset_class) (tapewatch_feed_bar_interval_seconds)" in expr
