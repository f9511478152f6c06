"""What the image is built from, installed by itself: commands that need files of the project have them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.helm import ROOT
from tests.support.grafana_server import TOKEN, grafana_server

pytestmark = pytest.mark.integration


def run(*command: str, **environment: str) -> str:
    """Run a command away from the checkout; give what it printed."""
    env = {**os.environ, "PYTHONPATH": "", **environment}
    done = subprocess.run(command, cwd="/", env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Install what the Dockerfile's stages of code copy and .dockerignore lets them, as they do."""
    stages = (ROOT / "Dockerfile").read_text("utf-8").split(" AS kernels\n")[1].split(" AS serve\n")[0]
    copied = [line.split()[1:-1] for line in stages.splitlines() if line.startswith("COPY ")]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    for name in (name for names in copied for name in names):
        assert name in kept
        at = tmp_path / "src" / name
        at.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, at, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, at)
    target = tmp_path / "code"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--target", str(target), str(tmp_path / "src"))
    return target


def test_boards_and_rules_come_with_the_code(code: Path, tmp_path: Path) -> None:
    with grafana_server() as grafana:
        options = ("--data-dir", str(tmp_path / "data"), "--url", grafana.url, "--token", TOKEN)
        sources = ("--prometheus", "http://prometheus:9090", "--json")
        said = run(str(code / "bin" / "tapewatch"), "grafana", "sync", *options, *sources, PYTHONPATH=str(code))
    steps = json.loads(said)
    assert {step["what"] for step in steps} == {"folder", "data source", "board", "alert rules"}
    assert grafana.boards
    assert grafana.rules
    assert not list((code / "ray_apps" / "grafana").rglob("tests"))
