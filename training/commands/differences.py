"""Say what other settings would call otherwise, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from ray_apps.words import counted
from training.commands import findings

if TYPE_CHECKING:
    from features.decisions.config import DetectionConfig
    from ray_apps.settings import Settings
    from training.difference import Difference
    from training.lines import AnomalyLine
    from training.reel import StoreSummary
    from training.replay import Summary

SHOWN = 40
"""Lines of each sort a person is shown; a program gets all."""
DETECTION = (
    *("detectors.", "universe.min_price", "universe.min_dollar_volume", "universe.sectors"),
    *("budget.episodes_per_symbol_day", "budget.cooldown_min"),
)
"""The settings that can change what is called; the others read, store and tell."""
SIGNS = {"added": "+", "gone": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Settled:
    """The settings in force (`now`) and the others (`then`), of the file `name`, as the stages are told of them."""

    now: Settings
    then: Settings
    name: str
    detection_now: DetectionConfig
    detection_then: DetectionConfig

    @property
    def is_same(self) -> bool:
        """Whether both call the same, whatever the bars: who is told of it is another matter."""
        return replace(self.detection_now, notifications_per_day=0) == replace(
            self.detection_then, notifications_per_day=0
        )

    def changed(self) -> list[dict[str, Any]]:
        """Give the keys that differ with both values (secrets are stars) and whether they are part of detection."""
        from ray_apps.settings import diff, flatten

        was, now = (flatten(s.model_dump(mode="json")) for s in (self.now, self.then))
        keys = sorted(key for part in diff(self.now, self.then) for key in part)
        return [
            {"key": k, "now": was.get(k), "then": now.get(k), "is_detection": k.startswith(DETECTION)} for k in keys
        ]


def tell(
    what: Settled, now: Summary | StoreSummary, then: Summary | StoreSummary, found: Sequence[Difference], json: bool
) -> None:
    """Print the settings that differ, what either run came to, and every bar they say different things of."""
    if json:
        findings.echo(_as_json(what, now, then, found))
    else:
        typer.echo("\n".join(_told(what, now, then, found)))


def _as_json(
    what: Settled, now: Summary | StoreSummary, then: Summary | StoreSummary, found: Sequence[Difference]
) -> dict[str, Any]:
    listed: dict[str, list[dict[str, Any]]] = {sort: [] for sort in SIGNS}
    for d in found:
        sides = {"now": _line_json(d.now) if d.now else None, "then": _line_json(d.then) if d.then else None}
        listed[d.what].append(
            {"id": d.line.id, "symbol": d.line.symbol, "ts": d.line.ts, "available_ts": d.line.available_ts,
             "reason": d.reason, **sides}
        )  # fmt: skip
    return {
        "settings": what.changed(), "can_differ": not what.is_same,
        "now": findings.as_json(now), "then": findings.as_json(then), **listed,
    }  # fmt: skip


def _line_json(line: AnomalyLine) -> dict[str, Any]:
    kept = {name: getattr(line, name) for name in ("kind", "score", "p_value", "rate", "severity", "episode_id")}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in kept.items()}


def _told(
    what: Settled, now: Summary | StoreSummary, then: Summary | StoreSummary, found: Sequence[Difference]
) -> list[str]:
    lines = [
        f"now          the settings in force: {_count(now)}",
        f"then         {what.name}: {_count(then)}",
    ]
    for row in what.changed():
        mark = "" if row["is_detection"] else " (changes nothing that is called)"
        lines.append(f"setting      {row['key']} {_value(row['now'])} -> {_value(row['then'])}{mark}")
    if what.is_same:
        lines.append("same         both call the same, whatever the bars: what differs is who is told, or nothing")
    for sort, sign in SIGNS.items():
        some = [d for d in found if d.what == sort]
        lines.append(f"{sort:<12} {len(some):,}")
        lines += [f"  {sign} {_line(d)}" for d in some[:SHOWN]]
        if len(some) > SHOWN:
            lines.append(f"  ... and {len(some) - SHOWN:,} more: --json lists them")
    return lines


def _count(s: Summary | StoreSummary) -> str:
    return (
        f"{counted(s.anomalies, 'anomaly', 'anomalies')}; "
        f"{counted(s.own_episodes, 'own episode')}, {s.own_episodes_per_symbol_day:.3f} per "
        f"symbol-day; the market's {s.market_episodes:,}"
    )


def _value(value: Any) -> str:
    return "unset" if value is None else str(value)


def _line(d: Difference) -> str:
    """Say one difference: when, which bar, what it is called, why."""
    sides = [_called(line) for line in (d.now, d.then) if line]
    reason = {"added": f"now: {d.reason}", "gone": f"then: {d.reason}"}.get(d.what, d.reason)
    return f"{findings.instant(d.line.available_ts)}  {d.line.symbol:<8} {' -> '.join(sides)}  {reason}"


def _called(line: AnomalyLine) -> str:
    rate = "" if math.isnan(line.rate) else f" {line.rate:.2g}/day"
    return f"{line.kind} {line.severity}{rate}"
