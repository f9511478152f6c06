"""Reach a release on the cluster in KUBECONFIG: by kubectl and Helm, through its Services, in its database."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "tapewatch"
RELEASE = "tapewatch"
READY_S = 600.0
LEFT_S = 420.0
"""Without its image the operator cannot sweep Redis of a cluster; it gives up after five minutes."""
BURSTS = "histogram_quantile(0.99, sum by (le) (rate(tapewatch_burst_seconds_bucket[{}])))"
LOOK_S = 2.0
ENFORCE = "pod-security.kubernetes.io/enforce"


@dataclass
class Run:
    """The checks so far, and what reaches the cluster."""

    namespace: str
    values: list[str]
    failed: list[str] = field(default_factory=list)
    n_passed: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    def check(self, name: str, work: Callable[[], str]) -> None:
        """Run a check; print its line."""
        began = time.monotonic()
        try:
            said = work()
        except (AssertionError, subprocess.SubprocessError, httpx.HTTPError, KeyError, ValueError) as e:
            self.failed.append(name)
            print(f"FAIL {name}: {str(e)[:600]}", flush=True)
            return
        self.n_passed += 1
        print(f"ok   {name:<34} {time.monotonic() - began:6.1f} s  {said}", flush=True)

    def kubectl(self, *arguments: str, timeout: float = 120) -> str:
        """Run kubectl in the namespace; give what it printed."""
        return run(["kubectl", "-n", self.namespace, *arguments], timeout)

    def helm(self, *arguments: str, timeout: float = 600) -> str:
        """Run Helm in the namespace."""
        return run(["helm", "-n", self.namespace, *arguments], timeout)

    def sql(self, query: str) -> list[list[str]]:
        """Ask the bundled database."""
        said = self.kubectl("exec", f"{RELEASE}-postgresql-0", "--", "psql", "-U", "tapewatch", "-tA", "-c", query)
        return [line.split("|") for line in said.splitlines() if line]

    def pods(self, component: str) -> list[str]:
        """Name the pods of a component that are not ending."""
        said = json.loads(self.kubectl("get", "pods", "-l", f"app.kubernetes.io/component={component}", "-o", "json"))
        return [p["metadata"]["name"] for p in said["items"] if "deletionTimestamp" not in p["metadata"]]

    def is_running(self) -> bool:
        """Say whether the RayService serves."""
        status = json.loads(self.kubectl("get", "rayservice", RELEASE, "-o", "json"))["status"]
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        return conditions.get("Ready") == "True"

    def burst_p99_s(self, last: str) -> float:
        """Give how long 99 of 100 bursts of the last while (`1m`) took at most, from the bundled Prometheus."""
        with self.service(f"{RELEASE}-prometheus", 9090) as client:
            found = client.get("/api/v1/query", params={"query": BURSTS.format(last)}).json()["data"]["result"]
        assert found, "expected bursts counted, was none"
        return float(found[0]["value"][1])

    def left(self) -> list[str]:
        """Name what is left of the release but its volumes."""
        mine = f"app.kubernetes.io/instance={RELEASE}"
        kinds = "rayservice,raycluster,all,secret,configmap,pdb"
        return self.kubectl("get", kinds, "-l", mine, "-o", "name").split()

    def uninstall(self, *options: str) -> float:
        """Uninstall, volumes too; give the seconds until nothing was left."""
        self.helm("uninstall", RELEASE, "--wait", "--timeout", "6m", *options)
        self.kubectl("delete", "pvc", "-l", f"app.kubernetes.io/instance={RELEASE}", "--wait=false")
        return until(lambda: not self.left(), LEFT_S, "nothing left")

    @contextlib.contextmanager
    def space(self, enforce: str = "privileged", keep: bool = False) -> Iterator[None]:
        """Make the namespace, in which pods of a standard alone are admitted; delete it in the end.

        The chart's pods are restricted; servers that some proofs run beside them are not.
        """
        run(["kubectl", "create", "namespace", self.namespace])
        try:
            run(["kubectl", "label", "namespace", self.namespace, f"{ENFORCE}={enforce}"])
            account = ("get", "serviceaccount", "default", "-o", "name")
            until(lambda: self.kubectl(*account), 60, "an account for the namespace's pods")
            yield
        finally:
            if not keep:
                self.check("namespace deleted", self._delete)

    def _delete(self) -> str:
        run(["kubectl", "delete", "namespace", self.namespace, "--timeout=120s"], 180)
        return "gone"

    def end(self, began_s: float) -> int:
        """Print the summary of the checks; give the exit code."""
        took_s = time.monotonic() - began_s
        print(f"{self.n_passed} passed, {len(self.failed)} failed in {took_s:.0f} s", flush=True)
        return 1 if self.failed else 0

    def memory(self) -> dict[str, float]:
        """Give the working set of each component in MB, as the nodes tell it."""
        return {component: used / 2**20 for component, used in self._told("memory", "workingSetBytes").items()}

    def processor_s(self) -> dict[str, float]:
        """Give the processor seconds that the pods of each component have taken so far."""
        return {component: used / 1e9 for component, used in self._told("cpu", "usageCoreNanoSeconds").items()}

    def _told(self, what: str, key: str) -> dict[str, float]:
        used: dict[str, float] = {}
        pods = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        label = {p["metadata"]["name"]: p["metadata"]["labels"].get("app.kubernetes.io/component", "") for p in pods}
        for node in {p["spec"].get("nodeName") for p in pods} - {None}:
            said = json.loads(self.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
            for pod in said["pods"]:
                ref = pod["podRef"]
                if ref["namespace"] == self.namespace and label.get(ref["name"]) and key in pod.get(what, {}):
                    component = label[ref["name"]]
                    used[component] = used.get(component, 0.0) + pod[what][key]
        return used

    @contextlib.contextmanager
    def service(self, name: str, port: int) -> Iterator[httpx.Client]:
        """Reach a Service from here."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            own = free.getsockname()[1]
        command = ["kubectl", "-n", self.namespace, "port-forward", f"service/{name}", f"{own}:{port}"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=20, trust_env=False) as client:
                until(lambda: answers(client), 30, f"an answer of {name}")
                yield client
        finally:
            child.terminate()
            child.wait(10)


def run(command: list[str], timeout: float = 120) -> str:
    """Run a command; give its output, raise with its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    if done.returncode:
        raise AssertionError(f"{' '.join(command[:6])}: {done.stderr.strip()[-500:] or done.stdout[-500:]}")
    return done.stdout


def answers(client: httpx.Client) -> bool:
    """Say whether anything answers."""
    try:
        client.get("/")
    except httpx.HTTPError:
        return False
    return True


def until(is_so: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait; give the seconds it took."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(AssertionError, httpx.HTTPError, subprocess.TimeoutExpired, KeyError, ValueError):
            if is_so():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError(f"expected {what} within {seconds:.0f} s")
        time.sleep(LOOK_S)


class Bars:
    """The newest minute stored: when it last moved, and how long it stood at most since this began."""

    def __init__(self, on: Run) -> None:
        self._on = on
        self._newest = ""
        self.moved_s = time.monotonic()
        self.stood_s = 0.0

    def look(self) -> bool:
        """Look; always true, so that it may stand before what is waited for."""
        newest, now_s = self._on.sql("SELECT max(ts) FROM bars")[0][0], time.monotonic()
        self.stood_s = max(self.stood_s, now_s - self.moved_s)
        if newest != self._newest:
            self._newest, self.moved_s = newest, now_s
        return True
