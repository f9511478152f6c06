"""Measure the memory and cores each pod takes by the number of symbols, on the cluster in KUBECONFIG.

`python -m k8s.sizes 200 2000` installs the kind profile with as many symbols (half of them of each class) and
a market at the clock's pace; prints a JSON line for each number, and uninstalls. Exits 1 where something stayed.
"""

import argparse
import json
import sys
import time

from k8s.reach import CHART, READY_S, RELEASE, Run, until

SETTLED_S = 60.0
"""The start is over."""
WATCHED_S = 240.0
"""Four minutes and their bursts."""


def measure(on: Run, symbols: int) -> dict[str, object]:
    """Install, wait, look, uninstall."""
    market = [f"settings.simulator.symbols={symbols // 2}", "settings.simulator.speed=1"]
    began = time.monotonic()
    on.helm("install", RELEASE, str(CHART), *on.values, "--set", ",".join(market))
    until(on.is_running, 2 * READY_S, "the RayService to run")
    ready_s = time.monotonic() - began
    time.sleep(SETTLED_S)
    before, since = on.processor_s(), time.monotonic()
    time.sleep(WATCHED_S)
    cores = {pod: (s - before.get(pod, 0.0)) / (time.monotonic() - since) for pod, s in on.processor_s().items()}
    p99_s = on.burst_p99_s("3m")
    used = on.memory()
    on.uninstall()
    said: dict[str, object] = {"symbols": symbols, "ready_s": round(ready_s), "burst_p99_s": round(p99_s, 3)}
    said |= {f"{component}_mb": round(mb) for component, mb in sorted(used.items())}
    return said | {f"{component}_cores": round(n, 3) for component, n in sorted(cores.items())}


def main() -> int:
    """Measure each number given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbols", type=int, nargs="+")
    parser.add_argument("--namespace", default="tapewatch-sizes")
    given = parser.parse_args()
    on = Run(given.namespace, ["-f", str(CHART / "ci" / "kind-values.yaml")])
    with on.space("restricted"):
        for symbols in given.symbols:
            print(json.dumps(measure(on, symbols)), flush=True)
    return 1 if on.failed else 0


if __name__ == "__main__":
    sys.exit(main())
