"""Write anomalies as CSV, and say in lines and in JSON what a replay came to."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ray_apps.errors import UserError
from ray_apps.words import counted

if TYPE_CHECKING:
    from training.reel import StoreSummary
    from training.replay import Summary

SPEEDS = ("engine_s", "total_s")


@contextmanager
def writer(out: Path | None) -> Iterator[Any]:
    """Give what writes one anomaly; the file is there once all of it is."""
    if out is None:
        yield lambda line: None
        return
    from training.lines import AnomalyLine

    part = out.with_name(f".{out.name}.part")
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        with room():
            file = part.open("w", encoding="utf-8", newline="")
        stack.callback(file.close)
        rows = csv.writer(file, lineterminator="\n")

        def write(cells: Sequence[Any]) -> None:
            with room():
                rows.writerow(_cells(cells))

        write(AnomalyLine._fields)
        yield write
        with room():
            file.close()
            part.replace(out)


@contextmanager
def room() -> Iterator[None]:
    """Tell of a disk that is full, or takes nothing from us, as the user's to mend."""
    try:
        yield
    except OSError as e:
        raise UserError(f"expected room for the bars and the anomalies, was: {e.strerror or e}") from e


def _cells(line: Sequence[Any]) -> list[str]:
    return [("" if math.isnan(v) else repr(v)) if isinstance(v, float) else str(v) for v in line]


def echo(told: Mapping[str, Any] | list[Any]) -> None:
    """Print JSON for a program."""
    typer.echo(json.dumps(told, allow_nan=False))


def as_json(summary: Summary | StoreSummary, *, speed: bool = False) -> dict[str, Any]:
    """Give a summary as a program reads it."""
    told = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in dataclasses.asdict(summary).items()}
    if speed:
        return told | {"engine_bars_per_s": summary.engine_bars_per_s, "bars_per_s": summary.bars_per_s}
    return {k: v for k, v in told.items() if k not in SPEEDS}


def found(summary: Summary | StoreSummary, out: Path | None, *, speed: bool = False) -> list[str]:
    """Give the lines of what was found, whatever was replayed."""
    kinds = ", ".join(f"{kind} {n}" for kind, n in summary.episodes_by_kind.items()) or "none"
    lines = [
        f"anomalies    {summary.anomalies:,}" + (f" in {out}" if out else ""),
        f"episodes     {kinds}",
        f"own          {counted(summary.own_episodes, 'episode')}, {summary.own_episodes_per_symbol_day:.3f} per "
        f"symbol-day; the market's {summary.market_episodes:,}",
    ]
    if speed:
        engine, whole = summary.engine_bars_per_s, summary.bars_per_s
        lines.append(f"speed        {engine:,.0f} bars/s in the Engine, {whole:,.0f} with reading")
    return lines


def instant(ms: int) -> str:
    """Give an instant in UTC as a person reads it.

    >>> instant(0)
    '1970-01-01 00:00:00'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
