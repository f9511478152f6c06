"""The chart renders to objects Kubernetes takes, safe by the restricted standard, and refuses what cannot work."""

import copy
import importlib.util
import json
import re
from functools import reduce
from operator import getitem
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.helm import CHART, OPERATORS, ROOT, VALUES, helm, pods, rendered, snapshot, template
from tests.deploy.operators import KINDS, schema_of

KUBERNETES = "1.34"
SNAPSHOT = Path(__file__).parent / "snapshots" / "kind.yaml"
LONG_RUNNING = ("Deployment", "StatefulSet")
GROUP = ["ray.workers[0].name=a", "ray.workers[0].replicas=1", "ray.workers[0].resources.requests.cpu=1"]
OTHER = [w.replace("[0]", "[1]") for w in GROUP]
BOTH = [*GROUP, "ray.workers[0].stream=true", "ray.workers[0].serve=true"]
WEBHOOK = ["settings.sinks.webhook.url=http://hooks.alerts:8443/in", "sinks.existingSecret=s"]
POLYGON = ["settings.source=polygon", "vendor.existingSecret=polygon"]
HOURS = {"CronJob/tw-tapewatch-hours-open", "CronJob/tw-tapewatch-hours-close"}
WITH_TOKEN = {"Job/tw-tapewatch-retire", "Job/tw-tapewatch-workers-resize", *HOURS}

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
    every = [o for values in VALUES for o in rendered(values) if o["apiVersion"] not in OPERATORS]
    different = {json.dumps(o, sort_keys=True): o for o in every}  # reading the schemas takes a second each time
    assert len(different) > 25
    for o in different.values():
        kubernetes_validate.validate(o, KUBERNETES, strict=True)


def test_every_custom_object_is_what_its_operator_takes() -> None:
    every = [o for values in VALUES for o in rendered(values) if o["apiVersion"] in OPERATORS]
    assert {o["kind"] for o in every} == KINDS
    for o in every:
        schema_of(o["kind"]).validate(o)


