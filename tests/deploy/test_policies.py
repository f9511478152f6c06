"""What must hold of every value file: a pod runs where it may, an upgrade replaces what it must and no more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_apps.settings import flatten, load_settings
from tests.deploy.helm import CHART, VALUES, named, pods, rendered, template, templates, variables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
each = pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
HA, KIND, MINIMAL = (CHART / "ci" / f"{name}-values.yaml" for name in ("ha", "kind", "minimal"))
EXTERNAL = CHART / "ci" / "external-services-values.yaml"
LONGEST = 52
"""Of a CronJob's name: its jobs' names get eleven characters more."""
NODES = ("nodeSelector.pool=markets", "tolerations[0].key=markets", "tolerations[0].operator=Exists")
VENDOR = ("settings.source=polygon", "vendor.existingSecret=polygon")


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["containers"], *spec.get("initContainers", [])]


@pytest.mark.parametrize(
    ("size", "limit", "wal"),
    [("20Gi", 18.0, "2048MB"), ("2Gi", 1.8, "204MB"), ("1T", 929.32, "2048MB"), ("2.5Gi", 2.25, "256MB")],
)
def test_the_databases_limit_is_its_volume_less_the_log(size: str, limit: float, wal: str) -> None:
    objects = rendered(MINIMAL, f"postgresql.size={size}")
    told = variables(objects, "RayService/tw-tapewatch/main")
    given = {"TAPEWATCH_METRICS__DATABASE_LIMIT_GIB": told["TAPEWATCH_METRICS__DATABASE_LIMIT_GIB"]}
    assert load_settings(None, None, given).metrics.database_limit_gib == pytest.approx(limit, abs=0.01)
    assert load_settings(None, {"metrics.database_limit_gib": 9}, given).metrics.database_limit_gib == 9
    (database,) = [s for n, s in pods(objects) if n == "StatefulSet/tw-tapewatch-postgresql"]
    assert f"max_wal_size={wal}" in database["containers"][0]["args"]
    yours = variables(rendered(EXTERNAL), "RayService/tw-tapewatch/main")
    assert "TAPEWATCH_METRICS__DATABASE_LIMIT_GIB" not in yours


@each
def test_a_volume_is_walked_once_to_change_its_owner(values: Path) -> None:
    for name, spec in pods(rendered(values)):
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", name


@each
def test_a_budget_lets_a_node_drain(values: Path) -> None:
    objects = rendered(values)
    (service,) = [o for o in objects if o["kind"] == "RayService"]
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    budgets = {
        o["spec"]["selector"]["matchLabels"]["ray.io/group"]: o["spec"]
        for o in objects if o["kind"] == "PodDisruptionBudget"
    }  # fmt: skip
    assert set(budgets) == {g["groupName"] for g in groups if g["replicas"] > 1}
    for group in groups:
        if budget := budgets.get(group["groupName"]):
            assert "maxUnavailable" not in budget  # it asks the owner for a scale, which a RayCluster has not
            assert budget["minAvailable"] == group["replicas"] - 1


@each
def test_the_ingress_and_the_service_meet_the_heads_port(values: Path) -> None:
    objects = rendered(values)
    (service,) = [o for o in objects if o["kind"] == "RayService"]
    (head,) = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    heads = {p["name"]: p["containerPort"] for p in head["ports"]}
    ports = {p["name"]: p["port"] for p in service["spec"]["serveService"]["spec"]["ports"]}
    assert ports == {"serve": 8000} == {"serve": heads["serve"]}
    assert [p["targetPort"] for p in service["spec"]["serveService"]["spec"]["ports"]] == ["serve"]
    for ingress in (o for o in objects if o["kind"] == "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            assert path["backend"]["service"]["port"]["name"] in ports


@each
def test_every_worker_can_be_ready_and_is_asked_only_where_it_answers(values: Path) -> None:
    """KubeRay's own probe asks for Serve's proxy, which runs where a replica does: one gateway for each that serves."""
    (service,) = [o for o in rendered(values) if o["kind"] == "RayService"]
    serving = 0
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        serves = "serve" in group["rayStartParams"]["resources"]
        assert ("serve" in {p["name"] for p in container["ports"]}) is serves
        probe = container["readinessProbe"]
        asked = str(probe.get("exec", {}).get("command", ""))
        assert all(at in asked for at in (":52365/api/healthz", ":8000/-/healthz")) is serves
        assert ("httpGet" in probe) is not serves
        assert probe["failureThreshold"] >= 3
        serving += group["replicas"] if serves else 0
    (gateway,) = gateways(service)
    assert gateway.get("num_replicas", gateway.get("autoscaling_config", {}).get("min_replicas")) == max(1, serving)


def gateways(service: dict[str, Any]) -> list[dict[str, Any]]:
    applications = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    return [d for a in applications for d in a.get("deployments", []) if d["name"] == "gateway"]


def test_gateways_are_added_where_ray_may_add_workers_for_them() -> None:
    def found(*sets: str) -> dict[str, Any]:
        (gateway,) = gateways(named(rendered(HA, *sets), "RayService", "tw-tapewatch"))
        return gateway

    grow = {"min_replicas": 2, "max_replicas": 6, "target_ongoing_requests": 9}
    assert found("ray.gateway.targetOngoingRequests=9")["autoscaling_config"] == grow
    assert found("ray.autoscaling=false") == {"name": "gateway", "num_replicas": 2}


def test_annotations_reach_the_service() -> None:
    objects = rendered(MINIMAL, "api.service.annotations.lb=internal")
    service = named(objects, "RayService", "tw-tapewatch")["spec"]["serveService"]
    assert service["metadata"]["annotations"] == {"lb": "internal"}


def test_workers_start_where_a_volume_of_one_node_is() -> None:
    for values, is_near in ((MINIMAL, True), (HA, False)):
        (service,) = [o for o in rendered(values) if o["kind"] == "RayService"]
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            affinity = group["template"]["spec"].get("affinity")
            assert bool(affinity) is is_near, (values, group["groupName"])
    (term,) = rendered_affinity()["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == {"app.kubernetes.io/instance": "tw"}
    assert term["labelSelector"]["matchExpressions"] == [{"key": "ray.io/group", "operator": "In", "values": ["main"]}]


def rendered_affinity() -> dict[str, Any]:
    service = named(rendered(MINIMAL), "RayService", "tw-tapewatch")
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return group["template"]["spec"]["affinity"]


@each
def test_a_new_version_of_the_chart_alone_replaces_no_pod(values: Path) -> None:
    for name, pod in templates(rendered(values)):
        labels = set(pod["metadata"]["labels"])
        assert labels == {f"app.kubernetes.io/{k}" for k in ("name", "instance", "component")}, name


def test_labels_of_yours_are_texts_and_those_of_the_chart_stand() -> None:
    sets = ("commonLabels.team=5", "commonLabels.app\\.kubernetes\\.io/name=x", "commonLabels.release=mine")
    for o in (*rendered(HA, *sets), *rendered(KIND, *sets)):
        labels = o["metadata"]["labels"]
        assert labels["team"] == "5"
        assert labels["app.kubernetes.io/name"] == "tapewatch"
        assert labels["release"] == ("prometheus" if "monitoring.coreos" in o["apiVersion"] else "mine")
    for name, pod in templates(rendered(KIND, *sets)):
        assert pod["metadata"]["labels"]["team"] == "5", name


def test_annotations_of_the_ray_pods_replace_them() -> None:
    found = {n: p["metadata"].get("annotations", {}) for n, p in templates(rendered(KIND, "podAnnotations.rollout=2"))}
    assert {n for n, a in found.items() if a.get("rollout") == "2"} == {
        "RayService/tw-tapewatch/head", "RayService/tw-tapewatch/main",
    }  # fmt: skip
    assert found["RayService/tw-tapewatch/head"]["prometheus.io/port"] == "9101"


@each
def test_every_pod_runs_where_it_may_and_leaves_its_last_words(values: Path) -> None:
    for name, spec in pods(rendered(values, *NODES)):
        assert spec["nodeSelector"] == {"pool": "markets"}, name
        assert spec["tolerations"] == [{"key": "markets", "operator": "Exists"}], name
        for container in containers(spec):
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", (name, container["name"])


@each
def test_names_fit_however_long_the_releases_is(values: Path) -> None:
    done = template("-f", str(values), "--set=fullnameOverride=a" + "b" * 60, "--set=backfill.assets={options}")
    assert done.returncode == 0, done.stderr
    for o in yaml.safe_load_all(done.stdout):
        if o and o["kind"] == "CronJob":
            assert len(o["metadata"]["name"]) <= LONGEST, o["metadata"]["name"]


def test_two_long_names_that_begin_alike_stay_two() -> None:
    def name(release: str) -> str:
        done = template(release=release)
        assert done.returncode == 0, done.stderr
        (found,) = [o for o in yaml.safe_load_all(done.stdout) if o and o["kind"] == "RayService"]
        return str(found["metadata"]["name"])

    long = "markets-of-the-whole-world-and-more"
    one, other = name(f"{long}-one"), name(f"{long}-two")
    assert one != other
    assert len(one) <= 35
    assert one.startswith("markets-of-the-whole-world-")
    assert name("tw") == "tw-tapewatch"


@each
def test_a_pod_is_replaced_with_the_files_it_reads_once(values: Path) -> None:
    """Prometheus reads its rules at the start; the address of the runbooks is part of them."""

    def sums(*sets: str) -> dict[str, str]:
        found = {n: p["metadata"].get("annotations", {}) for n, p in templates(rendered(values, *sets))}
        return {n: a["checksum/config"] for n, a in found.items() if "checksum/config" in a}

    old, new = sums(), sums("monitoring.rules.runbooks=https://wiki.example.org/")
    assert {n for n in old if old[n] != new[n]} == {n for n in old if "prometheus" in n}


def test_runbooks_and_boards_lead_somewhere() -> None:
    objects = rendered(HA, "monitoring.rules.runbooks=https://wiki.example.org/")
    (rule,) = [o for o in objects if o["kind"] == "PrometheusRule"]
    urls = [r["annotations"]["runbook_url"] for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r]
    assert len(urls) > 5
    assert all(u.startswith("https://wiki.example.org/grafana/RUNBOOK.md#") for u in urls)
    boards = [t for o in objects if o["kind"] == "ConfigMap" for k, t in o["data"].items() if k.endswith(".json")]
    assert len(boards) == 5
    assert all('"https://tapewatch.example.org"' in b and "127.0.0.1" not in b for b in boards)
    (own, *_) = [o for o in rendered(HA, "monitoring.dashboards.gateway=http://tape:8000") if "-board-" in str(o)]
    assert '"http://tape:8000"' in str(own["data"])


def test_the_bundled_prometheus_asks_the_hub_and_every_ray_pod() -> None:
    objects = rendered(KIND)
    config = yaml.safe_load(named(objects, "ConfigMap", "tw-tapewatch-prometheus")["data"]["prometheus.yml"])
    asked = {j["job_name"]: j["dns_sd_configs"][0] for j in config["scrape_configs"]}
    assert {n: (c["names"], c["port"]) for n, c in asked.items()} == {
        "tapewatch": (["tw-tapewatch-metrics"], 9101), "ray": (["tw-tapewatch-ray"], 8080),
    }  # fmt: skip
    services = {o["metadata"]["name"] for o in objects if o["kind"] == "Service"}
    assert {"tw-tapewatch-metrics", "tw-tapewatch-ray"} <= services


def test_grafana_reads_by_a_role_of_its_own() -> None:
    objects = rendered(CHART / "ci" / "laptop-boards-values.yaml")
    sources = yaml.safe_load(named(objects, "ConfigMap", "tw-tapewatch-grafana-provisioning")["data"]["sources.yaml"])
    services = {o["metadata"]["name"] for o in objects if o["kind"] == "Service"}
    for source in sources["datasources"]:
        assert source["url"].removeprefix("http://").partition(":")[0] in services
    assert sources["datasources"][1]["user"] == "grafana"
    (database,) = [s for n, s in pods(objects) if n == "StatefulSet/tw-tapewatch-postgresql"]
    assert "CREATE ROLE grafana" in database["containers"][0]["lifecycle"]["postStart"]["exec"]["command"][-1]
    (plain,) = [s for n, s in pods(rendered(MINIMAL)) if n == "StatefulSet/tw-tapewatch-postgresql"]
    assert (
        "grafana"
        not in plain["containers"][0]["lifecycle"]["postStart"]["exec"]["command"][-1].lower().split("psql")[0]
    )


def test_the_simulator_and_the_supervisor_are_told_the_same() -> None:
    sets = ("settings.simulator.seed=0", "settings.simulator.per_day=0", "settings.simulator.speed=3")
    objects = rendered(MINIMAL, *sets, "settings.simulator.symbols=11000")
    (spec,) = [s for n, s in pods(objects) if n == "Deployment/tw-tapewatch-simulator"]
    args = spec["containers"][0]["args"]
    assert {"--seed=0", "--per-day=0", "--speed=3", "--symbols=11000"} <= set(args)
    serve = yaml.safe_load(named(objects, "RayService", "tw-tapewatch")["spec"]["serveConfigV2"])
    (told,) = [a["deployments"][0]["user_config"] for a in serve["applications"] if a["name"] == "supervisor"]
    assert told["simulator"] == {"seed": 0, "per_day": 0, "speed": 3, "symbols": 11000}


def test_a_sinks_secret_comes_by_the_environment() -> None:
    sets = ("settings.sinks.webhook.url=https://hooks.example.org/x", "sinks.existingSecret=ways-out")
    objects = rendered(MINIMAL, *sets)
    found = {n: s["containers"][0].get("envFrom") for n, s in pods(objects)}
    assert {n: f for n, f in found.items() if f} == {
        "RayService/tw-tapewatch/main": [{"secretRef": {"name": "ways-out"}}]
    }
    serve = yaml.safe_load(named(objects, "RayService", "tw-tapewatch")["spec"]["serveConfigV2"])
    (told,) = [a["deployments"][0]["user_config"] for a in serve["applications"] if a["name"] == "supervisor"]
    settings = load_settings(None, flatten(told), {"TAPEWATCH_SINKS__WEBHOOK__SECRET": "hush-hush"})
    assert settings.sinks.webhook.secret is not None
    assert settings.sinks.webhook.secret.get_secret_value() == "hush-hush"


def test_the_autoscaler_passes_a_restricted_namespace() -> None:
    service = named(rendered(HA), "RayService", "tw-tapewatch")["spec"]["rayClusterConfig"]
    options = service["autoscalerOptions"]
    assert (
        options["securityContext"] == service["headGroupSpec"]["template"]["spec"]["containers"][0]["securityContext"]
    )
    assert {"cpu", "memory"} <= set(options["resources"]["limits"])
    head = service["headGroupSpec"]["template"]["spec"]
    (token,) = [v["name"] for v in head["volumes"] if "projected" in v]
    mounts = {m["name"]: m["mountPath"] for m in options["volumeMounts"]}
    assert mounts[token] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert token not in {m["name"] for c in head["containers"] for m in c["volumeMounts"]}  # the autoscaler's alone
    assert "autoscalerOptions" not in named(rendered(MINIMAL), "RayService", "tw-tapewatch")["spec"]["rayClusterConfig"]


def test_a_user_of_redis_is_named() -> None:
    service = named(rendered(HA, "redis.gcsUsername=ray"), "RayService", "tw-tapewatch")["spec"]["rayClusterConfig"]
    assert service["gcsFaultToleranceOptions"]["redisUsername"] == {"value": "ray"}


def test_a_simulated_market_runs_where_it_is_watched() -> None:
    name = "Deployment/tw-tapewatch-simulator"
    assert name in dict(pods(rendered(MINIMAL)))
    for sets in (("settings.source=push",), VENDOR):
        objects = rendered(MINIMAL, *sets)
        assert name not in dict(pods(objects))
        assert not [o for o in objects if o["metadata"]["name"].endswith("-simulator")]


def test_a_metric_is_scraped_one_way() -> None:
    """A Prometheus that goes by monitors and annotations would count every bar twice."""

    def is_told(*sets: str) -> bool:
        service = named(rendered(MINIMAL, *sets), "RayService", "tw-tapewatch")["spec"]["rayClusterConfig"]
        return "prometheus.io/scrape" in service["headGroupSpec"]["template"]["metadata"].get("annotations", {})

    assert is_told()
    assert not is_told("monitoring.serviceMonitor.enabled=true")
    assert not is_told("monitoring.metrics.scrapeAnnotations=false")
