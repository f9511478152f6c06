"""Read the boards and rules that come with this version as Grafana is to be told them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ray_apps.errors import UsageError
from ray_apps.grafana.sources import POSTGRES_UID

Json = dict[str, Any]

FOLDER = Path(__file__).parent
"""Where `dashboards` and `rules` are: links of a checkout to its folder `grafana`, files of an installed package."""
EXPRESSION = "__expr__"
"""What Grafana calls its own expressions as a data source."""
LOOK_BACK_S = 600
INTERVAL_S = 60


@dataclass(frozen=True, slots=True)
class Told:
    """What of this project a Grafana is told: boards by uid, groups of alert rules by name."""

    boards: Mapping[str, Json]
    groups: Mapping[str, Json]


def read(folder: Path, folder_uid: str, prometheus_uid: str, runbooks: str = "", gateway: str = "") -> Told:
    """Read a folder of `dashboards/*.json` and `rules/*.yaml`.

    Parameters
    ----------
    folder
        Where they are.
    folder_uid, prometheus_uid
        The folder of Grafana the rules belong to, and the data source they and the boards ask.
    runbooks
        Put before each `runbook_url`, such as the address the project's files are read at.
    gateway
        Where people reach the HTTP API: what the boards' links begin with until someone types another. Empty: as is.

    Raises
    ------
    UsageError
        When the folder is not one of those.
    """
    boards, chosen = {}, {"prometheus": prometheus_uid, "postgres": POSTGRES_UID}
    for path in sorted((folder / "dashboards").glob("*.json")):
        board = json.loads(path.read_text("utf-8"))
        boards[board["uid"]] = _opening_on(chosen, _leading_to(gateway, board) if gateway else board)
    if not boards:
        raise UsageError(f"{folder}: expected dashboards/*.json in it, was none (see --dir)")
    recorded = {r["record"]: r["expr"].strip() for _, r in _rules(folder / "rules" / "recording.yaml")}
    groups: dict[str, Json] = {}
    for name, rule in _rules(folder / "rules" / "alerts.yaml"):
        group = groups.setdefault(name, {"title": name, "folderUid": folder_uid, "interval": INTERVAL_S, "rules": []})
        group["rules"].append(_alert(rule, name, folder_uid, prometheus_uid, runbooks, recorded))
    return Told(boards, groups)


def _leading_to(gateway: str, board: Json) -> Json:
    """Give a board whose variable `gateway` has another value."""
    typed = {"query": gateway, "current": {"text": gateway, "value": gateway}}
    variables = [{**v, **typed} if v["name"] == "gateway" else v for v in board["templating"]["list"]]
    return {**board, "templating": {"list": variables}}


def written_out(expr: str, recorded: Mapping[str, str]) -> str:
    """Give an expression with recorded names replaced by what they record: a Grafana needs no recording rules.

    >>> written_out("a:b:c > 1", {"a:b:c": "sum(x)"})
    '(sum(x)) > 1'
    """
    found = re.sub(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", lambda m: f"({recorded[m[0]]})", expr.strip())
    return " ".join(found.split())


def _opening_on(uids: Mapping[str, str], board: Json) -> Json:
    """Give a board whose variables of data sources are these; Grafana takes its first where one is not there."""
    variables = [
        {**v, "current": {"text": uids[v["name"]], "value": uids[v["name"]]}} if v["name"] in uids else v
        for v in board["templating"]["list"]
    ]
    return {**board, "templating": {"list": variables}}


def of_query(note: str) -> str:
    """Give a note whose `$value`, a number to Prometheus and to a Grafana before 12 a text, is the query's.

    >>> of_query("{{ $value | humanize }} of {{ $values.B.Value }}")
    '{{ $values.A.Value | humanize }} of {{ $values.B.Value }}'
    """
    return re.sub(r"\$value\b", "$values.A.Value", note)


def uid_of(alert: str) -> str:
    """Give an alert's uid, at most 40 letters.

    >>> uid_of("TapewatchFeedSilent")
    'tapewatch-feed-silent'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", alert).lower()[:40]


def _rules(path: Path) -> list[tuple[str, Json]]:
    try:
        groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
    except OSError as e:
        raise UsageError(f"{path}: expected a file of rules, was: {e.strerror}") from None
    return [(group["name"], rule) for group in groups for rule in group["rules"]]


def _alert(
    rule: Json, group: str, folder_uid: str, prometheus_uid: str, runbooks: str, recorded: Mapping[str, str]
) -> Json:
    """Give an alert rule as Grafana has it: the query, whether it gave anything, and that above 0."""
    notes = {name: of_query(note) for name, note in rule["annotations"].items()}
    notes["runbook_url"] = runbooks + notes["runbook_url"]
    query = {
        "expr": written_out(rule["expr"], recorded), "instant": True, "range": False, "refId": "A",
        "datasource": {"type": "prometheus", "uid": prometheus_uid},
    }  # fmt: skip
    given = {"type": "math", "expression": "is_number($A) || is_nan($A) || is_inf($A)", "refId": "B"}
    above = {
        "type": "threshold", "expression": "B", "refId": "C",
        "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
    }  # fmt: skip
    span = {"from": LOOK_BACK_S, "to": 0}
    return {
        "uid": uid_of(rule["alert"]), "title": rule["alert"], "ruleGroup": group, "folderUID": folder_uid,
        "condition": "C", "for": rule.get("for", "0s"), "noDataState": "OK", "execErrState": "Error", "isPaused": False,
        "labels": dict(rule["labels"]), "annotations": notes,
        "data": [
            {"refId": "A", "relativeTimeRange": span, "datasourceUid": prometheus_uid, "model": query},
            {"refId": "B", "relativeTimeRange": span, "datasourceUid": EXPRESSION, "model": _expression(given)},
            {"refId": "C", "relativeTimeRange": span, "datasourceUid": EXPRESSION, "model": _expression(above)},
        ],
    }  # fmt: skip


def _expression(model: Json) -> Json:
    return {**model, "datasource": {"type": EXPRESSION, "uid": EXPRESSION}}
