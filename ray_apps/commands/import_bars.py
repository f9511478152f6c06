"""`tapewatch import`: bring bars of files into the store, or lines of bars to the running system."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load, zone
from ray_apps.errors import UsageError, UserError
from ray_apps.words import counted

if TYPE_CHECKING:
    from pydantic import SecretStr

    from features.market.types import AssetClass
    from ray_apps.commands.import_screen import Screen
    from ray_apps.imports.importer import Import
    from ray_apps.imports.place import Place
    from ray_apps.imports.push import Refusal
    from ray_apps.imports.reading import Tally
    from ray_apps.imports.told import Told
    from ray_apps.settings import Settings

STDIN = "-"
"""Hosts that are listened on but not called."""

ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
LENGTH = re.compile(r"([1-9]\d{0,4})(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class TimeUnit(StrEnum):
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"
    SECONDS = "s"


def import_bars(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR_OR_FILES",
            help="Folders, files or patterns of NAME.csv, .csv.gz, .parquet; s3://bucket/prefix; or - for JSON lines.",
        ),
    ],
    asset: Annotated[str, typer.Option(help="Asset class: stocks, crypto, forex, indices, options or futures.")],
    symbol: Annotated[
        list[str] | None,
        typer.Option(
            help="Symbol of a file that does not say; of those that do, the one to take. For several files "
            "FILE=NAME,FILE=NAME: their names without .csv and the like, or patterns."
        ),
    ] = None,
    bar: Annotated[str | None, typer.Option(help="Length of the bars, such as 1m; by default what they show.")] = None,
    tz: Annotated[str | None, typer.Option("--tz", help="Time zone of times written without one.")] = None,
    time_unit: Annotated[
        TimeUnit | None, typer.Option("--time-unit", help="Unit of times that are numbers; by default by their size.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Which column is which, such as t=window_start,o=open; by default by their names."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Read files that were imported whole before, too.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say how the files would be read, by their first rows; of -: check as a live feed does now.",
        ),
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Where the running system is, for JSON lines; by default that of the data folder."),
    ] = None,
    json: Json = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring bars of your own files into the store, whatever the layout; or pipe bars to the running system.

    Known by their header: the vendor's flat files (minute_aggs_v1, day_aggs_v1), t,o,h,l,c,v[,vw,n], and the usual
    names of columns. What can be read in two ways is refused with a question. Run it again after any interruption.
    Files are history, for the database. Lines of - are live bars, for the running system (with http.token, if set):
    {"symbol", "t" (Unix ms), "o", "h", "l", "c", "v"} and maybe "vw", "n", "bar_s", as in
    feeder | tapewatch import - --asset crypto.
    Exit 1 where something did not come in, 2 where nothing but questions is left.

    Example: tapewatch import flatfiles/us_stocks_sip/minute_aggs_v1/2026 --asset stocks
    """
    from ray_apps.imports.layout import told_columns
    from ray_apps.imports.told import Told, told_symbols

    settings = load(config, data_dir)
    unit = None if time_unit is None else time_unit.value
    told = Told(_class(asset), None, _length(bar), _zone(tz), unit, told_columns(columns))
    if symbol:
        told = told_symbols(told, symbol)
    if STDIN in files:
        if len(files) > 1:
            raise UsageError(f"{STDIN}: expected no files beside it, was some")
        _check_lines(told, again)
        _push(told, None if dry_run else _gateway(settings, url), settings.http.token, json)
        return
    if url is not None:
        raise UsageError(f"--url: expected {STDIN} for lines to send, was files")
    _import(settings, files, told, again, dry_run, json)


def _import(settings: Settings, files: list[str], told: Told, again: bool, dry_run: bool, json: bool) -> None:
    from ray_apps.commands.database import database
    from ray_apps.commands.import_screen import Screen
    from ray_apps.imports.importer import Import, Order
    from ray_apps.imports.pieces import LISTED
    from ray_apps.imports.place import find
    from ray_apps.store.errors import StoreError
    from ray_apps.store.migrate import migrate
    from ray_apps.store.sieve import MESSAGES_KEPT

    places = find(files, settings.s3)
    told.check([place.label for place in places])
    screen = Screen(told, json)
    if dry_run:
        tallies = asyncio.run(_plan(places, told, screen))
    else:
        with database(settings, make=True) as dsn:
            migrate(dsn)
            listed = LISTED if json else MESSAGES_KEPT
            running = Import(dsn, Order(places, told, settings.retention_days, again, listed))
            try:
                asyncio.run(_run(running, screen, settings.retention_days))
            except StoreError as e:
                if json:
                    echo_json(screen.record)
                raise UserError(str(e)) from e
            tallies = running.tallies
    if json:
        echo_json(screen.record)
    _exit(tallies)
    if told.symbol is not None and not dry_run and not any(t.n_bars or t.is_known for t in tallies):
        raise UserError(f"--symbol: expected bars of {told.symbol} in the files, was none")


