"""`tapewatch replay DIR`: a folder of bars through the Engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ray_apps.words import counted
from training.commands import differences, findings
from training.commands.asked import Asked
from training.commands.common import seconds_of

if TYPE_CHECKING:
    from ray_apps.settings import Settings
    from training.replay import ReplayPlan, Summary


def run(asked: Asked) -> None:
    """Replay a folder, or hold two settings over it against each other."""
    from ray_apps.settings import detection_config, load_settings
    from training.replay import ReplayPlan

    assert asked.folder is not None
    asset_class = asked.asset_class()
    settings = load_settings(None if asked.diff else asked.config, {})
    plan = ReplayPlan(
        folder=asked.folder,
        asset_class=asset_class,
        detection=detection_config(settings, asset_class),
        bar_s=seconds_of(asked.bar),
        spool=asked.out.absolute().parent if asked.out else None,
    )
    with findings.room():  # the bars wait on disk too
        if asked.diff:
            _differ(asked, plan, settings)
        else:
            _replay(asked, plan)


def _replay(asked: Asked, plan: ReplayPlan) -> None:
    from features.warm import warm
    from training.replay import replay

    if asked.speed_report:  # compiling is no part of the speed
        warm(plan.asset_class, plan.bar_s or 60)
    with findings.writer(asked.out) as write:
        summary = replay(plan, write, _warn)
    if asked.json:
        findings.echo(findings.as_json(summary, speed=asked.speed_report))
    else:
        typer.echo("\n".join([*_told(summary), *findings.found(summary, asked.out, speed=asked.speed_report)]))
    _exit(summary)


def _differ(asked: Asked, plan: ReplayPlan, settings: Settings) -> None:
    from ray_apps.settings import detection_config, load_settings
    from training.replay import compare, replay

    other = load_settings(asked.config, {})
    detection = detection_config(other, plan.asset_class)
    what = differences.Settled(settings, other, str(asked.config), plan.detection, detection)
    if what.is_same:
        summary = replay(plan, lambda line: None, _warn)
        differences.tell(what, summary, summary, [], asked.json)
    else:
        now, then, comparison = compare(plan, detection, _warn)
        differences.tell(what, now, then, comparison.differences, asked.json)
        summary = now
    _exit(summary)


def _exit(summary: Summary) -> None:
    """End with 1 where something of the folder was not played, after all that was."""
    if not summary.is_whole:
        raise typer.Exit(1)


def _warn(fault: str) -> None:
    typer.echo(f"warning: {fault}", err=True)


def _told(s: Summary) -> list[str]:
    """Give what was read in lines for a person."""
    read = ", ".join(map(str, s.file_bar_s))
    joined = "" if s.file_bar_s == [s.bar_s] else f" (the files' own: {read} s)"
    first, last = findings.instant(s.first_ts), findings.instant(s.last_ts)
    activity = "trade count (n in every file)" if s.activity == "trades" else "log volume (no n in every file)"
    left_out = f", {counted(s.n_bad_files, 'file')} left out" if s.n_bad_files else ""
    return [
        f"series       {s.series} of {s.asset_class}{left_out}",
        f"bar length   {s.bar_s} s{joined}",
        f"activity     {activity}",
        f"bars         {s.bars:,}, {first} to {last} UTC, {counted(s.symbol_days, 'symbol-day')}",
        f"dropped      {counted(s.n_silent, 'row')} without volume, "
        f"{counted(s.n_refused, 'bad row')}, {s.n_duplicates:,} repeated",
    ]