@each
def test_the_ray_service_says_what_serve_runs(values: Path) -> None:
    (service,) = [o for o in rendered(values) if o["kind"] == "RayService"]
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("RayService", ("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "containers", 0)),
        ("ServiceMonitor", ("spec", "endpoints", 0)),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0)),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0)),
    ],
)
def test_a_key_no_operator_knows_is_refused(kind: str, place: tuple[str | int, ...]) -> None:
    every = [o for values in VALUES for o in rendered(values) if o["kind"] == kind]
    for path in ((), ("spec",), place):
        wrong = copy.deepcopy(every[0])
        reduce(getitem, path, wrong)["intervall"] = "30s"
        with pytest.raises(jsonschema.ValidationError, match="intervall"):
            schema_of(kind).validate(wrong)


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


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "0a" * 32
    images = {
        container["image"]
        for _, spec in pods(rendered(CHART / "ci" / "ha-values.yaml", f"image.digest={digest}"))
        for container in (*spec["containers"], *spec.get("initContainers", []))
    }
    assert images == {f"registry.example.org/tapewatch@{digest}"}


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
    """When a change is meant, write it: `SNAPSHOT.write_text(snapshot(done.stdout))`."""
    done = template("-f", str(CHART / "ci" / "kind-values.yaml"))
    assert snapshot(done.stdout) == SNAPSHOT.read_text("utf-8")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["postgresql.enable=false"], "enable"),
        (["settings.budgett=1"], "budgett"),
        (["settings.shards=0"], "shards"),
        (["ray.upgradeStrategy=Never"], "upgradeStrategy"),
        (["image.pullPolicy=Sometimes"], "pullPolicy"),
        (["vendor.tiers.stocks=gold"], "tiers"),
        (["ray.workers[0].nme=x"], "nme"),
        (["ray.workers[0].name=a", "ray.workers[0].resources.requests.cpu=1"], "replicas"),
        *(([f"settings.source={source}"], "settings.source") for source in ("Polygon", "polygn", "/data/folder")),
        (["settings=null"], "settings is required"),
        (["settings.assets=null"], "assets is required"),
        (["settings.assets={}"], "settings.assets"),
        (["image=null"], "image is required"),
        (["ray.head.resources.limits.memory=3GB"], "ray.head.resources.limits"),
        (["nodeSelector.pool=true"], "nodeSelector"),
        (["api.service.annotations.lb=true"], "annotations"),
        (["monitoring.metrics.port=65536"], "monitoring.metrics.port"),
        (["ray.objectStoreBytes=78643199"], "objectStoreBytes"),
        (["ray.gateway.targetOngoingRequests=0"], "targetOngoingRequests"),
        (["backfill.assets={bonds}"], "backfill.assets"),
        (["networkPolicy.apiServerPorts={}"], "apiServerPorts"),
        (["networkPolicy.dnsPorts={65536}"], "dnsPorts"),
        (["networkPolicy.operatorFrom={}"], "networkPolicy.operatorFrom"),
        (["networkPolicy.gatewayFrom[0].pods=x"], "networkPolicy.gatewayFrom"),
        (["networkPolicy.extraEgress[0].from=x"], "networkPolicy.extraEgress"),
    ],
)
def test_a_typo_is_named(wrong: list[str], said: str) -> None:
    done = template(*(f"--set={w}" for w in wrong))
    assert done.returncode != 0
    assert said in done.stderr
    assert "schema" in done.stderr


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("retention.schedule=daily", "expected a cron schedule such as 30 5 * * * or @daily, or none, was"),
        ("retention.schedule=a b c d e", "expected a cron schedule such as"),
        ("marketHours.open=", "expected a cron schedule such as 30 5 * * * or @daily, was"),
        ("marketHours.timeZone=UTC+1", "expected a time zone such as America/New_York, was"),
        ("monitoring.rules.runbooks=wiki", "expected an address that ends in a slash"),
        ("monitoring.dashboards.gateway=wiki", "expected an address such as https://"),
        ("fullnameOverride=1x", "expected small letters, digits and hyphens, a letter first, was"),
        *((f"{i}=", "expected the name of an image, was") for i in ("image.repository", "postgresql.image")),
        ("image.digest=sha256:abc", "expected sha256: and 64 hexadecimal digits, was"),
        ("ray.version=", "expected a version such as 2.60.0, was"),
        *((f"{size}=20 gigs", "expected a quantity such as 20Gi, was") for size in ("persistence.size", "redis.size")),
        ("postgresql.size=0Gi", "expected a quantity such as 20Gi, was"),
        ("persistence.storageClass=-", "expected a name of an object of Kubernetes"),
        ("vendor.existingSecret=My Secret", "expected a name of an object of Kubernetes"),
        ("api.key=", "expected a key of a Secret"),
        ("postgresql.key=password", "expected another key than password"),
        ("api.ingress.host=https://a.example.org/x", "expected a host name such as tapewatch.example.org, was"),
        *((f"redis.gcsAddress={a}", "expected host:port or rediss://") for a in ("redis", "http://r:1", "r:1/0", ":1")),
    ],
)
def test_a_text_says_what_was_expected(value: str, said: str) -> None:
    done = template(f"--set={value}")
    assert done.returncode != 0
    assert f"{value.partition('=')[0]}: {said}" in done.stderr