async def _run(running: Import, screen: Screen, retention_days: int) -> None:
    try:
        await screen.watch(running)
    finally:
        screen.summary(running, retention_days)


async def _plan(places: list[Place], told: Told, screen: Screen) -> list[Tally]:
    """Say how files would be read."""
    from ray_apps.imports.importer import limits_of, understand_all
    from ray_apps.imports.reading import Tally

    tallies = [Tally(place) for place in places]
    recipes = await understand_all(tallies, told, limits_of(None, 1))
    screen.plan(tallies, recipes)
    return tallies


def _exit(tallies: list[Tally]) -> None:
    """End with 2 where nothing but questions is left, with 1 where something else did not come in."""
    if all(t.is_question or t.is_known for t in tallies) and any(t.is_question for t in tallies):
        raise typer.Exit(2)
    if any(t.failure or t.refused for t in tallies):
        raise typer.Exit(1)


def _push(told: Told, url: str | None, token: SecretStr | None, json: bool) -> None:
    """Send the lines of the standard input."""
    from ray_apps.imports.errors import PlaceError
    from ray_apps.imports.push import Push, PushError

    push = Push(url, None if token is None else token.get_secret_value(), told, _say)
    sent, failure = push.sent, ""
    try:
        if sys.stdin is None:
            raise PlaceError("expected lines on the standard input, was closed")
        push.run(sys.stdin.fileno())
    except (PlaceError, PushError) as e:
        failure = f"{e}; lines after {sent.last_line:,} were not sent"
    finally:
        if json:
            echo_json({
                "accepted": sent.accepted, "refused": sent.refused, "skipped": sent.skipped, "requests": sent.requests,
                "last_line": sent.last_line, "failure": failure, "refusals": [asdict(r) for r in sent.refusals],
            })  # fmt: skip
        else:
            skipped = f", {sent.skipped:,} of other symbols" if told.symbol is not None else ""
            done = "good" if url is None else "accepted"
            typer.echo(f"{counted(sent.accepted, 'bar')} {done}, {sent.refused:,} refused{skipped}")
    if failure:
        raise UserError(failure)
    if sent.refused:
        raise typer.Exit(1)


def _say(refusal: Refusal) -> None:
    typer.echo(f"line {refusal.line}: {refusal.reason}: {refusal.message}", err=True)


def _gateway(settings: Settings, url: str | None) -> str:
    """Give the base address of the running system."""
    from ray_apps.local import gateway

    if url is None:
        return gateway.find(settings)
    if not ADDRESS.fullmatch(url):
        raise UsageError(f"--url: expected an address such as http://127.0.0.1:8000, was {url!r}")
    return url.rstrip("/")


def _check_lines(told: Told, again: bool) -> None:
    """Refuse what is of files alone."""
    from features.market.pushed import LENGTHS_S

    given = {"--tz": told.zone, "--time-unit": told.unit, "--columns": told.columns, "--again": again}
    if told.symbols:
        raise UsageError(f"--symbol: expected one name for the lines of {STDIN}, was FILE=NAME")
    for option, value in given.items():
        if value:
            raise UsageError(f"{option}: expected files to read, was {STDIN}")
    if told.bar_s not in (None, *LENGTHS_S):
        expected = ", ".join(map(str, LENGTHS_S))
        raise UsageError(f"--bar: expected a length of live bars, {expected} s, was {told.bar_s} s")


def _class(text: str) -> AssetClass:
    from features.market.types import AssetClass

    if text not in list(AssetClass):
        raise UsageError(f"--asset: expected one of {', '.join(AssetClass)}, was {text!r}")
    return AssetClass(text)


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    found = LENGTH.fullmatch(text)
    if not found:
        raise UsageError(f"--bar: expected a length such as 1s, 1m, 5m, 1h or 1d, was {text!r}")
    return int(found[1]) * SECONDS[found[2]]


def _zone(name: str | None) -> str | None:
    if name is not None:
        zone(name)
    return "UTC" if name is not None and name.upper() == "UTC" else name
