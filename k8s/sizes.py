"""Measure what each pod takes by the number of symbols, on the cluster in KUBECONFIG.

`python -m k8s.sizes 200 2000` installs the kind profile with as many symbols (half of them of each class) and
a market at the clock's pace; prints a JSON line for each number, and uninstalls.
"""

import argparse
import json
import sys
import time

from k8s.e2e import CHART, READY_S
from k8s.reach import RELEASE, Run, until

WATCHED_S = 240.0
"""Four minutes and their bursts after the start."""


def measure(on: Run, symbols: int) -> dict[str, object]:
    """Install, wait, look, uninstall."""
    market = [f"settings.simulator.symbols={symbols // 2}", "settings.simulator.speed=1"]
    began = time.monotonic()
    on.helm("install", RELEASE, str(CHART), "--create-namespace", *on.values, "--set", ",".join(market))
    until(on.is_running, 2 * READY_S, "the RayService to run")
    ready_s = time.monotonic() - began
    time.sleep(WATCHED_S)
    with on.service(f"{RELEASE}-prometheus", 9090) as client:
        query = "histogram_quantile(0.99, sum by (le) (rate(tapewatch_burst_seconds_bucket[2m])))"
        found = client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
    used = on.memory()
    on.helm("uninstall", RELEASE, "--wait", "--timeout", "6m")
    on.kubectl("delete", "pvc", "-l", f"app.kubernetes.io/instance={RELEASE}")
    p99_s = float(found[0]["value"][1]) if found else None
    return {"symbols": symbols, "ready_s": round(ready_s), "burst_p99_s": p99_s} | {
        k: round(v) for k, v in used.items()
    }


def main() -> int:
    """Measure each number given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbols", type=int, nargs="+")
    parser.add_argument("--namespace", default="tapewatch-sizes")
    given = parser.parse_args()
    on = Run(given.namespace, ["-f", str(CHART / "ci" / "kind-values.yaml")])
    for symbols in given.symbols:
        print(json.dumps(measure(on, symbols)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
