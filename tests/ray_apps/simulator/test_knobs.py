"""Every knob has one place that reads it and a test that turns it."""

import ast
import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from ray_apps.simulator.faults import Faults

ROOT = Path(__file__).resolve().parents[3]
ROOM = ROOT / "ray_apps" / "simulator"
KNOBS = [field.name for field in msgspec.structs.fields(Faults)]
TWICE = {
    "drop_mode": {"ws.py", "server.py"},  # asked after a stage of the session, and as time goes
    "split_event": {"truth.py", "reference.py"},  # played, and listed
}


@cache
def readers() -> dict[str, set[str]]:
    """Give the modules that read each knob, beside the one that declares them."""
    found: dict[str, set[str]] = {name: set() for name in KNOBS}
    for file in ROOM.glob("*.py"):
        if file.name in ("faults.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in found and "faults" in ast.unparse(node.value):
                found[node.attr].add(file.name)
    return found


@cache
def turned() -> str:
    """Give the text of the tests that play a simulator."""
    mine = Path(__file__).name
    files = [*Path(__file__).parent.glob("test_*.py"), ROOT / "tests" / "integration" / "test_official_client.py"]
    return "\n".join(file.read_text("utf-8") for file in files if file.name != mine)


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_is_read_in_one_place_and_turned_by_a_test(knob: str) -> None:
    found = readers()[knob]
    assert found == TWICE[knob] if knob in TWICE else len(found) == 1, found
    assert re.search(rf'["\s(]{knob}["=]', turned()), "expected a test that turns it"
