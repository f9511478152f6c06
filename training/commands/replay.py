"""`tapewatch replay`: a folder of bars through the Engine, and what is abnormal in it as CSV."""

from __future__ import annotations

import csv
import dataclasses
import json as jsonlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from training.lines import AnomalyLine
    from training.replay import ReplayPlan, Summary

BAR = re.compile(r"([1-9]\d{0,4})(s|m|h)")
UNITS = {"s": 1, "m": 60, "h": 3600}


def replay(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="One NAME.csv.gz, .csv or .parquet per series: t,o,h,l,c,v[,vw,n].")
    ],
    asset: Annotated[str, typer.Option(help="Asset class of the folder, such as stocks or crypto.")],
    out: Annotated[Path | None, typer.Option(help="CSV file the anomalies go to; without it only counts are.")] = None,
    bar: Annotated[str | None, typer.Option(help="Bring the bars to this length first: 5s, 1m, 5m, 1h.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file; else TAPEWATCH_CONFIG, else tapewatch.yaml in the data folder."),
    ] = None,
    speed_report: Annotated[bool, typer.Option("--speed-report", help="Print bars a second.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Fold a folder of bars, one market on one clock, as if it came live, and write what is abnormal.

    Example: tapewatch replay bars/ --asset crypto --out anomalies.csv --bar 5s
    """
    from ray_apps.settings import detection_config, load_settings
    from training.replay import ReplayPlan

    if out and not out.absolute().parent.is_dir():
        raise UsageError(f"--out: expected a file in a folder that exists, was {out}")
    asset_class = _asset_class(asset)
    plan = ReplayPlan(
        folder=folder,
        asset_class=asset_class,
        detection=detection_config(load_settings(config, {}), asset_class),
        bar_s=_seconds(bar),
        spool=out.absolute().parent if out else None,
    )
    try:
        summary = _run(plan, out, speed_report)
    except OSError as e:
        raise UserError(f"expected room for the bars and the anomalies, was: {e.strerror or e}") from e
    if json:
        typer.echo(jsonlib.dumps(_as_json(summary, speed_report), allow_nan=False))
    else:
        typer.echo("\n".join(_told(summary, out, speed_report)))


def _asset_class(name: str) -> Any:
    from features.market.types import AssetClass

    if name not in list(AssetClass):
        raise UsageError(f"--asset: expected one of {', '.join(AssetClass)}, was {name!r}")
    return AssetClass(name)


def _seconds(bar: str | None) -> int | None:
    if bar is None:
        return None
    found = BAR.fullmatch(bar)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= 86_400:
        raise UsageError(f"--bar: expected a length such as 5s, 1m, 5m or 1h, was {bar!r}")
    return seconds


def _run(plan: ReplayPlan, out: Path | None, speed_report: bool) -> Summary:
    from features.warm import warm
    from training.replay import replay

    if speed_report:  # compiling is no part of the speed
        warm(plan.asset_class, plan.bar_s or 60)
    with _writer(out) as write:
        return replay(plan, write, lambda fault: typer.echo(f"warning: {fault}", err=True))


@contextmanager
def _writer(out: Path | None) -> Iterator[Any]:
    """Give what writes one anomaly; the file is there once all of it is."""
    if out is None:
        yield lambda line: None
        return
    from training.lines import AnomalyLine

    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(AnomalyLine._fields)
            yield lambda line: writer.writerow(_cells(line))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _cells(line: AnomalyLine) -> list[str]:
    return [("" if math.isnan(v) else repr(v)) if isinstance(v, float) else str(v) for v in line]


def _as_json(summary: Summary, speed_report: bool) -> dict[str, Any]:
    told = dataclasses.asdict(summary)
    if speed_report:
        told |= {"engine_bars_per_s": summary.engine_bars_per_s, "bars_per_s": summary.bars_per_s}
    else:
        del told["engine_s"], told["total_s"]
    return told


def _told(s: Summary, out: Path | None, speed_report: bool) -> list[str]:
    """Give the summary in lines for a person."""
    read = ", ".join(map(str, s.file_bar_s))
    joined = "" if s.file_bar_s == [s.bar_s] else f" (the files' own: {read} s)"
    first, last = (
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") for ms in (s.first_ts, s.last_ts)
    )
    activity = "trade count (n in every file)" if s.activity == "trades" else "log volume (no n in every file)"
    kinds = ", ".join(f"{kind} {n}" for kind, n in s.episodes_by_kind.items()) or "none"
    lines = [
        f"series       {s.series} of {s.asset_class}" + (f", {s.n_bad_files} files left out" if s.n_bad_files else ""),
        f"bar length   {s.bar_s} s{joined}",
        f"activity     {activity}",
        f"bars         {s.bars:,}, {first} to {last} UTC, {s.symbol_days:,} symbol-days",
        f"dropped      {s.n_silent:,} rows without volume, {s.n_refused:,} bad rows",
        f"anomalies    {s.anomalies:,}" + (f" in {out}" if out else ""),
        f"episodes     {kinds}",
        f"own          {s.own_episodes:,} episodes, {s.own_episodes_per_symbol_day:.3f} per symbol-day; "
        f"the market's {s.market_episodes:,}",
    ]
    if speed_report:
        lines.append(f"speed        {s.engine_bars_per_s:,.0f} bars/s in the Engine, {s.bars_per_s:,.0f} with reading")
    return lines
