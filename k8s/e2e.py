"""Prove the chart on the cluster in KUBECONFIG: install, watch, upgrade, kill, roll back, uninstall.

`python -m k8s.e2e` prints one line per check and a summary; it exits 1 where one fails. The image must be in the
cluster already, or `--build COMMAND` makes it (run in the repository, `{tag}` is filled in); else nothing is installed.
"""

import argparse
import json
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import yaml

from k8s.reach import CHART, READY_S, RELEASE, ROOT, Bars, Run, run, until

KNOWN = re.compile(r"Succeeded|Failed|ErrImage\w+|ImagePullBackOff|InvalidImageName|Create\w+Error")
"""What becomes of a pod as far as its image goes."""
BACK_S = 240.0
STEADY_S = 90.0
"""Until the bursts of the start are no longer among those of the last minute."""
FEEDS = 2
"""Of the profile: stocks and crypto."""
TARGETS = {"tapewatch": 1, "ray": 2}
"""Of the bundled Prometheus: the hub, head and worker."""
HEALTH = ROOT / "grafana" / "dashboards" / "health.json"
SAMPLE = 25
"""Symbols of each class whose stored minutes are held against the simulator's history."""


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
        on.check("panels of Ray's own metrics", self.rays_panels)
        on.check("burst and memory", self.figures)
        on.check("upgrade in place", self.upgrade)
        on.check("worker pod killed", lambda: self.killed("worker"))
        on.check("head pod killed", lambda: self.killed("head"))
        on.check("roll back", self.rollback)
        on.check("no bar lost", self.nothing_lost)
        on.check("no alert doubled", self.nothing_doubled)
        on.check("logs tell of no failure", self.logs)
        if not keep:
            on.check("uninstall", self.uninstall)
            on.check("only volumes left", self.left)
        on.check("pods admitted as restricted", self.admitted)

    def image(self, build: str | None) -> str:
        """Build the image if told how; start a pod of it, so that nothing waits for one that is not there."""
        pod = self._test_pod()
        (container,) = pod["spec"]["containers"]
        image, name = container["image"], f"{RELEASE}-image"
        if build:
            run(shlex.split(build.format(tag=image)), 1_500)
        container |= {"command": ["true"], "args": [], "env": []}
        spec = json.dumps({"spec": pod["spec"]})
        self.on.kubectl("run", name, f"--image={image}", "--restart=Never", f"--overrides={spec}")
        path = "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason}"
        state = ""

        def is_known() -> bool:
            nonlocal state
            found = KNOWN.search(self.on.kubectl("get", "pod", name, "-o", path))
            state = found[0] if found else ""
            return bool(found)

        try:
            until(is_known, READY_S, f"a pod of the image {image} to start")
        finally:
            self.on.kubectl("delete", "pod", name, "--now")
        assert state == "Succeeded", f"expected the image {image} in the cluster, was {state}: give --build COMMAND"
        return f"{image} starts"

    def _test_pod(self) -> dict[str, Any]:
        """Give the pod of the chart's test: the image with its policy and secrets, restricted."""
        known = ("--api-versions", "ray.io/v1")
        only = ("--show-only", "templates/tests/bar.yaml")
        pod: dict[str, Any] = yaml.safe_load(
            self.on.helm("template", RELEASE, str(CHART), *self.on.values, *known, *only)
        )
        return pod

    def install(self) -> str:
        """Install with the kind profile."""
        began = time.monotonic()
        self.on.helm("install", RELEASE, str(CHART), *self.on.values, "--timeout", "8m")
        self.on.figures["install_s"] = time.monotonic() - began
        return "hooks done"

    def ready(self) -> str:
        """Wait until the RayService is ready."""
        took = until(self.on.is_running, READY_S, "the RayService to run")
        self.on.figures["ready_s"] = self.on.figures.get("install_s", 0.0) + took
        return f"{self.on.figures['ready_s']:.0f} s after helm install began"

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
        """See what the simulator injects be called, and the desk make episodes of it."""
        until(lambda: self.on.sql("SELECT 1 FROM episodes LIMIT 1"), 300, "an episode")
        kind, symbol = self.on.sql("SELECT kind, symbol FROM episodes ORDER BY opened_at DESC LIMIT 1")[0]
        return f"the newest episode is {kind} of {symbol}"

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

            def up() -> dict[str, int]:
                found = client.get("/api/v1/targets").json()["data"]["activeTargets"]
                return dict(Counter(t["labels"]["job"] for t in found if t["health"] == "up"))

            until(lambda: up() == TARGETS, 60, f"targets up {TARGETS}")
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
        wrong = [r["name"] for g in groups for r in g["rules"] if r["health"] == "err"]
        assert not wrong, f"expected rules without errors, was {wrong}"
        return f"{sum(TARGETS.values())} targets up, {sum(len(g['rules']) for g in groups)} rules"

    def rays_panels(self) -> str:
        """Ask the bundled Prometheus what the panels of Ray's metrics ask, after some requests to Serve."""
        with self.on.service(RELEASE, 8000) as client:
            for _ in range(5):
                client.get("/v1/anomalies?limit=1")
        with self.on.service(f"{RELEASE}-prometheus", 9090) as client:
            for title, query in rays_queries().items():

                def has_data(query: str = query) -> bool:
                    return bool(client.get("/api/v1/query", params={"query": query}).json()["data"]["result"])

                until(has_data, 60, f"data in {title!r} ({query})")
        return f"data in {', '.join(rays_queries())}"

    def figures(self) -> str:
        """Read how long bursts take and what memory each pod works on, from Prometheus and the node."""
        time.sleep(STEADY_S)
        p99_s = self.on.figures["burst_p99_s"] = self.on.burst_p99_s("1m")
        used = self.on.memory()
        self.on.figures |= {f"{pod}_mb": mb for pod, mb in used.items()}
        return f"burst p99 {p99_s:.2f} s; MB: {', '.join(f'{pod} {mb:.0f}' for pod, mb in sorted(used.items()))}"

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
        """Kill a pod; wait until its feeds are connected anew, bars are stored and what was missed is there."""
        (pod, *_) = self.on.pods(component)
        killed_at = self.on.sql("SELECT now()")[0][0]
        bars = Bars(self.on)
        began = time.monotonic()
        self.on.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        until(lambda: bars.look() and self.on.pods(component) not in ([], [pod]), BACK_S, "another pod")
        until(lambda: bars.look() and self.on.is_running(), BACK_S, "the RayService to run")
        if component == "worker":
            self._reconnected(bars, killed_at)
        until(lambda: bars.look() and bars.moved_s > began, BACK_S, "bars")
        found = self.on.sql(f"SELECT coalesce(max(blind_s), 0) FROM gaps WHERE recorded_at > '{killed_at}'")
        blind = float(found[0][0])
        self.on.figures |= {f"{component}_kill_stood_s": bars.stood_s, f"{component}_kill_blind_s": blind}
        return f"bars stood for {bars.stood_s:.0f} s, at most {blind:.0f} s blind"

    def _reconnected(self, bars: "Bars", killed_at: str) -> None:
        """Wait until the feeds are connected anew and what was missed is there."""
        until(lambda: bars.look() and self._is_live(killed_at), BACK_S, "every feed live on a new connection")
        told = f"SELECT count(DISTINCT asset_class) FROM gaps WHERE recorded_at > '{killed_at}' AND is_filled"
        until(
            lambda: bars.look() and int(self.on.sql(told)[0][0]) == FEEDS, 90, "the hole of each feed told and filled"
        )

    def _blind(self) -> float:
        return float(self.on.sql("SELECT coalesce(sum(blind_s), 0) FROM gaps")[0][0])

    def _is_live(self, after: str = "-infinity") -> bool:
        rows = self.on.sql(f"SELECT status, connected_at > '{after}' FROM feeds")
        return bool(rows) and all(row == ["live", "t"] for row in rows)

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
        """Find each anomaly and episode that was to be sent once in the stream it was sent to."""
        read = 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli --raw XRANGE tapewatch:anomalies - +'

        def sent() -> list[str]:
            lines = self.on.kubectl("exec", f"{RELEASE}-redis-0", "--", "sh", "-c", read).splitlines()
            return [lines[i + 1] for i in range(len(lines) - 1) if lines[i] == "id"]

        def due() -> set[str]:
            return {row[0] for row in self.on.sql("SELECT key FROM outbox WHERE sink = 'redis'")}

        until(lambda: due() <= set(sent()), 60, "everything in the outbox sent")
        found = sent()
        twice = {key for key in found if found.count(key) > 1}
        assert found, "expected messages in the stream, was none"
        assert not twice, f"expected none twice, was {sorted(twice)[:3]}"
        told = self.on.sql("SELECT count(*) FROM episodes WHERE notified_at IS NOT NULL")[0][0]
        return f"{len(found)} messages and {told} notified episodes, none twice"

    def logs(self) -> str:
        """Find no failure in what the Ray pods say of themselves."""
        counted, wrong = 0, []
        for component in ("head", "worker"):
            for pod in self.on.pods(component):
                for line in self.on.kubectl("logs", pod, "-c", f"ray-{component}").splitlines():
                    if not line.startswith('{"time"'):
                        continue
                    counted += 1
                    said = json.loads(line)
                    if said["level"] in ("ERROR", "CRITICAL") or "tried again" in said["message"]:
                        wrong.append(f"{said['message']} {said.get('error', '')}".strip())
        assert not wrong, f"expected no failures, was {len(wrong)}: {wrong[:3]}"
        return f"{counted} lines of ours, no failure"

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

    def admitted(self) -> str:
        """Find no pod that the restricted standard refused, whoever made it: jobs, hooks, the operator."""
        events = json.loads(self.on.kubectl("get", "events", "-o", "json"))["items"]
        refused = {e["message"] for e in events if "violates PodSecurity" in e["message"]}
        assert not refused, f"expected every pod admitted, was {sorted(refused)[:3]}"
        pods = {e["involvedObject"]["name"] for e in events if e["reason"] == "Scheduled"}
        assert pods, "expected pods scheduled, was none"
        return f"{len(pods)} pods, none refused by the restricted standard"


def rays_queries() -> dict[str, str]:
    """Give the query of each panel of the health board that shows Ray's own metrics, over the last minutes."""
    board = json.loads(HEALTH.read_text("utf-8"))
    asked = {panel["title"]: target.get("expr", "") for panel in board["panels"] for target in panel.get("targets", [])}
    return {title: query.replace("$__range", "5m") for title, query in asked.items() if re.search(r"\bray_", query)}


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
    try:
        with on.space("restricted", given.keep):
            proof = Proof(on)
            on.check("image", lambda: proof.image(given.build))
            if not on.failed:
                proof.all(given.keep)
    except AssertionError as e:  # of the namespace: it is there already, or no cluster is
        print(f"error: {e}")
        return 2
    print(json.dumps({k: round(v, 1) for k, v in on.figures.items()}))
    return on.end(began)


if __name__ == "__main__":
    sys.exit(main())
