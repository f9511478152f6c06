"""The proof on a cluster, before there is one: what it asks of kubectl, and what it makes of the answers."""

import json
import sys
from pathlib import Path

import pytest

from k8s.e2e import Proof, main, rays_queries
from k8s.reach import CHART, Run
from tests.deploy.helm import binary
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
    monkeypatch.setenv("PATH", str(Path(binary()).parent), prepend=":")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    made = Cluster(tmp_path)
    made.answer("get serviceaccount", "serviceaccount/default")
    return made


@pytest.fixture
def on() -> Run:
    return Run("here", ["-f", str(CHART / "ci" / "kind-values.yaml")])


def test_the_namespace_is_restricted_before_anything_is_in_it(cluster: Cluster, on: Run) -> None:
    with on.space("restricted"):
        on.kubectl("get", "pods")
    assert cluster.calls() == [
        "create namespace here",
        "label namespace here pod-security.kubernetes.io/enforce=restricted",
        "-n here get serviceaccount default -o name",
        "-n here get pods",
        "delete namespace here --timeout=120s",
    ]
    with on.space("restricted", keep=True):
        pass
    assert cluster.calls()[5:] == cluster.calls()[:3]


def test_a_pod_that_the_standard_refused_is_a_failure(cluster: Cluster, on: Run) -> None:
    def event(reason: str, message: str) -> dict[str, object]:
        return {"reason": reason, "message": message, "involvedObject": {"name": "tapewatch-head"}}

    cluster.answer("get events", {"items": [event("Scheduled", "to one")]})
    assert Proof(on).admitted() == "1 pods, none refused by the restricted standard"
    refused = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    cluster.answer("get events", {"items": [event("Scheduled", "to one"), event("FailedToCreateHeadPod", refused)]})
    with pytest.raises(AssertionError, match=r"expected every pod admitted, was .*allowPrivilegeEscalation"):
        Proof(on).admitted()


@pytest.mark.parametrize("state", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_is_not_there_ends_the_proof_before_the_install(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    cluster.answer("get pod tapewatch-image", f"Pending {state}")
    monkeypatch.setattr(sys, "argv", ["e2e", "--namespace", "here"])
    assert main() == 1
    said = capsys.readouterr().out
    assert f"FAIL image: expected the image tapewatch:0.1.0 in the cluster, was {state}: give --build COMMAND" in said
    assert "1 passed, 1 failed" in said, "the namespace is deleted"
    verbs = [call.removeprefix("-n here ").split()[0] for call in cluster.calls()]
    assert verbs == ["create", "label", "get", "run", "get", "delete", "delete"]


def test_an_image_is_built_where_it_is_said_how_and_its_pod_is_restricted(
    cluster: Cluster, on: Run, tmp_path: Path
) -> None:
    cluster.answer("get pod tapewatch-image", "Succeeded ")
    assert Proof(on).image(f"touch {tmp_path}/{{tag}}") == "tapewatch:0.1.0 starts"
    assert (tmp_path / "tapewatch:0.1.0").exists()
    (call,) = [call for call in cluster.calls() if " run " in call]
    spec = json.loads(call.partition("--overrides=")[2])["spec"]
    (container,) = spec["containers"]
    assert (container["image"], container["command"]) == ("tapewatch:0.1.0", ["true"])
    assert (spec["securityContext"]["runAsNonRoot"], container["securityContext"]["capabilities"]) == (
        True, {"drop": ["ALL"]},
    )  # fmt: skip


def test_the_panels_no_single_machine_fills_are_asked_on_a_cluster() -> None:
    asked = rays_queries()
    assert set(asked) == {title for title, why in MAY_BE_EMPTY.items() if why == RAY}
    assert not any("$" in query for query in asked.values())
