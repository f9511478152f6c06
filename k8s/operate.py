"""Do what operators do, on the cluster in KUBECONFIG: scale, drain, split, autoscale, close the market, bring servers.

`python -m k8s.operate` installs the chart once for each, prints one line per check and a summary, and uninstalls; it
exits 1 where a check fails. The image and those of `ci/kind-values.yaml` must be in the cluster already.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from k8s.reach import CHART, READY_S, RELEASE, Bars, Run, until

BACK_S = 240.0
ONE = ("ray.workers[0].replicas=1", "persistence.accessMode=ReadWriteMany")
TWO = ("ray.workers[0].replicas=2", "ray.workers[0].maxReplicas=2", "persistence.accessMode=ReadWriteMany")
SPLIT = (
    "ray.workers[0].serve=false",
    "ray.workers[1].name=serve",
    "ray.workers[1].serve=true",
    "ray.workers[1].replicas=1",
    "ray.workers[1].resources.requests.memory=1Gi",
    "ray.workers[1].resources.requests.cpu=200m",
    "ray.workers[1].resources.limits.memory=3Gi",
)
GROWING = (*SPLIT, "ray.workers[1].maxReplicas=2", "ray.autoscaling=true", "ray.gateway.targetOngoingRequests=1")
HOURS = ("settings.assets={stocks}", "marketHours.enabled=true")
ASKERS = 12
"""Requests in flight, of gateways that are to hold one each."""


class Operator:
    """The checks; each installs and uninstalls."""

    def __init__(self, on: Run) -> None:
        self.on = on

    def scale_and_drain(self) -> None:
        """Two workers, one of them evicted, one again."""
        with self.installed("install one worker", *ONE):
            self.on.check("a second worker by an upgrade", lambda: self.scaled(TWO, 2))
            self.on.check("a worker drained", self.drained)
            self.on.check("one worker by an upgrade", lambda: self.scaled(ONE, 1))

    def split(self) -> None:
        """Workers that stream beside workers that serve."""
        with self.installed("install two groups", *SPLIT):
            self.on.check("each group ready", lambda: self.ready({"main": 1, "serve": 1}))
            self.on.check("requests go to what serves", self.endpoints)

    def autoscale(self) -> None:
        """Bring a worker by requests that wait."""
        with self.installed("install with an autoscaler", *GROWING):
            self.on.check("a worker for requests that wait", self.grown)

    def hours(self) -> None:
        """Close the market, upgrade, open it."""
        with self.installed("install with market hours", *HOURS):
            self.on.check("the market closes", lambda: self.told("close", 0))
            self.on.check("an upgrade leaves it closed", self.upgraded_closed)
            self.on.check("the market opens", lambda: self.told("open", 1))

    def external(self) -> None:
        """Install on a PostgreSQL and a Redis that are not the chart's."""
        with self.servers(), self.installed("install on servers of ours", values="external-services"):
            self.on.check("helm test on them", self.tested)

    @contextlib.contextmanager
    def installed(self, name: str, *sets: str, values: str = "kind") -> Iterator[None]:
        """Install, wait until it serves; uninstall whatever came between, and see it gone."""
        file = str(CHART / "ci" / f"{values}-values.yaml")
        self.sets = sets

        def install() -> str:
            began = time.monotonic()
            chosen = [f"--set={s}" for s in sets]
            self.on.helm("install", RELEASE, str(CHART), "-f", file, *chosen, "--timeout", "8m")
            until(self.on.is_running, READY_S, "the RayService to run")
            return f"ready after {time.monotonic() - began:.0f} s"

        self.on.check(name, install)
        try:
            yield
        finally:
            self.on.check("uninstall", lambda: f"nothing left {self.on.uninstall():.0f} s later")

    @contextlib.contextmanager
    def servers(self) -> Iterator[None]:
        """Run a PostgreSQL and a Redis beside the release."""
        kubectl = self.on.kubectl
        kubectl("run", "theirs", "--image=postgres:15", "--port=5432", "--expose", "--env=POSTGRES_PASSWORD=right")
        kubectl("run", "theirs-redis", "--image=redis:7", "--port=6379", "--expose")
        urls = {"database": "postgresql://postgres:right@theirs:5432/postgres", "redis": "redis://theirs-redis:6379/0"}
        for what, url in urls.items():
            kubectl("create", "secret", "generic", f"{RELEASE}-{what}", f"--from-literal=url={url}")
        try:
            yield
        finally:
            kubectl("delete", "pod,service", "theirs", "theirs-redis")
            kubectl("delete", "secret", *(f"{RELEASE}-{what}" for what in urls))

    def ready_pods(self) -> dict[str, int]:
        """Count the workers that are ready by their group."""
        found: dict[str, int] = {}
        for pod in json.loads(self.on.kubectl("get", "pods", "-l", "ray.io/node-type=worker", "-o", "json"))["items"]:
            conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
            if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
                group = pod["metadata"]["labels"]["ray.io/group"]
                found[group] = found.get(group, 0) + 1
        return found

    def ready(self, wanted: dict[str, int]) -> str:
        """Wait for so many of each group, and bars."""
        bars = Bars(self.on)
        took = until(lambda: bars.look() and self.ready_pods() == wanted, BACK_S, f"ready workers {wanted}")
        asked = time.monotonic()
        until(lambda: bars.look() and bars.moved_s > asked, BACK_S, "bars")
        return f"ready after {took:.0f} s, bars stood for {bars.stood_s:.0f} s"

    def upgrade(self, *sets: str) -> None:
        """Upgrade with these values beside those of the install."""
        chosen = [f"--set={s}" for s in (*self.sets, *sets)]
        self.on.helm("upgrade", RELEASE, str(CHART), *self.on.values, *chosen, "--timeout", "8m")

    def scaled(self, sets: tuple[str, ...], n: int) -> str:
        """Ask for so many workers."""
        self.upgrade(*sets)
        return self.ready({"main": n})

    def drained(self) -> str:
        """Evict a worker as `kubectl drain` does; the budget keeps the other."""
        first, second = self.on.pods("worker")
        bars = Bars(self.on)
        self.evict(first)
        with contextlib.suppress(AssertionError):
            self.evict(second)
            raise ValueError("expected the budget to keep the other worker, was evicted")
        until(lambda: bars.look() and first not in self.on.pods("worker"), BACK_S, "the pod to go")
        until(lambda: bars.look() and self.ready_pods() == {"main": 2}, BACK_S, "two workers ready")
        asked = time.monotonic()
        until(lambda: bars.look() and bars.moved_s > asked, BACK_S, "bars")
        return f"the other kept by the budget, bars stood for {bars.stood_s:.0f} s"

    def evict(self, pod: str) -> None:
        """Ask the API server for it."""
        name = {"name": pod, "namespace": self.on.namespace}
        with tempfile.TemporaryDirectory() as folder:
            body = Path(folder) / "eviction.json"
            body.write_text(json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}))
            path = f"/api/v1/namespaces/{self.on.namespace}/pods/{pod}/eviction"
            self.on.kubectl("create", "--raw", path, "-f", str(body))

    def endpoints(self) -> str:
        """Hold the addresses behind the Service against the workers that serve."""
        slices = f"kubernetes.io/service-name={RELEASE}"
        found = json.loads(self.on.kubectl("get", "endpointslices", "-l", slices, "-o", "json"))["items"]
        asked = [s for s in found if s["ports"]]  # pods without the named port are in a slice without ports
        behind = {e["targetRef"]["name"] for s in asked for e in s["endpoints"] if e["conditions"]["ready"]}
        said = self.on.kubectl("get", "pods", "-l", "ray.io/group=main", "-o", "name")
        streams = {name.removeprefix("pod/") for name in said.split()}
        assert behind, "expected endpoints, was none"
        assert not behind & streams, f"expected no worker that only streams, was {behind & streams}"
        return f"{len(behind)} behind the Service, none that only streams"

    def grown(self) -> str:
        """Ask without rest until another worker serves."""
        done = threading.Event()
        with self.on.service(RELEASE, 8000) as client:

            def ask() -> None:
                while not done.is_set():
                    with contextlib.suppress(httpx.HTTPError):
                        client.get("/v1/anomalies?limit=500")

            askers = [threading.Thread(target=ask, daemon=True) for _ in range(ASKERS)]
            for asker in askers:
                asker.start()
            try:
                took = until(lambda: self.ready_pods().get("serve") == 2, READY_S, "a second worker that serves")
            finally:
                done.set()
                for asker in askers:
                    asker.join(30)
        return f"ready {took:.0f} s after the first request"

    def told(self, order: str, n: int) -> str:
        """Start the job that the clock would start."""
        self.on.kubectl("create", "job", f"now-{order}", f"--from=cronjob/{RELEASE}-hours-{order}")
        self.on.kubectl("wait", "--for=condition=complete", f"job/now-{order}", "--timeout=120s", timeout=150)
        if n:
            return self.ready({"main": n})
        return f"no worker after {until(lambda: not self.on.pods('worker'), BACK_S, 'no worker'):.0f} s"

    def upgraded_closed(self) -> str:
        """Upgrade; see no worker come."""
        self.upgrade("settings.budget.notifications_per_day=77")
        time.sleep(30)
        assert not self.on.pods("worker"), f"expected none, was {self.on.pods('worker')}"
        return "no worker 30 s later"

    def tested(self) -> str:
        """Run the chart's own test."""
        self.on.helm("test", RELEASE, "--timeout", "5m")
        return self.on.kubectl("logs", f"{RELEASE}-test-bar").strip().splitlines()[-1]


def main() -> int:
    """Run; 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    works = ("scale_and_drain", "split", "external", "hours", "autoscale")
    parser.add_argument("only", nargs="*", choices=[*works, []], help="all where none is given")
    parser.add_argument("--namespace", default="tapewatch-operate")
    given = parser.parse_args()
    on = Run(given.namespace, ["-f", str(CHART / "ci" / "kind-values.yaml")])
    began = time.monotonic()
    with on.space():
        for name in given.only or works:
            getattr(Operator(on), name)()
    return on.end(began)


if __name__ == "__main__":
    sys.exit(main())
