"""What Helm says after an install: what is watched, what is left, what is still to set."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.helm import CHART, named, template

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
CI = CHART / "ci"


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the chart with its notes in an object: `helm template` leaves them out."""
    copy = tmp_path_factory.mktemp("chart") / "tapewatch"
    shutil.copytree(CHART, copy)
    notes = copy / "templates" / "NOTES.txt"
    (copy / "templates" / "_notes.tpl").write_text(f'{{{{ define "notes" }}}}{notes.read_text("utf-8")}{{{{ end }}}}')
    made = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {said: {{ include "notes" . | toJson }}}\n'
    (copy / "templates" / "notes.yaml").write_text(made)
    notes.unlink()
    return copy


def notes(chart: Path, values: str, *sets: str) -> str:
    done = template("-f", str(CI / f"{values}-values.yaml"), *(f"--set={s}" for s in sets), chart=chart)
    assert done.returncode == 0, done.stderr
    objects = [o for o in yaml.safe_load_all(done.stdout) if o]
    return str(named(objects, "ConfigMap", "notes")["data"]["said"])


def test_they_name_the_source(chart: Path) -> None:
    assert "stocks, crypto (a simulated market, source synthetic) in namespace markets" in notes(chart, "minimal")
    assert "(the vendor's market, source polygon)" in notes(chart, "ha")
    assert "(bars that are pushed, source push)" in notes(chart, "minimal", "settings.source=push")


def test_they_say_which_volumes_stay_where_some_do(chart: Path) -> None:
    assert "leaves the volumes of the bundled servers" in notes(chart, "minimal")
    assert "leaves the volumes" not in notes(chart, "external-services")


def test_they_say_how_the_links_of_alerts_lead_somewhere(chart: Path) -> None:
    assert "monitoring.rules.runbooks=https://.../" in notes(chart, "ha")
    assert "runbooks" not in notes(chart, "ha", "monitoring.rules.runbooks=https://wiki.example.org/")
    assert "runbooks" not in notes(chart, "minimal")


def test_they_say_how_pods_change_where_no_second_cluster_is_made(chart: Path) -> None:
    way = "delete raycluster -l ray.io/originated-from-cr-name=tw-tapewatch"
    assert way in notes(chart, "kind")
    assert way not in notes(chart, "minimal")


def test_they_say_how_long_an_uninstall_may_take(chart: Path) -> None:
    assert "`--timeout 370s`" in notes(chart, "minimal", "terminationGracePeriodSeconds=250")
    assert "--timeout" not in notes(chart, "minimal")


def test_a_key_with_a_dot_is_one_for_kubectl_too(chart: Path) -> None:
    assert r"jsonpath='{.data.api\.token}'" in notes(chart, "minimal", r"api.key=api\.token")
