"""The embedded servers: start, stop, crash of owner or server, one owner a folder, loopback only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg
import pytest
import redis

from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.process import InUseError, LocalError, remembered_port
from ray_apps.local.valkey import LocalValkey
from tests.support.eventually import eventually_sync

pytestmark = pytest.mark.integration

OWNER = """
import sys, time
from contextlib import suppress
from pathlib import Path
from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.valkey import LocalValkey
server = {"postgres": LocalPostgres, "valkey": LocalValkey}[sys.argv[1]](Path(sys.argv[2])).start()
print(server.pid, flush=True)
time.sleep(600)
"""
SERVERS = [pytest.param(LocalPostgres, id="postgres"), pytest.param(LocalValkey, id="valkey")]
Make = Callable[[Path], LocalPostgres | LocalValkey]


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Give a folder with a new database, for the others to copy: making one takes 2 s, a copy 0.1 s."""
    with TemporaryDirectory(prefix="tapewatch made ", ignore_cleanup_errors=True) as name:
        LocalPostgres(Path(name)).start().stop()
        yield Path(name)


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix="tapewatch local ", ignore_cleanup_errors=True) as name:
        subprocess.run(["cp", "-a", f"{made}/.", name], check=True)
        yield Path(name)


def put(server: LocalPostgres | LocalValkey, value: str) -> None:
    if isinstance(server, LocalPostgres):
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
            conn.execute("INSERT INTO kept VALUES (%s)", (value,))
    else:
        with redis.Redis.from_url(server.url) as client:
            client.sadd("kept", value)


def kept(server: LocalPostgres | LocalValkey) -> set[str]:
    if isinstance(server, LocalPostgres):
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            return {r[0] for r in conn.execute("SELECT value FROM kept")}
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.smembers("kept"))


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def listening(pid: int) -> Iterator[str]:
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):  # workers come and go
            yield from (c.laddr.ip for c in process.net_connections() if c.status == "LISTEN")


@pytest.mark.parametrize("make", SERVERS)
def test_stop_leaves_no_process_and_keeps_the_data(make: Make, folder: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    for round_ in ("one", "two"):
        with make(folder) as server:
            processes = family(server.pid)
            put(server, round_)
        assert not [p for p in processes if alive(p)]
    assert set(psutil.Process().children(recursive=True)) <= before
    with make(folder) as server:
        assert kept(server) == {"one", "two"}


@pytest.mark.parametrize("make", SERVERS)
def test_listens_on_loopback_only(make: Make, folder: Path) -> None:
    with make(folder) as server:
        assert set(listening(server.pid)) == {"127.0.0.1"}


@pytest.mark.parametrize("make", SERVERS)
def test_a_folder_has_one_owner(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[make.__module__]  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "LINGER_S", 0.2)
    with make(folder) as server:
        with pytest.raises(InUseError, match=f"in use by process {os.getpid()}"):
            make(folder).start()
        put(server, "still here")
        assert kept(server) == {"still here"}


@pytest.mark.parametrize("make", SERVERS)
def test_survives_kill_of_the_owner(make: Make, folder: Path) -> None:
    name = "postgres" if make is LocalPostgres else "valkey"
    with make(folder) as server:
        put(server, "before")
    owner = subprocess.Popen([sys.executable, "-c", OWNER, name, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    with make(folder) as server:  # at once: it waits for the orphan, or stops it
        assert server.pid != pid
        assert not (psutil.pid_exists(pid) and alive(psutil.Process(pid)))
        assert kept(server) == {"before"}


@pytest.mark.parametrize("make", SERVERS)
def test_the_orphan_stops_by_itself(make: Make, folder: Path) -> None:
    name = "postgres" if make is LocalPostgres else "valkey"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, name, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    processes = family(int(owner.stdout.readline()))
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    eventually_sync(lambda: not any(alive(p) for p in processes), 10)


def test_postgres_recovers_from_kill_of_the_server(folder: Path) -> None:
    server = LocalPostgres(folder).start()
    put(server, "committed")
    processes = family(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with LocalPostgres(folder) as again:
        assert kept(again) == {"committed"}
    eventually_sync(lambda: not any(alive(p) for p in processes), 10)


def test_postgres_starts_within_two_seconds(folder: Path) -> None:
    best = min(_start_seconds(folder) for _ in range(3))
    assert best < 2.0


def _start_seconds(folder: Path) -> float:
    start = time.perf_counter()
    with LocalPostgres(folder):
        return time.perf_counter() - start


def test_a_failed_start_says_why_and_frees_the_folder(folder: Path) -> None:
    with LocalPostgres(folder) as server:
        put(server, "kept")
    control = folder / "postgres" / "data" / "global" / "pg_control"
    saved = control.read_bytes()
    control.write_bytes(b"not a control file")
    with pytest.raises(LocalError, match="expected PostgreSQL to start"):
        LocalPostgres(folder).start()
    control.write_bytes(saved)
    with LocalPostgres(folder) as server:
        assert kept(server) == {"kept"}


def test_another_major_version_is_refused(folder: Path) -> None:
    (folder / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(LocalError, match="was 12"):
        LocalPostgres(folder).start()


def test_a_wrong_password_is_refused(folder: Path) -> None:
    with LocalPostgres(folder) as server, LocalValkey(folder) as cache:
        user = server.dsn.split("@")[1]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"postgresql://tapewatch:wrong@{user}")
        bare = redis.Redis.from_url("redis://" + cache.url.split("@")[1])
        with bare, pytest.raises(redis.AuthenticationError):
            bare.ping()


def test_a_stale_pid_of_a_stranger_does_not_stop_the_start(folder: Path) -> None:
    server = LocalPostgres(folder).start()
    put(server, "kept")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        pid_file = folder / "postgres" / "data" / "postmaster.pid"
        pid_file.write_text("\n".join([str(stranger.pid), *pid_file.read_text().splitlines()[1:], ""]))
        with LocalPostgres(folder) as again:
            assert kept(again) == {"kept"}
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_left_alone(folder: Path) -> None:
    with LocalValkey(folder) as server:
        taken = int(server.url.rsplit(":", 1)[1].split("/")[0])
        (folder / "port").write_text(str(taken))
        assert remembered_port(folder / "port") != taken
