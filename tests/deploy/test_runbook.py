"""What the runbook says to run on Kubernetes: jobs that the chart has, with the release's settings."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.deploy.helm import CHART, ROOT, named, rendered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
RUNBOOK = " ".join((ROOT / "grafana" / "RUNBOOK.md").read_text("utf-8").split())
PARTS = re.split(r" ## ", RUNBOOK)
ACTING = {"tapewatch db retention": "retention", "tapewatch backfill": "backfill-CLASS"}
"""Commands that delete or fetch by the settings, and the job that is told them."""


def environment(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e.get("value") for e in container["env"]}


@pytest.mark.parametrize(("command", "job"), ACTING.items(), ids=list(ACTING))
def test_a_command_that_acts_by_the_settings_names_its_job(command: str, job: str) -> None:
    parts = [part for part in PARTS if f"`{command}" in part]
    assert parts
    for part in parts:
        assert f"--from=cronjob/NAME-{job}`" in part, part[:60]


def test_the_jobs_named_are_the_charts_and_have_the_settings() -> None:
    objects = rendered(
        CHART / "ci" / "ha-values.yaml", "settings.retention_days=90", "settings.universe.symbols.stocks={AAPL}"
    )
    jobs = {name: name.replace("CLASS", "stocks") for name in re.findall(r"--from=cronjob/NAME-([\w-]+)", RUNBOOK)}
    assert set(jobs) == set(ACTING.values())
    for job in jobs.values():
        assert environment(named(objects, "CronJob", f"tw-tapewatch-{job}"))["TAPEWATCH_RETENTION_DAYS"] == "90"
    told = environment(named(objects, "CronJob", "tw-tapewatch-backfill-stocks"))["TAPEWATCH_UNIVERSE"]
    assert json.loads(told) == {"symbols": {"stocks": ["AAPL"]}}


def test_a_job_may_be_made_again() -> None:
    names = re.findall(r"kubectl create job (\S+ \S+)", RUNBOOK)
    assert len(names) >= 4
    assert all(name.endswith("-$(date +%s)") for name in names)


@pytest.mark.parametrize("values", ["kind", "ha", "market-hours"])
def test_pods_are_found_by_labels_the_chart_gives(values: str) -> None:
    """Selected are the workers of the Ray cluster, and the bundled database where there is one."""
    objects = rendered(CHART / "ci" / f"{values}-values.yaml")
    chosen = set(re.findall(r"-l app\.kubernetes\.io/component=(\w+)", RUNBOOK))
    assert chosen == {"worker", "postgresql"}
    (service,) = [o for o in objects if o["kind"] == "RayService"]
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        assert group["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
        assert group["template"]["spec"]["containers"][0]["name"] == "ray-worker"
    pods = [o["spec"]["template"] for o in objects if o["kind"] == "StatefulSet"]
    if values == "kind":
        assert "postgresql" in {p["metadata"]["labels"]["app.kubernetes.io/component"] for p in pods}


def test_check_is_told_the_classes_of_the_release() -> None:
    assert "`tapewatch check --config /dev/stdin`" in RUNBOOK
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from ray_apps.cli import run; sys.exit(run(sys.argv[1:]))",
         "check", "--offline", "--json", "--config", "/dev/stdin"],
        input=json.dumps({"assets": ["forex"]}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [c["asset_class"] for c in json.loads(done.stdout)["classes"]] == ["forex"]


def test_a_hole_is_asked_for_by_its_ends() -> None:
    (blind,) = [part for part in PARTS if part.startswith("Blind ")]
    commands = re.findall(r"`tapewatch backfill ([^`]*)`", blind)
    assert commands
    assert all("--from" in c and "--to" in c for c in commands)


@pytest.mark.parametrize("values", ["kind", "ha", "market-hours"])
def test_the_settings_are_taken_from_a_pipe(values: str) -> None:
    assert "tapewatch config show --config /dev/stdin" in RUNBOOK
    settings = yaml.safe_load((CHART / "ci" / f"{values}-values.yaml").read_text("utf-8"))["settings"]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from ray_apps.cli import run; sys.exit(run(sys.argv[1:]))",
         "config", "show", "--config", "/dev/stdin"],
        input=json.dumps({**settings, "retention_days": 90}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert (shown["retention_days"], shown["assets"]) == (90, settings["assets"])
