"""Prove the chart on the cluster in KUBECONFIG: install, watch, upgrade, kill, roll back, uninstall.

`python k8s/e2e.py` prints one line per check and a summary; it exits 1 where one fails. The image must be in the
cluster already, or `--build COMMAND` makes it (run in the repository, `{tag}` is filled in).
"""

import argparse
import contextlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "tapewatch"
RELEASE = "tapewatch"
LOOK_S = 2.0
INSTALL_S, READY_S, BACK_S = 480.0, 600.0, 240.0
SAMPLE = 25
"""Symbols of each class whose stored minutes are held against the simulator's history."""


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


class Proof:
    """The checks in their order."""

    def __init__(self, on: Run) -> None:
        self.on = on

    def all(self, keep: bool) -> None:
        """Run every check."""
        on = self.on
        on.check("install", self.install)
        on.check("ready", self.ready)
        on.check("helm test", self.test)
        on.check("bars arrive", self.bars)
        on.check("anomalies arrive", self.anomalies)
        on.check("http through the Service", self.http)
        on.check("prometheus scrapes the hub", self.prometheus)
        on.check("upgrade in place", self.upgrade)
        on.check("worker pod killed", lambda: self.killed("worker"))
        on.check("head pod killed", lambda: self.killed("head"))
        on.check("roll back", self.rollback)
        on.check("no bar lost", self.nothing_lost)
        on.check("no alert doubled", self.nothing_doubled)
        if not keep:
            on.check("uninstall", self.uninstall)
            on.check("only volumes left", self.left)

    def install(self) -> str:
        """Install with the kind profile."""
        began = time.monotonic()
        self.on.helm("install", RELEASE, str(CHART), "--create-namespace", *self.on.values, "--timeout", "8m")
        self.on.figures["install_s"] = time.monotonic() - began
        return "hooks done"

    def ready(self) -> str:
        """Wait until the RayService is ready."""
        took = until(self._is_running, READY_S, "the RayService to run")
        self.on.figures["ready_s"] = self.on.figures.get("install_s", 0.0) + took
        return f"{self.on.figures['ready_s']:.0f} s after helm install began"

    def _is_running(self) -> bool:
        status = json.loads(self.on.kubectl("get", "rayservice", RELEASE, "-o", "json"))["status"]
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        return conditions.get("Ready") == "True"

    def test(self) -> str:
        """Run the chart's own test."""
        self.on.helm("test", RELEASE, "--timeout", "5m")
        return self.on.kubectl("logs", f"{RELEASE}-test-bar").strip().splitlines()[-1]

    def bars(self) -> str:
        """See minutes come."""
        before = int(self.on.sql("SELECT count(*) FROM bars")[0][0])
        until(lambda: int(self.on.sql("SELECT count(*) FROM bars")[0][0]) > before + 100, 120, "new bars")
        return f"{int(self.on.sql('SELECT count(*) FROM bars')[0][0]):,} stored"

    def anomalies(self) -> str:
        """See what the simulator injects be called."""
        until(lambda: self.on.sql("SELECT 1 FROM anomalies LIMIT 1"), 300, "an anomaly")
        kind, symbol = self.on.sql("SELECT kind, symbol FROM anomalies ORDER BY ts DESC LIMIT 1")[0]
        return f"the newest is {kind} of {symbol}"

    def http(self) -> str:
        """Ask the gateway."""
        with self.on.service(RELEASE, 8000) as client:
            parts = client.get("/readyz").json()
            found = client.get("/v1/anomalies?limit=5").json()["items"]
            refused = client.post("/v1/bars", json={"asset_class": "crypto", "bars": []})
        assert found, "expected anomalies, was none"
        assert refused.status_code == 401, f"expected 401 without a token, was {refused.status_code}"
        return f"ready {parts.get('ready')}, {len(found)} anomalies, 401 without a token"

    def prometheus(self) -> str:
        """Ask the bundled Prometheus."""
        with self.on.service(f"{RELEASE}-prometheus", 9090) as client:

            def has_bars() -> bool:
                found = client.get("/api/v1/query", params={"query": "sum(tapewatch_bars_received_total)"}).json()
                return bool(found["data"]["result"])

            until(has_bars, 120, "bars counted in Prometheus")
            targets = client.get("/api/v1/targets").json()["data"]["activeTargets"]
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
        up = [t["health"] for t in targets]
        assert up == ["up"], f"expected one target up, was {up}"
        wrong = [r["name"] for g in groups for r in g["rules"] if r["health"] == "err"]
        assert not wrong, f"expected rules without errors, was {wrong}"
        return f"1 target up, {sum(len(g['rules']) for g in groups)} rules"

    def upgrade(self) -> str:
        """Change what may change under load; see it hold, and no pod be replaced."""
        before = (self.on.pods("head"), self.on.pods("worker"))
        blind = self._blind()
        change = ["--set", "settings.budget.notifications_per_day=77"]
        self.on.helm("upgrade", RELEASE, str(CHART), *self.on.values, *change, "--timeout", "8m")
        worker = before[1][0]
        until(
            lambda: "budget.notifications_per_day" in self.on.kubectl("logs", worker, "-c", "ray-worker"),
            180, "the change taken over",
        )  # fmt: skip
        assert (self.on.pods("head"), self.on.pods("worker")) == before, "expected the same pods"
        self.on.figures["upgrade_blind_s"] = self._blind() - blind
        return f"in force, same pods, {self.on.figures['upgrade_blind_s']:.0f} s blind"

    def killed(self, component: str) -> str:
        """Kill a pod; wait until bars are stored again."""
        (pod, *_) = self.on.pods(component)
        blind, began = self._blind(), time.monotonic()
        self.on.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        newest = self.on.sql("SELECT max(ts) FROM bars")[0][0]
        time.sleep(10)
        until(lambda: self.on.pods(component) and self.on.pods(component) != [pod], BACK_S, "another pod")
        until(lambda: self._moved(newest), BACK_S, "bars after it")
        took = time.monotonic() - began
        until(self._is_live, BACK_S, "every feed live")
        self.on.figures[f"{component}_kill_s"] = took
        return f"bars again after {took:.0f} s, {self._blind() - blind:.0f} s blind"

    def _moved(self, newest: str) -> bool:
        time.sleep(5)
        return self.on.sql("SELECT max(ts) FROM bars")[0][0] > newest

    def _is_live(self) -> bool:
        rows = self.on.sql("SELECT status FROM feeds")
        return bool(rows) and all(row == ["live"] for row in rows)

    def _blind(self) -> float:
        found = self.on.sql("SELECT coalesce(sum(blind_s), 0) FROM gaps")
        return float(found[0][0])

    def rollback(self) -> str:
        """Go back to the first revision."""
        self.on.helm("rollback", RELEASE, "1", "--timeout", "8m")
        until(self._is_live, BACK_S, "every feed live")
        return "feeds live"

    def nothing_lost(self) -> str:
        """Hold stored minutes against the simulator's own history."""
        n, missing = 0, []
        with self.on.service(f"{RELEASE}-simulator", 8080) as client:
            for asset_class in ("stocks", "crypto"):
                for symbol, ticker, first_ms, last_ms, stored in self._stored(asset_class):
                    want = _minutes(client, ticker, first_ms, last_ms)
                    n += len(want)
                    missing += [f"{symbol} {t}" for t in sorted(want - stored)]
        assert n > 100, f"expected minutes to compare, was {n}"
        assert not missing, f"expected every minute stored, was {len(missing)} of {n} missing: {missing[:5]}"
        return f"{n:,} minutes of {2 * SAMPLE} symbols, 0 missing"

    def _stored(self, asset_class: str) -> Iterator[tuple[str, str, int, int, set[int]]]:
        rows = self.on.sql(
            f"""SELECT s.symbol, string_agg((extract(epoch FROM b.ts) * 1000)::bigint::text, ',')
                FROM series s JOIN bars b ON b.series_id = s.id
                WHERE s.asset_class = '{asset_class}' AND s.bar_s = 60 AND s.symbol NOT LIKE 'PROBE%'
                GROUP BY s.symbol ORDER BY s.symbol LIMIT {SAMPLE}"""
        )
        span = self.on.sql(
            f"""SELECT (extract(epoch FROM min(ts)) * 1000)::bigint, (extract(epoch FROM max(ts)) * 1000)::bigint
                FROM bars JOIN series s ON s.id = series_id WHERE asset_class = '{asset_class}'"""
        )[0]
        for symbol, joined in rows:
            ticker = f"X:{symbol.replace('-', '')}" if asset_class == "crypto" else symbol
            yield symbol, ticker, int(span[0]), int(span[1]) - 60_000, {int(t) for t in joined.split(",")}

    def nothing_doubled(self) -> str:
        """Find no notification twice in the outbox."""
        twice = self.on.sql("SELECT sink, topic, key, payload, count(*) FROM outbox GROUP BY 1,2,3,4 HAVING count(*)>1")
        n = int(self.on.sql("SELECT count(*) FROM outbox")[0][0])
        assert not twice, f"expected none twice, was {twice[:3]}"
        return f"{n} messages, none twice"

    def uninstall(self) -> str:
        """Uninstall."""
        self.on.helm("uninstall", RELEASE, "--wait", "--timeout", "6m")
        return "gone"

    def left(self) -> str:
        """Find nothing but the volumes that the notes name."""
        kinds = "rayservice,raycluster,all,secret,configmap,networkpolicy,serviceaccount,role,rolebinding,pdb,ingress"

        def found() -> list[str]:
            said = self.on.kubectl("get", kinds, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name")
            ours = self.on.kubectl("get", "rayservice,raycluster,pods,secrets", "-o", "name")
            names = {n for n in (said + ours).split() if re.search(RELEASE, n)}
            return sorted(n for n in names if "sh.helm.release" not in n)

        until(lambda: not found(), 240, f"nothing left, was {found()}")
        volumes = self.on.kubectl("get", "pvc", "-o", "name").split()
        return f"left: {', '.join(v.rpartition('/')[2] for v in volumes)}"


def _minutes(client: httpx.Client, ticker: str, first_ms: int, last_ms: int) -> set[int]:
    path = f"/v2/aggs/ticker/{ticker}/range/1/minute/{first_ms}/{last_ms}?adjusted=false&limit=50000"
    answer = client.get(path, headers={"Authorization": "Bearer sim-advanced"})
    answer.raise_for_status()
    return {int(r["t"]) for r in answer.json().get("results", [])}


def main() -> int:
    """Run; 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="tapewatch")
    parser.add_argument("--build", help="command that puts the image {tag} into the cluster")
    parser.add_argument("--values", default=str(CHART / "ci" / "kind-values.yaml"))
    parser.add_argument("--keep", action="store_true", help="leave it installed")
    given = parser.parse_args()
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            print(f"error: expected {tool} on PATH, was none")
            return 2
    on = Run(given.namespace, ["-f", given.values])
    began = time.monotonic()
    if given.build:
        on.check("image", lambda: run(shlex.split(given.build.format(tag="tapewatch:0.1.0")), 1_500)[-60:].strip())
    Proof(on).all(given.keep)
    print(f"{on.n_passed} passed, {len(on.failed)} failed in {time.monotonic() - began:.0f} s", flush=True)
    print(json.dumps({k: round(v, 1) for k, v in on.figures.items()}))
    return 1 if on.failed else 0


if __name__ == "__main__":
    sys.exit(main())
