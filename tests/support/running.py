"""Run `tapewatch up` as a user would: a process with a terminal's output, ended by Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.eventually import eventually_sync


class Up:
    """A running system and what it has printed."""

    def __init__(self, data_dir: Path, *args: str) -> None:
        command = [str(Path(sys.executable).with_name("tapewatch")), "up", "--data-dir", str(data_dir), *args]
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_", "RAY_"))}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, start_new_session=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, text: str, timeout_s: float) -> str:
        """Give the first line that holds the regular expression `text`."""

        def look() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"expected {text!r}, was an end with {self.process.returncode}: {self.lines[-15:]}"
                )
            return next((line for line in self.lines if re.search(text, line)), None)

        try:
            return str(eventually_sync(look, timeout_s))
        except AssertionError as e:
            raise AssertionError(f"expected {text!r} within {timeout_s} s, was {self.lines[-15:]}") from e

    def processes(self) -> list[psutil.Process]:
        """Give the system's processes, its own first."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, timeout_s: float = 90.0) -> int:
        """Press Ctrl-C and wait for the end; give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout_s)
        finally:
            self._reader.join(5)
            if self.process.stdout is not None:
                self.process.stdout.close()


@contextmanager
def up(data_dir: Path, *args: str) -> Iterator[Up]:
    """Run the system until the block ends."""
    running = Up(data_dir, *args)
    try:
        yield running
    finally:
        left = running.processes() if running.process.poll() is None else []
        if running.process.poll() is None:
            running.stop()
        for p in left:
            if p.is_running() and p.pid != running.process.pid:
                p.kill()
