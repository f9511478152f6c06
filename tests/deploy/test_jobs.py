"""The chart's jobs: what they are told, when they run, that an install cannot wait for itself."""

import re
from pathlib import Path
from typing import Any

import pytest

from ray_apps.settings import load_settings
from tests.deploy.helm import CHART, VALUES, named, pods, rendered, variables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
each = pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
HA, MINIMAL = (CHART / "ci" / f"{name}-values.yaml" for name in ("ha", "minimal"))
EXTERNAL = CHART / "ci" / "external-services-values.yaml"
HOOK = "helm.sh/hook"
VENDOR = ("settings.source=polygon", "vendor.existingSecret=polygon")


def hooks_of(o: dict[str, Any]) -> set[str]:
    return set(o["metadata"].get("annotations", {}).get(HOOK, "").split(",")) - {""}


def references(spec: dict[str, Any]) -> set[tuple[str, str]]:
    """Give the objects a pod cannot start without."""
    found = {("ServiceAccount", spec["serviceAccountName"])} if "serviceAccountName" in spec else set()
    for container in (*spec["containers"], *spec.get("initContainers", [])):
        found |= {("Secret", f["secretRef"]["name"]) for f in container.get("envFrom", [])}
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                found.add(("Secret", variable["valueFrom"]["secretKeyRef"]["name"]))
    for volume in spec.get("volumes", []):
        found |= {("ConfigMap", volume[k]["name"]) for k in ("configMap",) if k in volume}
        found |= {("PersistentVolumeClaim", volume[k]["claimName"]) for k in ("persistentVolumeClaim",) if k in volume}
    return found


@each
def test_no_hook_waits_for_what_comes_after_it(values: Path) -> None:
    objects = rendered(values)
    later = {(o["kind"], o["metadata"]["name"]) for o in objects if not hooks_of(o)}
    early = {f"{o['kind']}/{o['metadata']['name']}" for o in objects if hooks_of(o) & {"pre-install", "pre-upgrade"}}
    assert early == ({"Job/tw-tapewatch-migrate"} if values in (HA, EXTERNAL) else set())
    for name, spec in pods(objects):
        if name in early:
            assert not references(spec) & later, name


def test_jobs_are_told_what_they_need() -> None:
    sets = ("backfill.schedule=0 6 * * 1-5", *VENDOR, "settings.retention_days=7", "vendor.tiers.stocks=starter")
    more = ("settings.polygon.rest_url=https://api.example.org", "settings.universe.symbols.stocks={AAPL,MSFT}")
    objects = rendered(EXTERNAL, *sets, *more)
    assert set(variables(objects, "Job/tw-tapewatch-migrate")) == {"DATABASE_URL", "TAPEWATCH_RETENTION_DAYS"}
    assert variables(objects, "CronJob/tw-tapewatch-retention")["TAPEWATCH_RETENTION_DAYS"] == "7"
    told = variables(objects, "CronJob/tw-tapewatch-backfill-stocks")
    assert told["POLYGON_API_KEY"] == {"secretKeyRef": {"name": "polygon", "key": "POLYGON_API_KEY"}}
    told |= {"DATABASE_URL": "postgresql://a/b", "POLYGON_API_KEY": "x" * 32}
    settings = load_settings(None, None, told)
    assert settings.universe.symbols.stocks == ("AAPL", "MSFT")
    assert settings.polygon.rest_url == "https://api.example.org"
    assert settings.polygon.tiers.stocks == "starter"
    assert settings.retention_days == 7


def test_a_backfill_without_classes_is_of_those_watched() -> None:
    objects = rendered(EXTERNAL, "backfill.schedule=0 6 * * 1-5", *VENDOR, "settings.universe.symbols.stocks={AAPL}")
    args = {o["metadata"]["name"]: spec for o in objects if o["kind"] == "CronJob" for _, spec in pods([o])}
    assert args["tw-tapewatch-backfill-stocks"]["containers"][0]["args"] == ["backfill", "--asset=stocks", "--json"]
    crypto = args["tw-tapewatch-backfill-crypto"]["containers"][0]["args"]
    assert crypto == ["backfill", "--asset=crypto", "--all", "--json"]


@each
def test_every_job_ends(values: Path) -> None:
    for o in rendered(values):
        if o["kind"] in ("Job", "CronJob"):
            spec = o["spec"]["jobTemplate"]["spec"] if o["kind"] == "CronJob" else o["spec"]
            assert spec["activeDeadlineSeconds"] > 0, o["metadata"]["name"]


@pytest.mark.parametrize("grace_s", [60, 180])
def test_the_job_before_an_uninstall_waits_for_a_drain_gives_up_soon_and_its_words_stay(grace_s: int) -> None:
    job = named(rendered(MINIMAL, f"terminationGracePeriodSeconds={grace_s}"), "Job", "tw-tapewatch-retire")
    assert job["spec"]["activeDeadlineSeconds"] <= grace_s + 90 < 300  # what Helm waits for a hook, if told nothing
    assert "hook-failed" not in job["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    seconds = float(job["spec"]["template"]["spec"]["containers"][0]["command"][-1])
    assert grace_s < seconds < job["spec"]["activeDeadlineSeconds"]


def test_a_migration_that_is_a_hook_fails_while_helm_waits() -> None:
    job = named(rendered(EXTERNAL), "Job", "tw-tapewatch-migrate")["spec"]
    (wait,) = [a for a in job["template"]["spec"]["containers"][0]["args"] if a.startswith("--wait=")]
    assert job["backoffLimit"] == 0
    assert float(wait.removeprefix("--wait=")) <= 240  # of Helm's 300, with a minute for the image


@each
def test_nothing_is_left_to_do_after_an_install(values: Path) -> None:
    """What a post-install hook makes is waited for by `helm install --wait` before the hook runs."""
    assert not [o["metadata"]["name"] for o in rendered(values) if "post-install" in hooks_of(o)]


def test_a_migration_of_the_bundled_database_is_never_changed_in_place() -> None:
    """Its name says the revision; what renders each as the first tells a changed pod by its sum."""

    def job(*sets: str) -> dict[str, Any]:
        (found,) = [o for o in rendered(MINIMAL, *sets) if o["kind"] == "Job" and "-migrate" in o["metadata"]["name"]]
        return found

    assert not hooks_of(job())
    assert re.fullmatch(r"tw-tapewatch-migrate-1-[0-9a-f]{8}", job()["metadata"]["name"])
    same = job("settings.budget.notifications_per_day=7")
    assert (same["metadata"]["name"], same["spec"]) == (job()["metadata"]["name"], job()["spec"])
    others = (job(s)["metadata"]["name"] for s in ("image.tag=0.2.0", "settings.retention_days=7", "nodeSelector.a=b"))
    assert len({job()["metadata"]["name"], *others}) == 4


def test_bars_are_rolled_up_by_a_job_where_it_has_a_schedule() -> None:
    assert named(rendered(MINIMAL), "CronJob", "tw-tapewatch-retention")["spec"]["schedule"] == "30 5 * * *"
    assert not [o for o in rendered(MINIMAL, "retention.schedule=") if "retention" in o["metadata"]["name"]]
