"""`tapewatch quality`: say how good stored or filed bars are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, instant, zone
from ray_apps.errors import UsageError
from ray_apps.words import counted

if TYPE_CHECKING:
    from features.market.quality.summary import Quality
    from ray_apps.quality.wish import Wish

WIDTH = 100
"""Columns of the tables where no terminal bounds them."""
UNREADABLE_SHOWN = 10


def quality(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Folders or files of bars; without any, the bars of the store."),
    ] = None,
    asset: Annotated[str, typer.Option(help="Asset class, such as stocks or crypto.")] = "",
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, comma separated.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="From this instant: ISO 8601 in UTC, or a span before now such as 30d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before this instant.")] = None,
    bar: Annotated[str | None, typer.Option(help="Only bars of this length, where there are several: 1m, 5m.")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="JSON of the vendor's /v3/reference/splits: a split listed there is surer.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots to this file.")] = None,
    json: Json = False,
    max_missing: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit 1 where a symbol lost a larger part of its bars in gaps.")
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit 1 where a symbol has a smaller part of its usual bars over the span."),
    ] = None,
    max_gaps: Annotated[int | None, typer.Option(min=0, help="Exit 1 where there are more gaps and outages.")] = None,
    max_stale: Annotated[int | None, typer.Option(min=0, help="Exit 1 where there are more stale prices.")] = None,
    max_outliers: Annotated[
        int | None, typer.Option(min=0, help="Exit 1 where there are more price and volume outliers.")
    ] = None,
    max_bad_rows: Annotated[int | None, typer.Option(min=0, help="Exit 1 where more rows are refused.")] = None,
    max_slips: Annotated[int | None, typer.Option(min=0, help="Exit 1 where there are more slips of clocks.")] = None,
    max_splits: Annotated[int | None, typer.Option(min=0, help="Exit 1 where more splits are not applied.")] = None,
    max_findings: Annotated[
        int | None, typer.Option(min=0, help="Exit 1 where there are more findings of all kinds together.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Judge bars: gaps, wrong rows, outliers, stale prices, slipped clocks, splits not applied, and what is usual.

    Exit 1 where a bound that was set is crossed, one line each.

    Example: tapewatch quality --asset crypto --from 30d --max-missing 0.01 --html report.html
    """
    from ray_apps.quality.demands import Demands

    demands = Demands(
        max_missing, min_coverage, max_gaps, max_stale, max_outliers, max_bad_rows, max_slips, max_splits, max_findings
    )  # fmt: skip
    wish = _wish(asset, symbols, since, until, bar, splits)
    with _page_file(html) as file:
        with _progress() as seen:
            found, unreadable, messages, notes = _judge(paths or [], wish, seen, config, data_dir)
        crossed = demands.crossed(found)
        if file is not None:
            from ray_apps.quality.page import page

            file.write_text(page(found, unreadable, crossed, messages), encoding="utf-8")
    for line in notes:
        typer.echo(line, err=True)
    _tell(found, unreadable, crossed, json)
    for line in crossed:
        typer.echo(f"error: {line}", err=True)
    if crossed:
        raise typer.Exit(1)


def _wish(
    asset: str, symbols: str | None, since: str | None, until: str | None, bar: str | None, splits: Path | None
) -> Wish:
    from features.market.types import AssetClass
    from ray_apps.api.schemas import to_ns
    from ray_apps.quality.known import read_splits
    from ray_apps.quality.wish import Wish, seconds

    if asset not in list(AssetClass):
        raise UsageError(f"--asset: expected one of {', '.join(AssetClass)}, was {asset!r}")
    names = tuple(dict.fromkeys(n.strip().removeprefix(f"{asset}:") for n in (symbols or "").split(",") if n.strip()))
    if symbols is not None and not names:
        raise UsageError("--symbols: expected names such as AAPL,MSFT, was none")
    at = zone("UTC")
    start, end = instant(since, "--from", at), instant(until, "--to", at)
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--from: expected before {end:%Y-%m-%d %H:%M} UTC, was {start:%Y-%m-%d %H:%M} UTC")
    return Wish(
        AssetClass(asset),
        names,
        None if start is None else to_ns(start),
        None if end is None else to_ns(end),
        None if bar is None else seconds(bar),
        {} if splits is None else read_splits(splits),
    )


@contextlib.contextmanager
def _page_file(path: Path | None) -> Iterator[Path | None]:
    """Give the file a page is written to; it takes its place once the block has ended well.

    Whether it can be written shows at once: judging takes a while.
    """
    if path is None:
        yield None
        return
    part = path.with_name(f".{path.name}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part.touch()
    except (OSError, ValueError) as e:
        said = e.strerror if isinstance(e, OSError) else str(e)
        raise UsageError(f"--html: expected a file that can be written, was {path}: {said}") from e
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _judge(
    paths: list[Path], wish: Wish, seen: Callable[[int, int], None], config: Path | None, data_dir: Path | None
) -> tuple[Quality, tuple[str, ...], tuple[str, ...], list[str]]:
    """Give the quality, a line for each file that could not be read, bad rows, and what else a person should know."""
    if paths:
        from ray_apps.quality.filed import judge_files

        filed = judge_files(paths, wish, seen)
        notes = [f"warning: {line}" for line in (*filed.unreadable, *filed.messages)]
        hidden = len(notes) - UNREADABLE_SHOWN
        notes[UNREADABLE_SHOWN:] = [f"warning: and {counted(hidden, 'more line')} of that kind"] if hidden > 0 else []
        if filed.left_out:
            notes.append(f"note: {counted(filed.left_out, 'file')} left out: bars of another length")
        return filed.quality, filed.unreadable, filed.messages, notes
    from ray_apps.commands.common import load
    from ray_apps.commands.database import database
    from ray_apps.quality.stored import judge_stored

    with database(load(config, data_dir)) as dsn:
        return asyncio.run(judge_stored(dsn, wish, seen)), (), (), []


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Give what shows how many are done, on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _, __: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(40), TextColumn("{task.completed:,.0f} of {task.total:,.0f} symbols"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=0, visible=False)  # until it is known how many there are
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def _tell(found: Quality, unreadable: tuple[str, ...], crossed: list[str], json: bool) -> None:
    """Print the record or the tables."""
    if json:
        from ray_apps.quality.record import record

        echo_json(record(found, unreadable, crossed))
        return
    from rich.console import Console

    from ray_apps.quality.screen import show

    width = None if sys.stdout.isatty() else WIDTH
    show(found, Console(markup=False, highlight=False, width=width))
