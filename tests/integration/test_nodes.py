"""Several nodes: where actors and replicas find room, and what a node's drain does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
START_S = 15.0
"""For the process that drains, on a busy machine."""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """Give what was seen on a Ray of two nodes."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.on_nodes"],
        capture_output=True, text=True, timeout=280, cwd=ROOT, env={**own, "PYTHONPATH": "."}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_one_more_gateway_asks_for_another_node(seen: dict[str, Any]) -> None:
    scorer, gateway = seen["first"]
    assert scorer == gateway  # a node that answers takes both
    assert seen["has_waited"]
    assert seen["then"] not in (None, gateway)


def test_shards_are_spread_over_the_nodes_that_stream(seen: dict[str, Any]) -> None:
    assert seen["nodes"] == [3, 3]


def test_a_drain_saves_in_time_whatever_a_feed_does_and_is_not_called(seen: dict[str, Any]) -> None:
    assert seen["is_saved"]
    assert seen["took_s"] < seen["within_s"] + START_S
    assert seen["drained"] == sorted(["feed-crypto", *seen["there"], "shard-crypto-9"])
    assert len(seen["before"]) == 6
    assert seen["after"] == sorted(set(seen["before"]) - set(seen["there"]))
