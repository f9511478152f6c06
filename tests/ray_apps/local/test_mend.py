"""A server that is killed comes back at its old address."""

import os
import signal
import tempfile
from pathlib import Path

import psycopg
import pytest
import redis

from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.valkey import LocalValkey
from tests.support.eventually import eventually_sync

pytestmark = pytest.mark.integration


def test_a_killed_database_comes_back_with_its_data() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, LocalPostgres(Path(folder)) as server:
        assert not server.mend()
        dsn = server.dsn
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
        os.kill(server.pid, signal.SIGKILL)
        eventually_sync(server.mend, 30)
        assert server.dsn == dsn
        with psycopg.connect(dsn) as conn:
            assert conn.execute("SELECT x FROM kept").fetchone() == (7,)


def test_a_killed_cache_comes_back_with_its_password() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, LocalValkey(Path(folder)) as server:
        url = server.url
        os.kill(server.pid, signal.SIGKILL)
        eventually_sync(server.mend, 30)
        assert server.url == url
        with redis.Redis.from_url(url) as client:
            assert client.ping()


@pytest.mark.parametrize("kind", [LocalPostgres, LocalValkey])
def test_a_start_that_fails_is_tried_again(kind: type[LocalPostgres | LocalValkey]) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, kind(Path(folder)) as server:
        home = next(Path(folder).iterdir())
        (home / "log").rename(home / "log.aside")
        (home / "log").mkdir()  # a server that cannot write its log does not start
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(OSError, match="Is a directory"):
            eventually_sync(server.mend, 30)
        (home / "log").rmdir()
        eventually_sync(server.mend, 30)
        assert server.pid