@pytest.mark.parametrize(("release", "name"), [("123", "123-tapewatch"), ("a.b", "a.b-tapewatch"), ("true", "")])
def test_a_release_of_any_name_is_taken_or_told(release: str, name: str) -> None:
    done = template(release=release)
    assert bool(name) == bool(done.returncode)
    assert not name or f'or a fullnameOverride that is one, was "{name}"' in done.stderr
    for space in ("markets", "2024"):
        done = template("--namespace", space, "--set=fullnameOverride=tape", release=release)
        assert done.returncode == 0, done.stderr
        for o in yaml.safe_load_all(done.stdout):
            if o and o["apiVersion"] not in OPERATORS:
                kubernetes_validate.validate(o, KUBERNETES, strict=True)
    done = template("--set-string=fullnameOverride=true")
    assert "expected a release name of small letters" in done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["postgresql.enabled=false"], "postgresql: expected existingSecret"),
        (["redis.enabled=false"], "redis: expected existingSecret"),
        (["settings.source=polygon"], "polygon needs vendor.existingSecret"),
        *(
            ([f"settings.{key}={value}"], f"settings.{key}: expected none here, {place}")
            for key, value, place in (
                ("s3.key", "hush", "no pod of the chart reads S3"),
                ("s3.secret", "hush", "no pod of the chart reads S3"),
                ("s3.session_token", "hush", "no pod of the chart reads S3"),
            )
        ),
        *(
            ([f"settings.{key}={value}"], f"settings.{key}: expected none here, the chart sets it{place}")
            for key, value, place in (
                ("database_url", "postgresql://a/b", ": use postgresql.existingSecret"),
                ("redis_url", "redis://a", ": use redis.existingSecret"),
                ("http.token", "hush-hush-hush-hush", ": use api.existingSecret"),
                ("polygon.api_key", "hush", ": use vendor.existingSecret"),
                ("sinks.webhook.secret", "hush-hush", ": use sinks.existingSecret"),
                ("sinks.grafana.token", "hush-hush", ": use sinks.existingSecret"),
                ("metrics.port", "9300", ": use monitoring.metrics.port"),
                ("metrics.host", "::1", ""),
                ("http.port", "0", ""),
                ("http.host", "::1", ""),
                ("simulator.ws", "a:1", ""),
                ("simulator.rest", "a:1", ""),
            )
        ),
        (["settings.sinks.webhook.url=https://a"], "with the key TAPEWATCH_SINKS__WEBHOOK__SECRET, was empty"),
        (["settings.sinks.grafana.url=https://a"], "with the key TAPEWATCH_SINKS__GRAFANA__TOKEN, was empty"),
        ([*GROUP, "ray.workers[0].serve=true"], "expected a group with stream: true"),
        ([*BOTH, *OTHER], "a name of its own for each group, was a twice"),
        ([*BOTH, "ray.workers[0].replicas=3", "ray.workers[0].maxReplicas=2"], "at least its replicas, 3, was 2"),
        ([*BOTH, "ray.workers[0].replicas=0"], "expected replicas of a above 0, or with ray.autoscaling"),
        ([*BOTH, "ray.workers[0].replicas=0", "ray.workers[0].maxReplicas=1"], "expected replicas of a above 0"),
        ([*BOTH, "ray.workers[0].name=A_B"], "expected a name of small letters, digits and hyphens, 32 at most"),
        (
            [*WEBHOOK, "networkPolicy.allowOutbound=false"],
            "settings.sinks.webhook.url needs a way to http://hooks.alerts:8443/in",
        ),
        ([*BOTH, "ray.workers[0].replicas=3"], "3 workers that stream need persistence.accessMode: ReadWriteMany"),
        ([*BOTH, "ray.workers[0].maxReplicas=2"], "2 workers that stream need persistence.accessMode: ReadWriteMany"),
        (["persistence.accessMode=ReadWriteOncePod"], "ReadWriteOncePod keeps the second cluster"),
        (["terminationGracePeriodSeconds=30"], "terminationGracePeriodSeconds: expected at least 60"),
        (["backfill.schedule=0 6 * * *"], "backfill.schedule: expected vendor.existingSecret"),
        (["api.service.type=NodePort"], "api.service.type: NodePort brings requests from outside"),
        ([*POLYGON, "networkPolicy.allowOutbound=false"], "source: polygon needs a way to the vendor"),
        (
            ["vendor.existingSecret=k", "backfill.schedule=0 6 * * *", "networkPolicy.allowOutbound=false"],
            "backfill.schedule needs a way to the vendor",
        ),
        (["vendor.existingSecret=k"], "was k with source synthetic"),
        (["vendor.existingSecret=k", "settings.source=push"], "was k with source push"),
        (["redis.gcsAddress=r:6379"], "redis.gcsAddress: expected none beside redis.enabled: true"),
        (["redis.gcsUsername=ray"], "redis.gcsUsername: expected none beside redis.enabled: true"),
        (["postgresql.size=900M"], "postgresql.size: expected at least 1Gi, was 900M"),
        *(
            ([f"monitoring.metrics.port={port}"], "monitoring.metrics.port: expected none of Ray's own")
            for port in (6379, 8000, 8080, 8265, 10001, 44217, 44227, 52365)
        ),
        (["monitoring.grafana.enabled=true"], "expected monitoring.prometheus.enabled and postgresql.enabled"),
        (["redis.enabled=false", "redis.existingSecret=r"], "redis.gcsAddress"),
        (["api.ingress.enabled=true"], "api.ingress.host"),
        (["marketHours.enabled=true"], "(stocks, options, indices), was crypto"),
        (["marketHours.enabled=true", "settings.assets={futures}"], "(stocks, options, indices), was futures"),
    ],
)
def test_what_cannot_work_says_why(wrong: list[str], said: str) -> None:
    done = template(*(f"--set={w}" for w in wrong))
    assert done.returncode != 0
    assert said in done.stderr


