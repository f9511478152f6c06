"""The chart renders to objects Kubernetes takes, safe by the restricted standard, and refuses what cannot work."""

import importlib.util
import json
import lzma
import os
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.helm import CHART, ROOT, SECRET, VALUES, helm, pods, rendered, template

KUBERNETES = "1.34"
FOREIGN = ("ray.io", "monitoring.coreos.com")
SNAPSHOT = Path(__file__).parent / "snapshots" / "kind.yaml"
LONG_RUNNING = ("Deployment", "StatefulSet")
GROUP = ["ray.workers[0].name=a", "ray.workers[0].serve=true", "ray.workers[0].resources.requests.cpu=1"]
HOURS = {"CronJob/tw-tapewatch-hours-open", "CronJob/tw-tapewatch-hours-close"}
WITH_TOKEN = {"Job/tw-tapewatch-retire", "RayService/tw-tapewatch/head", *HOURS}
DATA = Path(os.environ.get("TAPEWATCH_DATA", ROOT.parent / "shared" / "data"))
CRDS = DATA.parent / "cluster" / "manifests" / "kuberay-crds.yaml.xz"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
each = pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)


def chart_program():
    spec = importlib.util.spec_from_file_location("chart", ROOT / "k8s" / "chart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each
def test_helm_finds_nothing_to_say(values: Path) -> None:
    done = helm("lint", str(CHART), "-f", str(values), "--strict", "--kube-version", "1.34.0")
    if "KubeRay operator is missing" in done.stdout:  # lint knows no cluster: everything else was read before
        return
    assert done.returncode == 0, done.stdout


def test_every_object_is_what_kubernetes_takes() -> None:
    every = [o for values in VALUES for o in rendered(values) if not o["apiVersion"].startswith(FOREIGN)]
    different = {json.dumps(o, sort_keys=True): o for o in every}  # reading the schemas takes a second each time
    assert len(different) > 25
    for o in different.values():
        kubernetes_validate.validate(o, KUBERNETES, strict=True)


@each
def test_the_ray_service_is_what_the_operator_takes(values: Path) -> None:
    if not CRDS.exists():
        pytest.skip("the operator's CRDs are not here")
    (service,) = [o for o in rendered(values) if o["kind"] == "RayService"]
    ray_service().validate(service)
    yaml.safe_load(service["spec"]["serveConfigV2"])


@cache
def ray_service() -> jsonschema.Draft7Validator:
    """Give what checks a RayService; reading the operator's CRDs takes seconds."""
    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crds = [d for d in yaml.load_all(lzma.decompress(CRDS.read_bytes()), fast) if d]
    (crd,) = [c for c in crds if c["metadata"]["name"] == "rayservices.ray.io"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1"]
    return jsonschema.Draft7Validator(_closed(schema))


def _closed(schema):
    """Refuse unknown keys, as the API server warns of them, and let a number stand for an int-or-string."""
    if isinstance(schema, list):
        return [_closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: _closed(v) for k, v in schema.items() if k not in ("format",)}
    is_open = any(k in schema for k in ("x-kubernetes-preserve-unknown-fields", "additionalProperties"))
    known = schema.get("properties")
    if isinstance(known, dict) and schema.get("type") == "object" and not is_open and "apiVersion" not in known:
        made["additionalProperties"] = False
    return made


@each
def test_every_pod_is_restricted(values: Path) -> None:
    for name, spec in pods(rendered(values)):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")), name
        assert name in WITH_TOKEN or spec["automountServiceAccountToken"] is False, name
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


@each
def test_every_container_says_its_resources_and_a_tag(values: Path) -> None:
    for name, spec in pods(rendered(values)):
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), name
            _, _, tag = container["image"].rpartition("/")[2].partition(":")
            assert tag not in ("", "latest"), (name, container["image"])


@each
def test_what_runs_on_is_probed(values: Path) -> None:
    for o in rendered(values):
        if o["kind"] in LONG_RUNNING:
            for container in o["spec"]["template"]["spec"]["containers"]:
                assert "readinessProbe" in container, o["metadata"]["name"]


@each
def test_no_secret_stands_in_the_open(values: Path) -> None:
    for name, spec in pods(rendered(values)):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                is_secret = any(w in variable["name"] for w in ("PASSWORD", "TOKEN", "_URL", "API_KEY"))
                assert not (is_secret and "value" in variable), (name, variable["name"])


def test_the_laptops_objects_are_as_they_were() -> None:
    """`helm template ... > tests/deploy/snapshots/kind.yaml` with passwords as x, when a change is meant."""
    done = template("-f", str(CHART / "ci" / "kind-values.yaml"))
    assert SECRET.sub("x", done.stdout) == SNAPSHOT.read_text("utf-8")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["postgresql.enable=false"], "enable"),
        (["settings.budgett=1"], "budgett"),
        (["settings.shards=0"], "shards"),
        (["ray.upgradeStrategy=Never"], "upgradeStrategy"),
        (["image.pullPolicy=Sometimes"], "pullPolicy"),
        (["retention.schedule=daily"], "schedule"),
        (["marketHours.open=early"], "open"),
        (["vendor.tiers.stocks=gold"], "tiers"),
        (["ray.workers[0].nme=x"], "nme"),
    ],
)
def test_a_typo_is_named(wrong: list[str], said: str) -> None:
    done = template(*(f"--set={w}" for w in wrong))
    assert done.returncode != 0
    assert said in done.stderr
    assert "schema" in done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["postgresql.enabled=false"], "postgresql: expected existingSecret"),
        (["redis.enabled=false"], "redis: expected existingSecret"),
        (["simulator.enabled=false"], "synthetic needs simulator.enabled"),
        (["settings.source=polygon"], "polygon needs vendor.existingSecret"),
        (["settings.database_url=postgresql://a/b"], "settings.database_url: expected none here"),
        (["ray.workers[0].stream=false", *GROUP], "expected a group with stream: true"),
        (["redis.enabled=false", "redis.existingSecret=r"], "redis.gcsAddress"),
        (["api.ingress.enabled=true"], "api.ingress.host"),
        (["marketHours.enabled=true"], "expected asset classes with sessions in settings.assets, was crypto"),
    ],
)
def test_what_cannot_work_says_why(wrong: list[str], said: str) -> None:
    done = template(*(f"--set={w}" for w in wrong))
    assert done.returncode != 0
    assert said in done.stderr


def test_a_missing_operator_says_how_to_install_it() -> None:
    done = template(has_operator=False)
    assert done.returncode != 0
    assert "helm install kuberay-operator" in done.stderr


def test_schema_and_readme_are_those_of_the_values() -> None:
    program = chart_program()
    assert json.loads((CHART / "values.schema.json").read_text("utf-8")) == program.schema()
    assert (CHART / "README.md").read_text("utf-8") == program.readme()
