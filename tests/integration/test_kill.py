"""Kill any one process of the running system: it recovers without a hand, nothing stored is doubled."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from ray_apps.local.process import free_port
from tests.integration.test_up import ARGS, START_S
from tests.support.eventually import eventually_sync
from tests.support.running import Up, up

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(900)]
RECOVERY_S = 120.0


def find(running: Up, word: str) -> int:
    """Give the process whose command has a word."""
    for p in running.processes():
        with suppress(psutil.Error):
            if word in " ".join(p.cmdline()):
                return p.pid
    raise AssertionError(f"expected a process with {word!r}, was none")


def dsn_of(data_dir: Path) -> str:
    """Give the running database's address, as its folder tells it."""
    home = data_dir / "postgres"
    password = (home / "password").read_text().strip()
    port = (home / "data" / "postmaster.pid").read_text().splitlines()[3]
    return f"postgresql://tapewatch:{password}@127.0.0.1:{port}/tapewatch"


def counts(data_dir: Path) -> tuple[int, int]:
    """Give (bars, distinct bars); (0, 0) while the database is away."""
    try:
        with psycopg.connect(dsn_of(data_dir), connect_timeout=3) as conn:
            return conn.execute("SELECT count(*), count(DISTINCT (series_id, ts)) FROM bars").fetchone() or (0, 0)
    except (psycopg.Error, OSError, IndexError):
        return 0, 0


def holes(data_dir: Path) -> list[tuple[bool, int]]:
    with psycopg.connect(dsn_of(data_dir)) as conn:
        return conn.execute("SELECT is_filled, n_bars FROM gaps WHERE to_ts > from_ts").fetchall()


def test_whatever_is_killed_the_tape_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, *ARGS, str(port)) as running:
        running.wait_for("/docs", START_S)
        for victim in ("ray::ShardActor", "ray::DeskActor", "ray::FeedActor", "ray::SinkActor", "ray::ServeReplica",
                       "valkey-server", "bin/postgres -D"):  # fmt: skip
            before, _ = counts(tmp_path)
            os.kill(find(running, victim), signal.SIGKILL)

            def goes_on(least: int = before) -> bool:
                return counts(tmp_path)[0] > least + 60

            try:
                eventually_sync(goes_on, RECOVERY_S)
            except AssertionError as e:
                said = [line for line in running.lines if "  vol " not in line][-20:]
                raise AssertionError(f"expected bars to go on after {victim} was killed: {said}") from e
        eventually_sync(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200, RECOVERY_S)
        bars, distinct = counts(tmp_path)
        assert bars == distinct
        with psycopg.connect(dsn_of(tmp_path)) as conn:
            doubled = conn.execute(
                "SELECT count(*) FROM (SELECT key FROM outbox GROUP BY sink, key HAVING count(*) > 1) x"
            )
            assert doubled.fetchone() == (0,)
        # what the killed feed missed, history gave: the hole is told of and filled
        eventually_sync(lambda: holes(tmp_path), RECOVERY_S)
        assert all(is_filled for is_filled, _ in holes(tmp_path))
        assert sum(n_bars for _, n_bars in holes(tmp_path)) > 0
        assert running.stop() == 0
