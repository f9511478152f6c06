"""How the actors and deployments run: every option in this one file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "tapewatch"
"""Ray's: actors are found by name in it."""
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
SERVE_RESOURCES, STREAM_RESOURCES, HUB_RESOURCES = {"serve": 0.001}, {"stream": 0.001}, {"hub": 0.001}
"""A share of what nodes of a cluster offer: those that answer, those that stream, the one that is scraped."""
_LASTING: dict[str, Any] = {"lifetime": "detached", "get_if_exists": True, "namespace": NAMESPACE}
CLUSTER = Place({**_LASTING, "resources": STREAM_RESOURCES}, {**_LASTING, "resources": HUB_RESOURCES}, logs_json=True)
"""On the nodes that say they have room for it; they outlive a restart of the supervisor, which finds them again."""
