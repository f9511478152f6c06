"""One real Valkey for the session, emptied for each test module that asks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ray_apps.local.valkey import LocalValkey


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[LocalValkey]:
    """Give the session's server."""
    with (
        tempfile.TemporaryDirectory(prefix="tapewatch-valkey-", ignore_cleanup_errors=True) as folder,
        LocalValkey(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def redis_url(valkey_server: LocalValkey) -> str:
    """Give the URL of an empty server for one test module."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url
