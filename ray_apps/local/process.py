"""Own the processes of the embedded servers: one holder per folder, no orphan, a clear error."""

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import psutil  # type: ignore[import-untyped]

LOG_KEEP_BYTES = 10_000_000
"""A server's log larger than this at start moves aside to `.1`."""

LINGER_S = 8.0
"""How long a folder's lock may be held by a process that is on its way out."""

SERVICE_USER = "pgserver"
"""PostgreSQL refuses to run as root: then it runs under this account, the one its wheel creates too."""

# Outlives the owner by one signal: its standard input closes when the owner dies, however it dies.
GUARD = 'trap "" INT TERM HUP; read -r line; kill -INT "$1" 2>/dev/null'


class LocalError(Exception):
    """An embedded server cannot be started or stopped; the message says what was expected and what to do."""


class InUseError(LocalError):
    """Another live process owns the data folder."""


class FolderLock:
    """Hold a folder for one process at a time; the kernel lets go when the holder dies.

    The file keeps the holder's process id for the error message only: the lock itself is `flock`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock, or raise InUseError naming the holder after `wait_s` seconds."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as e:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise InUseError(
                    f"expected a free data folder at {self._path.parent}, was in use by process {holder}: "
                    "stop it, or choose another folder with --data-dir"
                ) from e
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let the folder go; harmless when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Account:
    """A system account a child process runs under."""

    name: str
    uid: int
    gid: int


class Child:
    """A server process of ours, in its own session so that Ctrl-C reaches only its owner.

    A guard process (`sh`, blocked on a pipe) interrupts the server when the owner vanishes without a stop.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, cwd: Path, account: Account | None = None) -> None:
        self.name = name
        self._log = log
        if log.exists() and log.stat().st_size > LOG_KEEP_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with log.open("ab") as out:
            self._log_from = out.tell()
            self._process = subprocess.Popen(  # noqa: S603 our own program and arguments
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                start_new_session=True,
                **as_account(account),
            )
        self._guard = subprocess.Popen(  # noqa: S603 as above
            ["/bin/sh", "-c", GUARD, "tapewatch-guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def said(self, lines: int = 5) -> str:
        """Give the last lines the server logged since this start."""
        with self._log.open("rb") as f:
            f.seek(self._log_from)
            text = f.read().decode(errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ask the server to finish, insist after `timeout_s`; return when it is gone."""
        self._guard.kill()
        self._guard.communicate()
        for sig, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            if not self.is_running():
                return
            self._process.send_signal(sig)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        if self.is_running():
            raise LocalError(f"expected {self.name} (process {self.pid}) to stop, was still running after SIGKILL")


def as_account(account: Account | None) -> dict[str, Any]:
    """Give the arguments of `subprocess` that make a child run under the account.

    >>> as_account(None)
    {}
    """
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def service_account() -> Account | None:
    """Give the account servers run under: None unless we are root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    for name in (SERVICE_USER, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            useradd = shutil.which("useradd")
            if name != SERVICE_USER or useradd is None:
                continue
            made = subprocess.run(  # noqa: S603 a constant command
                [useradd, "--system", "--no-create-home", "--shell", "/bin/false", name],
                check=False,
                capture_output=True,
            )
            if made.returncode != 0:
                continue
            entry = pwd.getpwnam(name)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise LocalError(f"expected an account {SERVICE_USER} or nobody to run PostgreSQL under, was neither")


def open_path_to(path: Path) -> None:
    """Let other accounts pass through (not list) the parents of `path`; only root's servers need it."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod((mode & 0o7777) | 0o001)


def listener(host: str, port: int) -> socket.socket:
    """Give a socket that listens at a TCP port of an address; raise LocalError where it cannot be had."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host, port))
        s.listen()
    except OSError as e:
        s.close()
        said = e.strerror or type(e).__name__
        raise LocalError(f"expected to listen on {host} port {port}, was refused: {said}") from e
    return s


def free_port(preferred: int | None = None) -> int:
    """Give a free TCP port of the loopback, the preferred one where it is free."""
    for port in ([preferred] if preferred else []) + [0]:
        with suppress(LocalError), listener("127.0.0.1", port) as s:
            return int(s.getsockname()[1])
    raise LocalError("expected a free TCP port on 127.0.0.1, was none")


def remembered_port(path: Path) -> int:
    """Give the port written in `path` where it is still free, else a new one, and write it there."""
    try:
        preferred: int | None = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        preferred = None
    port = free_port(preferred)
    path.write_text(f"{port}\n", encoding="ascii")
    return port


def runs(pid: int, word: str) -> bool:
    """Say whether the process lives with `word` in an argument: no zombie, no stranger with its id."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any(word in x for x in process.cmdline())
    except psutil.Error:
        return False
