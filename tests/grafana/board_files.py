"""Read the boards and rules as they are committed, and what they ask for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ray_apps.metrics import METRICS

FOLDER = Path(__file__).resolve().parents[2] / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
RAY = {"ray_node_cpu_utilization", "ray_node_mem_used", "ray_serve_deployment_queued_queries"}
"""Ray's own, of its documentation; they carry labels of Ray's."""
SUFFIXES = ("_bucket", "_count", "_sum")
METRIC = re.compile(r"\b((?:tapewatch|ray)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
RECORDED = re.compile(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b")
GROUPED = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    board: str
    panel: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.kind}"


def load(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the panels that show something."""
    return [p for p in board["panels"] if p["type"] != "row"]


def queries(board: dict[str, Any], name: str) -> Iterator[Query]:
    for panel in panels(board):
        for target in panel["targets"]:
            kind = "sql" if "rawSql" in target else "instant" if target["instant"] else "promql"
            yield Query(name, panel["title"], kind, target.get("rawSql") or target["expr"])


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules" / file).read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def unknown(expr: str) -> list[str]:
    """Give the metrics and labels of an expression that nobody declares."""
    declared = {m.name: m for m in METRICS}
    wrong, labels = [], {"le", "namespace"}  # the target's, where Prometheus runs beside several installations
    for name, selector in METRIC.findall(expr):
        base = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s) and name not in declared), name)
        if base in RAY:
            labels |= {"instance", "deployment"}
            continue
        metric = declared.get(base)
        if metric is None or (base != name) != (metric.kind == "histogram"):
            wrong.append(name)
            continue
        labels |= set(metric.labels)
        of_this = {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}
        wrong += [f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*=", selector) if label not in of_this]
    if not RECORDED.search(expr):
        grouped = {g.strip() for found in GROUPED.findall(expr) for g in found.split(",") if g.strip()}
        wrong += [f"by {label}" for label in sorted(grouped - labels)]
    return wrong
