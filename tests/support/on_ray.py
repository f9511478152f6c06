"""Run the cluster's applications on a Ray of this machine, as a RayService would: a command a line on stdin.

`deploy JSON` gives supervisor and gateway these settings and answers `deployed` when both are healthy; `actors` names
the actors there are; `drain` does what the end of a pod does; the end of stdin ends all of it.
"""

import json
import os
import secrets
import sys
import time
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32), "OMP_NUM_THREADS": "1"}

import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from ray_apps.cluster import drain_here
from ray_apps.placement import NAMESPACE

APPLICATIONS = ("supervisor", "tapewatch")
READY_S = 120.0


def deploy(settings: dict[str, Any]) -> str:
    """Deploy what the chart's serveConfigV2 says, in the way its operator does; give `deployed`, or what is wrong."""
    supervised = [{"name": "supervisor", "user_config": settings}]
    config = {
        "applications": [
            {"name": "supervisor", "import_path": "ray_apps.cluster:supervisor", "route_prefix": None,
             "deployments": supervised},
            {"name": "tapewatch", "import_path": "ray_apps.cluster:gateway", "route_prefix": "/",
             "args": {"http": {"host": "0.0.0.0"}}},
        ]
    }  # fmt: skip
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config), _blocking=False)
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        time.sleep(1.0)
        found = serve.status().applications
        if all(n in found and found[n].status == ApplicationStatus.RUNNING for n in APPLICATIONS):
            return "deployed"
    return f"refused { ({n: (a.status, a.message) for n, a in found.items()}) }"


def actors() -> dict[str, str]:
    """Give the names of the actors that stream, each with its id, which another one of its name does not have."""
    names = [n["name"] for n in ray.util.list_named_actors(all_namespaces=True) if n["namespace"] == NAMESPACE]
    return {name: ray.get_actor(name, NAMESPACE)._actor_id.hex() for name in sorted(names)}


def main() -> None:
    """Obey until stdin ends."""
    ray.init(
        address="local", num_cpus=2, resources={"stream": 1, "serve": 1, "hub": 1}, include_dashboard=False,
        log_to_driver=False, object_store_memory=256 * 2**20,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, rest = line.strip().partition(" ")
        if order == "deploy":
            print(deploy(json.loads(rest)), flush=True)
        elif order == "drain":
            print("drained", *sorted(drain_here(time.monotonic() + READY_S)), flush=True)
        else:
            print(json.dumps(actors()), flush=True)
    serve.delete("supervisor")
    print(json.dumps(actors()), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
