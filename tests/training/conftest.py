"""Fixtures of the commands of training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_apps.cli import run

Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def tapewatch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run the command line away from the user's settings; give its code, what it printed, and its error lines."""
    monkeypatch.delenv("TAPEWATCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def call(*args: object) -> tuple[int, str, list[str]]:
        code = run([str(a) for a in args])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return call
