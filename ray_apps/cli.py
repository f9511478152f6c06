"""`tapewatch`, the command line: composes the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

import typer
import typer.main

from ray_apps.commands import (
    anomalies,
    backfill,
    bench,
    check,
    config,
    db,
    drain,
    grafana,
    import_bars,
    outbox,
    probe,
    quality,
    simulate,
    tail,
    up,
    version,
    warm,
)
from ray_apps.commands.common import echo_json, instant
from ray_apps.commands.database import database
from ray_apps.errors import UserError, expectation
from training import cli as training
from training.commands.common import World

CHOICE = re.compile(r"is not one of (.+)\.")

app = typer.Typer(
    name="tapewatch",
    help="Watch a market bar by bar: which bars are abnormal, how sure that is, and why.\n\n"
    "Exit codes: 0 ok, 1 failed, 2 wrong usage.\n\nExample: tapewatch up --speed 60",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(up.up)
app.command()(check.check)
app.add_typer(config.app, name="config")
app.command()(simulate.simulate)
app.add_typer(training.app)
app.command()(backfill.backfill)
app.command("import")(import_bars.import_bars)
app.command()(quality.quality)
app.command()(anomalies.anomalies)
app.command()(tail.tail)
app.command()(probe.probe)
app.command()(bench.bench)
app.add_typer(db.app, name="db")
app.add_typer(outbox.app, name="outbox")
app.add_typer(grafana.app, name="grafana")
app.command()(version.version)
app.command(hidden=True)(warm.warm)
app.command(hidden=True)(drain.drain)


@cache
def command() -> Any:
    """Give the commands as one; putting them together takes longer than running most of them."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line and exit: 0 ok, 1 failed, 2 wrong usage, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Give a command's exit code; a user's mistake is one line on stderr, a bug keeps its traceback.

    A program that asked for JSON gets `{"error": ...}` on stdout too.
    """
    is_json = "--json" in args
    try:
        code = command()(args or ["--help"], prog_name="tapewatch", standalone_mode=False, obj=World(database, instant))
    except typer.TyperException as e:
        return _fail(_mistake(e), e.exit_code, is_json)
    except UserError as e:
        return _fail(str(e), e.exit_code, is_json)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return code if isinstance(code, int) else 0


def _mistake(e: typer.TyperException) -> str:
    """Say what is wrong with an option or argument as our own checks do; what is no such, as typer does."""
    if not isinstance(e, typer.BadParameter) or e.param is None:
        return e.format_message()
    name = e.param.opts[0] if e.param.param_type_name == "option" else e.param.get_error_hint().strip("'").upper()
    if not e.message:
        return f"expected {name}, was none"
    from pydantic import ValidationError  # typer has brought it by now

    if not isinstance(e.__cause__, ValidationError):
        return f"{name}: {e.message}"
    fault = e.__cause__.errors()[0]
    choice = CHOICE.search(fault["msg"])
    expected = expectation(fault["type"], fault["msg"])
    if choice:
        expected = f"one of {choice[1].replace(chr(39), '')}"
    return f"{name}: expected {expected}, was {fault['input']!r}"


def _fail(message: str, code: int, is_json: bool) -> int:
    if is_json:
        echo_json({"error": message})
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    return code
