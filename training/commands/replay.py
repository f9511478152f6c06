"""`tapewatch replay`: bars through the Engine once more, and what is abnormal in them as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ray_apps.errors import UsageError
from training.commands import replay_folder, replay_recording, replay_store
from training.commands.asked import Asked
from training.commands.common import World

OF_STORE = ("from", "to", "symbols", "warm-days", "activity", "data-dir")
"""The options that only mean something of the database."""
OF_SETTINGS = ("bar", "config", "diff")
"""The options of which a recording carries its own."""


def replay(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A folder of bars, one NAME.csv.gz, .csv or .parquet per series: t,o,h,l,c,v[,vw,n]; or a recording "
            "of `up --record`. Without it: what is stored in the database.",
        ),
    ] = None,
    asset: Annotated[
        str | None, typer.Option(help="Asset class, such as stocks or crypto; of a recording: only this one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file the anomalies go to; without it only counts are.")] = None,
    bar: Annotated[
        str | None, typer.Option(help="Of a folder: bring the bars to this length first: 5s, 1m, 5m, 1h.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file; else TAPEWATCH_CONFIG, else tapewatch.yaml in the data folder."),
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Say what --config would call otherwise than the settings in force, and why.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Judge stored bars from here: ISO 8601, or a span before now: 90m, 7d; else those with --warm-days "
            "before them, or all where less is stored.",
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Stored bars before this instant; else up to the newest.")] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Only these, as AAPL,MSFT, held against what was kept of their market.")
    ] = None,
    warm_days: Annotated[
        float | None,
        typer.Option(min=0, max=3_650, help="Days before --from that are folded, and of which nothing is called. [7]"),
    ] = None,
    activity: Annotated[
        str | None, typer.Option(help="Column that says how busy a bar was: trades, volume; else the live feed's.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Data folder; else TAPEWATCH_DATA_DIR, else XDG_DATA_HOME/tapewatch."),
    ] = None,
    speed_report: Annotated[bool, typer.Option("--speed-report", help="Print bars a second.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Fold bars once more as if they came live, and write what is abnormal: of a folder, a recording or the database.

    A folder is one market on one clock. A recording gives what was called live, bit for bit, with the settings it
    carries. The database gives its stored bars as if perfectly received; bars refused for false prices are not stored.
    Of a folder: exit 1 where a file was left out or a row refused; what the others gave is written all the same.

    Example: tapewatch replay bars/ --asset crypto --out anomalies.csv --bar 5s

    Example: tapewatch replay tape/ --json

    Example: tapewatch replay --asset stocks --from 2026-11-01 --to 2026-11-03 --symbols AAPL,MSFT

    Example: tapewatch replay --asset stocks --from 7d --config other.yaml --diff
    """
    asked = Asked(folder, asset, out, bar, config, diff, from_, to, symbols, warm_days, activity, data_dir,
                  speed_report, json)  # fmt: skip
    world: World = ctx.obj
    _check(asked)
    if folder is None:
        asked.refuse("without DIR: the database's bars have their length", "bar")
        replay_store.run(asked, world)
    elif replay_recording.is_one(folder):
        asked.refuse("with a recording: it carries its settings", *OF_SETTINGS)
        asked.refuse("with DIR: the database is replayed without it", *OF_STORE)
        replay_recording.run(asked)
    else:
        asked.refuse("with DIR: the database is replayed without it", *OF_STORE)
        replay_folder.run(asked)


def _check(asked: Asked) -> None:
    """Refuse what no replay can do."""
    out, folder = asked.out, asked.folder
    if out and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UsageError(f"--out: expected a file in a folder that exists, was {out}")
    if asked.diff and asked.config is None:
        raise UsageError("--diff: expected --config FILE with the other settings, was none")
    if asked.diff and (out or asked.speed_report):
        raise UsageError("--diff: expected neither --out nor --speed-report: it prints what differs (--json: all)")
    if folder is not None and not folder.is_dir():
        was = "a file" if folder.exists() else "absent"
        raise UsageError(f"expected a folder of bar files or a recording at {folder}, was {was}")
