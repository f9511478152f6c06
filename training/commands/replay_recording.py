"""`tapewatch replay RECORDING`: what was called live, bit for bit, from the frames and closes that were recorded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ray_apps.errors import UserError
from ray_apps.words import counted
from training.commands import findings
from training.commands.asked import Asked
from training.commands.common import asset_class_of

if TYPE_CHECKING:
    from training.recording import RecordingSummary


def is_one(folder: Path) -> bool:
    """Say whether a folder is a recording; the heavy reader is imported for what exists only."""
    if not folder.is_dir():
        return False
    from ray_apps.store.recording import is_recording

    return is_recording(folder)


def run(asked: Asked) -> None:
    """Replay a recording and say what it held."""
    from ray_apps.store.recording import RecordingError
    from training.recording import replay_recording

    assert asked.folder is not None
    asset_class = None if asked.asset is None else asset_class_of(asked.asset)
    began = time.perf_counter()
    try:
        with findings.writer(asked.out) as write:
            summaries = replay_recording(asked.folder, asset_class, write)
    except RecordingError as e:
        raise UserError(str(e)) from e
    seconds = time.perf_counter() - began
    for note in (f"{s.asset_class}: {note}" for s in summaries for note in s.notes):
        typer.echo(f"warning: {note}", err=True)
    bars_per_s = sum(s.bars for s in summaries) / seconds
    if asked.json:
        speed = {"bars_per_s": bars_per_s} if asked.speed_report else {}
        findings.echo({"recordings": [_as_json(s) for s in summaries], **speed})
        return
    for summary in summaries:
        typer.echo("\n".join(_told(summary)))
    typer.echo(f"anomalies    {sum(s.anomalies for s in summaries):,}" + (f" in {asked.out}" if asked.out else ""))
    if asked.speed_report:
        typer.echo(f"speed        {bars_per_s:,.0f} bars/s with reading")


def _as_json(s: RecordingSummary) -> dict[str, Any]:
    return {
        "asset_class": s.asset_class, "series": s.series, "segments": s.segments, "frames": s.frames, "bars": s.bars,
        "windows": s.windows, "first_ts": s.first_ts, "last_ts": s.last_ts, "anomalies": s.anomalies,
        "anomalies_by_kind": dict(s.kinds), "anomalies_by_state": dict(s.states),
        "holes": {cause: n for cause, n in s.holes.items() if cause != "filled"}, "holes_filled": s.holes["filled"],
        "shadow": dict(s.shadow), "models": s.models, "notes": s.notes,
    }  # fmt: skip


def _told(s: RecordingSummary) -> list[str]:
    """Give a class's summary in lines for a person."""
    span = ""
    if s.first_ts is not None and s.last_ts is not None:
        span = f", {findings.instant(s.first_ts)} to {findings.instant(s.last_ts)} UTC"
    holes = [f"{n} {cause}" for cause, n in s.holes.most_common() if cause != "filled"]
    holes += [f"{s.holes['filled']} filled"] if s.holes["filled"] else []
    return [
        f"series       {s.series:,} of {s.asset_class}",
        f"recorded     {counted(s.segments, 'segment')}, {counted(s.frames, 'frame')}, {counted(s.windows, 'window')}",
        f"bars         {s.bars:,}{span}",
        f"holes        {', '.join(holes) or 'none'}",
        f"models       {', '.join(s.models) or 'none'}",
        f"shadow       {', '.join(f'{outcome} {n}' for outcome, n in s.shadow.most_common()) or 'none'}",
        f"kinds        {', '.join(f'{kind} {n}' for kind, n in s.kinds.most_common()) or 'none'}",
        f"states       {', '.join(f'{state} {n}' for state, n in s.states.most_common()) or 'none'}",
    ]