def test_a_missing_operator_says_how_to_install_it() -> None:
    done = template(operators=())
    assert done.returncode != 0
    assert "helm install kuberay-operator" in done.stderr
    assert template(operators=OPERATORS[:1]).returncode == 0
    for key in ("serviceMonitor", "podMonitor", "rules"):
        done = template(f"--set=monitoring.{key}.enabled=true", operators=OPERATORS[:1])
        assert done.returncode != 0
        assert f"monitoring.{key}.enabled: the Prometheus operator is missing" in done.stderr


def test_an_operator_that_would_drop_fields_is_refused() -> None:
    kinds = ("ray.io/v1", "ray.io/v1/RayService")
    done = template(operators=kinds)
    assert done.returncode != 0
    assert "The KubeRay operator is older than 1.6" in done.stderr
    assert template(operators=(*kinds, "ray.io/v1/RayCronJob")).returncode == 0


def test_what_is_refused_alone_is_taken_with_what_it_needs() -> None:
    blocks = "networkPolicy.gatewayFrom[0].ipBlock.cidr=10.0.0.0/8"
    for sets in (
        ["api.service.type=NodePort", blocks],
        ["api.service.type=LoadBalancer", "networkPolicy.enabled=false"],
        [*POLYGON, "networkPolicy.allowOutbound=false", "networkPolicy.extraEgress[0].ports[0].port=3128"],
        ["persistence.accessMode=ReadWriteOncePod", "ray.upgradeStrategy=None"],
        [*BOTH, "ray.workers[0].replicas=3", "persistence.enabled=false"],
        ["vendor.existingSecret=k", "backfill.schedule=0 6 * * *"],
        ["settings.source=null", "vendor.existingSecret=k"],
        ["settings.source=push"],
        [*WEBHOOK, "networkPolicy.allowOutbound=false", "networkPolicy.extraEgress[0].ports[0].port=8443"],
        *([f"retention.schedule={s}"] for s in ("@daily", "@every 12h", "0 0 ? * *")),
        [
            "networkPolicy.allowOutbound=false",
            "settings.sinks.grafana.url=http://tw-tapewatch-grafana:3000",
            "sinks.existingSecret=s",
        ],
        ["redis.enabled=false", "redis.existingSecret=r", "redis.gcsAddress=rediss://redis.example.org:6380"],
        [*BOTH, "ray.autoscaling=true", "ray.workers[0].replicas=0", "ray.workers[0].maxReplicas=1"],
        ["settings.http.max_streams=8", "settings.metrics.database_limit_gib=9", "settings.polygon.ws_secure=true"],
    ):
        done = template(*(f"--set={s}" for s in sets))
        assert done.returncode == 0, (sets, done.stderr)


def test_schema_and_readme_are_those_of_the_values() -> None:
    program = chart_program()
    assert json.loads((CHART / "values.schema.json").read_text("utf-8")) == program.schema()
    assert (CHART / "README.md").read_text("utf-8") == program.readme()


def test_the_readme_says_what_every_value_is() -> None:
    told = set(re.findall(r"^\| `([^`]+)` \|.*\| \S.*\|$", (CHART / "README.md").read_text("utf-8"), re.MULTILINE))

    def leaves(value, path: str) -> set[str]:
        if isinstance(value, list) and value and isinstance(value[0], dict) and path not in told:
            return leaves(value[0], f"{path}[]")
        if isinstance(value, dict) and value and path not in told:
            return {leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))}
        if isinstance(value, dict) and value and not path.endswith("resources"):
            return {leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}")}
        return {path}

    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert leaves(values, "") <= told
