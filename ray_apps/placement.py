"""How the actors and deployments run: every option in this one file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "tapewatch"
"""Ray's: actors are found by name in it."""
DESK, SINKS = "desk", "sinks"
SHARD_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 4}
"""No retries of tasks: with them Ray does not keep the order; the lane sends again itself."""
FEED_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 32}
DESK_OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 16}


GATEWAY_OPTIONS: dict[str, Any] = {
    "num_replicas": 1, "max_ongoing_requests": 256, "ray_actor_options": {"num_cpus": 0},
}  # fmt: skip
SCORER_OPTIONS: dict[str, Any] = {
    "num_replicas": 1, "max_ongoing_requests": 16, "max_queued_requests": 16, "ray_actor_options": {"num_cpus": 0},
}  # fmt: skip
SCORER = "scorer"


@dataclass(frozen=True, slots=True)
class Place:
    """Where actors run and how long they live: options beside their own, of what streams and of the sinks' hub.

    `logs_json`: their log goes to stdout as JSON, for what collects the output of containers.
    """

    stream: Mapping[str, Any] = field(default_factory=dict)
    hub: Mapping[str, Any] = field(default_factory=dict)
    logs_json: bool = False


HERE = Place()
"""On this machine, as long as the process that starts them."""
GATEWAY_RESOURCES, SCORER_RESOURCES = {"serve": 0.75}, {"serve": 0.25}
"""Shares of the 1 a node of a cluster that answers offers: it takes one gateway and the scorer beside it, so that one
more gateway asks for another node."""
STREAM_RESOURCES, HUB_RESOURCES = {"stream": 0.001}, {"hub": 0.001}
"""On a node that streams, and on the one that is scraped: as many as there are."""
_LASTING: dict[str, Any] = {"lifetime": "detached", "get_if_exists": True, "namespace": NAMESPACE}
_STREAM: dict[str, Any] = {**_LASTING, "resources": STREAM_RESOURCES, "scheduling_strategy": "SPREAD"}
"""Over all nodes that stream: what asks for so little Ray would otherwise put where the supervisor is."""
CLUSTER = Place(_STREAM, {**_LASTING, "resources": HUB_RESOURCES}, logs_json=True)
"""On the nodes that say they have room for it; they outlive a restart of the supervisor, which finds them again."""


def feed_name(asset_class: str) -> str:
    """Name a feed's actor, and its process where it is counted.

    >>> feed_name("stocks")
    'feed-stocks'
    """
    return f"feed-{asset_class}"


def shard_name(asset_class: str, shard: int) -> str:
    """Name a shard's actor, and its process where it is counted.

    >>> shard_name("stocks", 0)
    'shard-stocks-0'
    """
    return f"shard-{asset_class}-{shard}"
