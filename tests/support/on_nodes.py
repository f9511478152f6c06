"""Place parts of a cluster on a Ray of several nodes of this machine, drain one; print what was seen as JSON.

Shards, desk and sinks are the real ones, without a database: they are placed, heard and saved, not fed. What stands for
a replica of Serve asks for what one asks for; the feed is one that does not stop.
"""

import asyncio
import json
import os
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32), "OMP_NUM_THREADS": "1"}

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from ray_apps import actors, supervisor
from ray_apps.cluster import drain_here
from ray_apps.config import SinksConfig
from ray_apps.config_services import MetricsConfig
from ray_apps.placement import CLUSTER, FEED_OPTIONS, GATEWAY_RESOURCES, NAMESPACE, SCORER_RESOURCES, feed_name
from ray_apps.remote import named
from ray_apps.shards.shard import ShardConfig
from ray_apps.sinks.service import SinkPlan

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"
N_SHARDS = 6
WITHIN_S = 16.0
WORKER: dict[str, Any] = {"num_cpus": 1, "resources": {"stream": 1, "serve": 1}, "object_store_memory": 80 * 2**20}


class Replica:
    """Asks for what a replica of Serve asks for."""


class SlowFeed:
    """A feed whose stop takes for ever; it has loaded what the real one has."""

    def __init__(self) -> None:
        named.cache_clear()

    async def stop(self) -> None:
        await asyncio.Event().wait()


class SavedShard:
    """A shard that says whether it was saved."""

    def __init__(self) -> None:
        named.cache_clear()
        self.is_saved = False

    async def save(self) -> None:
        self.is_saved = True


def where(handle: Any, seconds: float = 60) -> str | None:
    """Give the node an actor runs on, None where it waits for one."""
    try:
        return str(ray.get(handle.__ray_call__.remote(actors.node), timeout=seconds))
    except ray.exceptions.GetTimeoutError:
        return None


def replica(resources: dict[str, float]) -> Any:
    return ray.remote(Replica).options(num_cpus=0, resources=resources).remote()


def shard(i: int) -> Any:
    config = ShardConfig(
        asset_class=AssetClass.CRYPTO, shard=i, n_shards=N_SHARDS, primary_bar_s=60, activity="trades", dsn=NOWHERE,
        checkpoints=Path("/nonexistent"), detection=DetectionConfig(), versions={},
    )  # fmt: skip
    return supervisor._shard(config, 180.0, CLUSTER)


def heard(sinks: Any) -> list[str]:
    """Give the processes whose silence the hub counts."""
    text = ray.get(sinks.metrics.remote(), timeout=60)
    lines = [line for line in text.splitlines() if line.startswith("tapewatch_process_silent_seconds{")]
    return sorted(line.split('"')[1] for line in lines)


def scaled(cluster: Cluster) -> dict[str, Any]:
    """Ask for more gateways than a node takes, then give another node."""
    held = [replica(r) for r in (SCORER_RESOURCES, GATEWAY_RESOURCES, GATEWAY_RESOURCES)]
    first = [where(held[0]), where(held[1])]
    has_waited = where(held[2], 5) is None
    cluster.add_node(**WORKER)
    return {"first": first, "has_waited": has_waited, "then": where(held[2])}


def drained() -> dict[str, Any]:
    """Spread shards, then drain the node of a feed that does not stop."""
    sinks = supervisor._sinks(SinkPlan(NOWHERE, "redis://127.0.0.1:9/0", SinksConfig(), 30, MetricsConfig()), CLUSTER)
    shards = {f"shard-crypto-{i}": shard(i) for i in range(N_SHARDS)}
    nodes = {name: where(handle) for name, handle in shards.items()}
    target = nodes["shard-crypto-0"]
    assert target is not None
    here = NodeAffinitySchedulingStrategy(target, soft=False)
    named: dict[str, Any] = {"namespace": NAMESPACE, "scheduling_strategy": here}
    slow = ray.remote(SlowFeed).options(name=feed_name("crypto"), **FEED_OPTIONS, **named).remote()
    saved = ray.remote(SavedShard).options(name="shard-crypto-9", num_cpus=0, **named).remote()
    assert where(slow) == where(saved) == target
    ray.get([h.begin.remote() for h in shards.values()], timeout=60)
    deadline = time.monotonic() + 60
    while len(heard(sinks)) < N_SHARDS and time.monotonic() < deadline:
        time.sleep(0.5)
    before = heard(sinks)
    ask = ray.remote(lambda: drain_here(time.monotonic() + WITHIN_S)).options(num_cpus=0, scheduling_strategy=here)
    began = time.monotonic()
    names = ray.get(ask.remote(), timeout=120)
    took_s = time.monotonic() - began
    return {
        "nodes": sorted(Counter(nodes.values()).values()), "before": before, "after": heard(sinks),
        "drained": sorted(names), "there": sorted(n for n, node in nodes.items() if node == target),
        "is_saved": ray.get(saved.__ray_call__.remote(lambda s: s.is_saved), timeout=30),
        "took_s": took_s, "within_s": WITHIN_S,
    }  # fmt: skip


def main() -> None:
    """Place, drain, print."""
    head = {"num_cpus": 0, "resources": {"hub": 1}, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**WORKER)
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        print(json.dumps({**scaled(cluster), **drained()}), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
