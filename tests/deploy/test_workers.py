"""How many workers run: those of market hours go and come back, an upgrade's numbers reach the live cluster."""

import copy
import importlib.machinery
import importlib.util
import json
from typing import Any

import httpx
import pytest

from tests.deploy.helm import CHART, ROOT, named, rendered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
BASE = "/apis/ray.io/v1/namespaces/markets"


def program() -> Any:
    path = ROOT / "k8s" / "image" / "workers"
    loader = importlib.machinery.SourceFileLoader("workers", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("workers", loader))
    loader.exec_module(module)
    return module


class ApiServer:
    """What the API server holds of one RayService, behind the paths and verbs the role allows."""

    def __init__(self, values: str) -> None:
        (self.service,) = [o for o in rendered(CHART / "ci" / values) if o["kind"] == "RayService"]
        self.service = copy.deepcopy(self.service)
        self.n_patches = 0
        spec = copy.deepcopy(self.service["spec"]["rayClusterConfig"])
        self.clusters = {"tw-tapewatch-x7": spec}

    def upgrade(self) -> None:
        """Make a second cluster of what the service says, as KubeRay does for another image."""
        self.clusters["tw-tapewatch-x8"] = copy.deepcopy(self.service["spec"]["rayClusterConfig"])

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if (request.method, path) == ("GET", f"{BASE}/rayservices/tw-tapewatch"):
            return httpx.Response(200, json=self.service)
        if (request.method, path) == ("GET", f"{BASE}/rayclusters"):
            assert request.url.params["labelSelector"] == "ray.io/originated-from-cr-name=tw-tapewatch"
            items = [{"metadata": {"name": name}, "spec": spec} for name, spec in self.clusters.items()]
            return httpx.Response(200, json={"items": items})
        name = path.removeprefix(f"{BASE}/rayclusters/")
        if request.method == "PATCH" and name in self.clusters:
            assert request.headers["content-type"] == "application/json-patch+json"
            self.n_patches += 1
            is_done = all(self._apply(name, op) for op in json.loads(request.content))
            return httpx.Response(200 if is_done else 422)
        return httpx.Response(403)

    def _apply(self, cluster: str, op: dict[str, Any]) -> bool:
        *way, key = op["path"].removeprefix("/spec/").split("/")
        at: Any = self.clusters[cluster]
        for step in way:
            at = at[int(step)] if step.isdigit() else at[step]
        if op["op"] == "test":
            return bool(at[key] == op["value"])
        at[key] = op["value"]
        return True

    def replicas(self, cluster: str = "tw-tapewatch-x7") -> dict[str, tuple[int, int, int]]:
        groups = self.clusters[cluster]["workerGroupSpecs"]
        return {g["groupName"]: (g["replicas"], g["minReplicas"], g["maxReplicas"]) for g in groups}


def run(api: ApiServer, order: str, groups: list[str]) -> int:
    with httpx.Client(base_url="https://api", transport=httpx.MockTransport(api.answer)) as client:
        return int(program().main(client, order, "markets", "tw-tapewatch", groups))


def test_workers_that_stream_go_and_come_back() -> None:
    api = ApiServer("ha-values.yaml")
    assert run(api, "close", ["stream"]) == 1
    assert api.replicas() == {"stream": (0, 0, 0), "serve": (2, 2, 6)}
    assert run(api, "close", ["stream"]) == 1
    assert run(api, "open", ["stream"]) == 1
    assert api.replicas() == {"stream": (2, 2, 2), "serve": (2, 2, 6)}


def test_what_was_upgraded_meanwhile_comes_back() -> None:
    api = ApiServer("market-hours-values.yaml")
    run(api, "close", ["stream"])
    group = api.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    group["replicas"] = group["maxReplicas"] = 3
    run(api, "open", ["stream"])
    assert api.replicas() == {"stream": (3, 1, 3), "serve": (1, 1, 1)}
    assert api.clusters["tw-tapewatch-x7"]["headGroupSpec"] == api.service["spec"]["rayClusterConfig"]["headGroupSpec"]


def test_an_upgrade_reaches_the_live_cluster() -> None:
    api = ApiServer("kind-values.yaml")
    group = api.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    group["replicas"] = group["minReplicas"] = group["maxReplicas"] = 2
    assert run(api, "resize", ["main"]) == 1
    assert api.replicas() == {"main": (2, 2, 2)}
    assert api.n_patches == 1
    assert run(api, "resize", ["main"]) == 1
    assert api.n_patches == 1


def test_an_upgrade_opens_no_closed_market() -> None:
    api = ApiServer("market-hours-values.yaml")
    run(api, "close", ["stream"])
    group = api.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    group["replicas"] = group["minReplicas"] = group["maxReplicas"] = 2
    run(api, "resize", ["stream", "serve"])
    assert api.replicas() == {"stream": (0, 0, 0), "serve": (1, 1, 1)}
    run(api, "open", ["stream"])
    assert api.replicas() == {"stream": (2, 2, 2), "serve": (1, 1, 1)}


