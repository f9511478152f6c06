"""Start what the system stands on when one machine runs it all: database, cache, simulator."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ray_apps.errors import UserError
from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.valkey import LocalValkey
from ray_apps.settings import Settings, child_environment

SIMULATOR_START_S = 60.0
EXIT_S = 2.0
"""Between a process's last word and its end."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Where the simulator listens (host:port)."""

    rest: str
    ws: str


class Stack:
    """Owns what it started; `close` ends it in reverse order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._exits = ExitStack()
        self._servers: dict[str, LocalPostgres | LocalValkey] = {}

    def database(self) -> str:
        """Give the DSN of the configured database, or of one started in the data folder."""
        if self.settings.database_url is not None:
            return self.settings.database_url.get_secret_value()
        server = self._exits.enter_context(LocalPostgres(self.settings.data_dir))
        self._servers["database"] = server
        return server.dsn

    def cache(self) -> str:
        """Give the URL of the configured cache, or of one started in the data folder."""
        if self.settings.redis_url is not None:
            return self.settings.redis_url.get_secret_value()
        server = self._exits.enter_context(LocalValkey(self.settings.data_dir))
        self._servers["cache"] = server
        return server.url

    def simulator(self, arguments: Sequence[str], log: Path) -> Simulated:
        """Start the simulator as a process of its own and wait until it listens."""
        log.parent.mkdir(parents=True, exist_ok=True)
        said = log.open("ab")
        said_from = said.tell()
        self._exits.callback(said.close)
        command = [sys.executable, "-m", "ray_apps.simulator", "--rest-port", "0", "--ws-port", "0",
                   "--die-with-parent", *arguments]  # fmt: skip
        child = subprocess.Popen(  # noqa: S603 (our own module)
            command, stdout=subprocess.PIPE, stderr=said, env=child_environment(), start_new_session=True
        )
        self._exits.callback(_end, child)
        line = _first_line(child, SIMULATOR_START_S)
        with suppress(subprocess.TimeoutExpired):
            child.wait(0 if line else EXIT_S)
        if not line and child.poll() is not None:
            raise UserError(f"expected the simulator to listen, was an end: {_last_line(log, said_from)}")
        if not line:
            raise UserError(f"expected the simulator to listen within {SIMULATOR_START_S:.0f} s, was not: see {log}")
        where = json.loads(line)
        return Simulated(_address(where["rest"]), _address(where["ws"]))

    def mend(self) -> list[str]:
        """Start again what died, at its old address; give its names."""
        return [name for name, server in self._servers.items() if server.mend()]

    def close(self) -> None:
        """End everything that was started here."""
        self._exits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _address(url: str) -> str:
    return url.split("://", 1)[-1].split("/", 1)[0]


def _last_line(log: Path, since: int) -> str:
    """Give what a child said last."""
    with log.open("rb") as f:
        f.seek(since)
        lines = f.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "no word"


def _first_line(child: subprocess.Popen[bytes], timeout_s: float) -> str:
    """Give the first line a child prints, "" when it ends or the time does."""
    found: list[str] = []

    def read() -> None:
        assert child.stdout is not None
        found.append(child.stdout.readline().decode())
        for _ in child.stdout:  # whatever else it prints must not fill the pipe
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    deadline = datetime.now(UTC).timestamp() + timeout_s
    while not found and child.poll() is None and datetime.now(UTC).timestamp() < deadline:
        reader.join(0.05)
    return found[0] if found else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(5)
    if child.stdout is not None:
        child.stdout.close()
