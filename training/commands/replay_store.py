"""`tapewatch replay --asset CLASS`: the bars of the database through the Engine, as if perfectly received."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from ray_apps.errors import UsageError
from ray_apps.words import counted
from training.commands import differences, findings
from training.commands.asked import Asked
from training.commands.common import World

if TYPE_CHECKING:
    from ray_apps.settings import Settings
    from training.reel import StorePlan, StoreSummary

NS_PER_S = 10**9
WARM_DAYS = 7.0
ACTIVITIES = ("trades", "volume")


def run(asked: Asked, world: World) -> None:
    """Replay what is stored, or hold two settings over it against each other."""
    from ray_apps.settings import load_settings

    if asked.asset is None:
        raise UsageError("expected DIR to replay, or --asset CLASS to replay what is stored, was neither")
    folder = {"data_dir": str(asked.data_dir) if asked.data_dir else None}
    settings = load_settings(None if asked.diff else asked.config, folder)
    plan = _plan(asked, world, settings)
    if asked.diff:
        _differ(asked, world, plan, settings, load_settings(asked.config, folder))
    else:
        _replay(asked, world, plan, settings)


def _plan(asked: Asked, world: World, settings: Settings) -> StorePlan:
    from ray_apps.settings import detection_config
    from training.reel import StorePlan

    asset_class = asked.asset_class()
    if asked.activity not in (None, *ACTIVITIES):
        raise UsageError(f"--activity: expected {' or '.join(ACTIVITIES)}, was {asked.activity!r}")
    names = [name.strip().removeprefix(f"{asset_class}:") for name in (asked.symbols or "").split(",") if name.strip()]
    if asked.symbols is not None and not names:
        raise UsageError(f"--symbols: expected symbols such as AAPL,MSFT, was {asked.symbols!r}")
    return StorePlan(
        asset_class=asset_class,
        bar_s=max(settings.bar_lengths),
        now_ns=_ns(datetime.now(UTC)),
        from_ns=_instant(world, asked.from_, "--from"),
        to_ns=_instant(world, asked.to, "--to"),
        symbols=tuple(dict.fromkeys(names)),
        warm_days=WARM_DAYS if asked.warm_days is None else asked.warm_days,
        activity=asked.activity,
        detection=detection_config(settings, asset_class),
    )


def _instant(world: World, text: str | None, option: str) -> int | None:
    said = world.instant(text, option, UTC)
    return None if said is None else _ns(said)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * NS_PER_S


def _replay(asked: Asked, world: World, plan: StorePlan, settings: Settings) -> None:
    from features.warm import warm
    from training.stored import replay_store

    if asked.speed_report:  # compiling is no part of the speed
        warm(plan.asset_class, plan.bar_s)
    with findings.writer(asked.out) as write, world.database(settings) as dsn:
        summary = asyncio.run(replay_store(dsn, plan, write))
    _warn(plan, summary)
    if asked.json:
        findings.echo(findings.as_json(summary, speed=asked.speed_report))
    else:
        typer.echo("\n".join([*_told(plan, summary), *findings.found(summary, asked.out, speed=asked.speed_report)]))


def _differ(asked: Asked, world: World, plan: StorePlan, settings: Settings, other: Settings) -> None:
    from ray_apps.settings import detection_config
    from training.stored import compare_store, replay_store

    if max(other.bar_lengths) != plan.bar_s:
        raise UsageError(f"--diff: expected {plan.bar_s} s as the longest of bar_lengths, was {max(other.bar_lengths)}")
    detection = detection_config(other, plan.asset_class)
    what = differences.Settled(settings, other, str(asked.config), plan.detection, detection)
    with world.database(settings) as dsn:
        if what.is_same:
            now = then = asyncio.run(replay_store(dsn, plan, lambda line: None))
            found = []
        else:
            now, then, comparison = asyncio.run(compare_store(dsn, plan, detection))
            found = comparison.differences
    _warn(plan, now)
    differences.tell(what, now, then, found, asked.json)


def _warn(plan: StorePlan, s: StoreSummary) -> None:
    _warn_of_history(plan, s)
    if s.windows_unknown:
        typer.echo(
            f"warning: of {counted(s.windows_unknown, 'window')} nothing was kept of the market: there no "
            "shock and no break is called, and no rate is rescaled",
            err=True,
        )


def _warn_of_history(plan: StorePlan, s: StoreSummary) -> None:
    if s.missing_days:
        typer.echo(
            f"warning: {s.missing_days:.1f} of the {_days(plan)} of history are not stored: a live run that "
            "began warm had them, this replay starts without, and what the two call differs for that",
            err=True,
        )


def _days(plan: StorePlan) -> str:
    return f"{plan.warm_days:g} day{'' if plan.warm_days == 1 else 's'}"


def _told(plan: StorePlan, s: StoreSummary) -> list[str]:
    """Give what was read in lines for a person."""
    market = "their market as it was kept" if plan.symbols else "all of the class"
    return [
        f"series       {s.series:,} of {s.asset_class}, {market}",
        f"bar length   {s.bar_s} s",
        f"activity     {'trade count' if s.activity == 'trades' else 'log volume'}",
        f"bars         {s.bars:,}, {findings.instant(s.from_ts)} to {findings.instant(s.to_ts)} UTC, "
        f"{counted(s.symbol_days, 'symbol-day')}",
        f"history      {counted(s.warm_bars, 'bar')} of {_days(plan)} before",
        f"holes        {s.holes:,} not filled",
    ]