def test_hours_turned_off_while_the_market_is_closed_open_it() -> None:
    api = ApiServer("market-hours-values.yaml")
    run(api, "close", ["stream"])
    run(api, "reopen", ["stream", "serve"])
    assert api.replicas() == {"stream": (1, 1, 1), "serve": (1, 1, 1)}


def test_an_upgrade_needs_no_cluster_and_market_hours_do() -> None:
    api = ApiServer("market-hours-values.yaml")
    api.clusters.clear()
    for order in ("resize", "reopen"):
        assert run(api, order, ["stream", "serve"]) == 0
    for order in ("open", "close"):
        with pytest.raises(LookupError, match="expected a RayCluster of tw-tapewatch in markets, was none"):
            run(api, order, ["stream"])


def test_a_second_cluster_is_open_whatever_the_hour_until_it_is_closed() -> None:
    """It takes over when its supervisor runs, and that needs a worker that streams."""
    api = ApiServer("market-hours-values.yaml")
    run(api, "close", ["stream"])
    api.upgrade()
    assert run(api, "resize", ["stream", "serve"]) == 2
    assert api.replicas() == {"stream": (0, 0, 0), "serve": (1, 1, 1)}
    assert api.replicas("tw-tapewatch-x8") == {"stream": (1, 1, 1), "serve": (1, 1, 1)}
    assert run(api, "close", ["stream"]) == 2
    assert api.replicas("tw-tapewatch-x8") == api.replicas()


def test_an_upgrade_leaves_the_autoscaler_its_choice() -> None:
    api = ApiServer("ha-values.yaml")
    (serve,) = [g for g in api.clusters["tw-tapewatch-x7"]["workerGroupSpecs"] if g["groupName"] == "serve"]
    serve["replicas"] = 5
    (wanted,) = [g for g in api.service["spec"]["rayClusterConfig"]["workerGroupSpecs"] if g["groupName"] == "serve"]
    wanted["minReplicas"], wanted["maxReplicas"] = 3, 8
    for order in ("resize", "reopen"):
        run(api, order, ["stream", "serve"])
        assert api.replicas() == {"stream": (2, 2, 2), "serve": (5, 3, 8)}
    run(api, "close", ["stream", "serve"])
    run(api, "reopen", ["stream", "serve"])
    assert api.replicas() == {"stream": (2, 2, 2), "serve": (2, 3, 8)}


def test_another_order_and_a_refusal_are_said() -> None:
    api = ApiServer("market-hours-values.yaml")
    with pytest.raises(ValueError, match="expected one of open, close, resize, reopen, was 'shut'"):
        run(api, "shut", ["stream"])
    with (
        httpx.Client(base_url="https://api", transport=httpx.MockTransport(api.answer)) as client,
        pytest.raises(httpx.HTTPStatusError, match="403"),
    ):
        program().main(client, "open", "other", "tw-tapewatch", ["stream"])


def test_the_jobs_name_their_groups_and_may_do_no_more() -> None:
    objects = rendered(CHART / "ci" / "market-hours-values.yaml")
    jobs = [o for o in objects if o["kind"] == "CronJob" and "hours" in o["metadata"]["name"]]
    assert [(j["spec"]["schedule"], j["spec"]["timeZone"]) for j in jobs] == [
        ("30 3 * * 1-5", "America/New_York"), ("15 20 * * 1-5", "America/New_York"),
    ]  # fmt: skip
    for job, order in zip(jobs, ("open", "close"), strict=True):
        (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["workers", order, "markets", "tw-tapewatch", "stream"]
    (service,) = [o for o in objects if o["kind"] == "RayService"]
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert [g["groupName"] for g in groups if "serve" in g["rayStartParams"]["resources"]] == ["serve"]
    role = named(objects, "Role", "tw-tapewatch-workers")
    allowed = {(r["resources"][0], verb) for r in role["rules"] for verb in r["verbs"]}
    assert allowed == {("rayservices", "get"), ("rayclusters", "list"), ("rayclusters", "patch")}
    off = rendered(CHART / "ci" / "ha-values.yaml")
    assert not [o for o in off if "hours" in o["metadata"]["name"]]
    resize = named(off, "Job", "tw-tapewatch-workers-resize")
    assert resize["metadata"]["annotations"]["helm.sh/hook"] == "post-upgrade,post-rollback"
    (container,) = resize["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["workers", "reopen", "markets", "tw-tapewatch", "stream", "serve"]
    (container,) = named(objects, "Job", "tw-tapewatch-workers-resize")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["workers", "resize", "markets", "tw-tapewatch", "stream", "serve"]
