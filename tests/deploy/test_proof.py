"""The proof on a cluster, before there is one: what it asks of kubectl, and what it makes of the answers."""

import json
from pathlib import Path

import pytest

from k8s.e2e import Proof, rays_queries
from k8s.reach import CHART, Run
from tests.grafana.test_live_boards import MAY_BE_EMPTY, RAY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
KUBECTL = """#!/bin/sh
echo "$*" >> {folder}/calls
for answer in {folder}/answers/*; do
  case "$*" in *"$(basename "$answer")"*) cat "$answer" ;; esac
done
"""


class Cluster:
    """A kubectl that notes what it is asked and answers by words in the question."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "answers").mkdir()
        (folder / "kubectl").write_text(KUBECTL.format(folder=folder))
        (folder / "kubectl").chmod(0o755)

    def answer(self, words: str, said: object) -> None:
        (self.folder / "answers" / words).write_text(said if isinstance(said, str) else json.dumps(said))

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Cluster(tmp_path)


@pytest.fixture
def on() -> Run:
    return Run("here", ["-f", str(CHART / "ci" / "kind-values.yaml")])


def test_the_namespace_is_restricted_before_anything_is_in_it(cluster: Cluster, on: Run) -> None:
    with on.space("restricted"):
        on.kubectl("get", "pods")
    assert cluster.calls() == [
        "create namespace here",
        "label namespace here pod-security.kubernetes.io/enforce=restricted",
        "-n here get pods",
        "delete namespace here --timeout=120s",
    ]
    with on.space("restricted", keep=True):
        pass
    assert cluster.calls()[4:] == cluster.calls()[:2]


def test_a_pod_that_the_standard_refused_is_a_failure(cluster: Cluster, on: Run) -> None:
    def event(reason: str, message: str) -> dict[str, object]:
        return {"reason": reason, "message": message, "involvedObject": {"name": "tapewatch-head"}}

    cluster.answer("get events", {"items": [event("Scheduled", "to one")]})
    assert Proof(on).admitted() == "1 pods, none refused by the restricted standard"
    refused = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    cluster.answer("get events", {"items": [event("Scheduled", "to one"), event("FailedToCreateHeadPod", refused)]})
    with pytest.raises(AssertionError, match=r"expected every pod admitted, was .*allowPrivilegeEscalation"):
        Proof(on).admitted()


def test_the_panels_no_single_machine_fills_are_asked_on_a_cluster() -> None:
    asked = rays_queries()
    assert set(asked) == {title for title, why in MAY_BE_EMPTY.items() if why == RAY}
    assert not any("$" in query for query in asked.values())
