"""Fixtures of every test: no network outside integration tests; one PostgreSQL and Valkey a session."""

import os
import socket
import sys
from typing import Any

import pytest
from hypothesis import settings

from tests.support.postgres import blank_dsn, dsn, postgres_server  # noqa: F401 fixtures
from tests.support.valkey import redis_url, valkey_server  # noqa: F401 fixtures

settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

OPEN_MARKS = ("integration", "bench", "cluster")


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
