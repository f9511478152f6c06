"""Fixtures of every test: no network outside integration tests; one PostgreSQL and Valkey a session."""

import gc
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import blank_dsn, dsn, postgres_server  # noqa: F401 fixtures
from tests.support.valkey import redis_url, valkey_server  # noqa: F401 fixtures

BUSY = [HealthCheck.too_slow]
"""No claim on speed is made of examples: a deadline or this check fails where others use the machine."""
settings.register_profile("local", deadline=None, print_blob=True, suppress_health_check=BUSY)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
PROFILE = "ci" if os.environ.get("CI") else "local"
settings.register_profile("quick", settings.get_profile(PROFILE), max_examples=20)

OPEN_MARKS = ("integration", "bench", "cluster")


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples where the thorough tests are left out, unless told a profile."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("quick" if "not thorough" in config.option.markexpr else PROFILE)


ALL_NOT = re.compile(r"not \w+( and not \w+)*")
MODULES_MARKS = re.compile(r"^pytestmark = (\[[^\]]*\]|.*)$", re.M)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules whose every test `-m "not this and not that"` leaves out: importing them takes seconds."""
    is_named = any(Path(a.partition("::")[0]).resolve() == collection_path for a in config.args)
    if is_named or not collection_path.match("test_*.py") or not ALL_NOT.fullmatch(config.option.markexpr):
        return None
    marks = MODULES_MARKS.search(collection_path.read_text("utf-8"))
    out = set(re.findall(r"not (\w+)", config.option.markexpr))
    return bool(marks and out.intersection(re.findall(r"mark\.(\w+)", marks[1]))) or None


def pytest_collection_finish() -> None:
    """Spare the collector what lives to the end: the modules and the tests."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _closed_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a connection or `ray.init` raise in a test that is not marked for it."""
    if any(request.node.get_closest_marker(mark) for mark in OPEN_MARKS):
        return

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("expected no socket and no Ray in a unit test, was used: mark it integration")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)
