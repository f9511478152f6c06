"""`tapewatch bench`: measure speed, each figure against a floor of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from ray_apps.commands.common import Json, echo_json
from ray_apps.errors import UsageError

NAMES = ("parse", "replay", "memory")


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}, or all.")],
    symbols: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Of memory: also what so many symbols take.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure one part, or all of them one after the other.

    Example: tapewatch bench parse --json
    """
    if name not in (*NAMES, "all"):
        raise UsageError(f"NAME: expected one of {', '.join(NAMES)}, all, was {name!r}")
    for one in NAMES if name == "all" else (name,):
        figures = {"bench": one, **_run(one, symbols)()}
        if json:
            echo_json(figures)
        else:
            typer.echo(
                "\n".join(f"{k:<24} {v:,.4g}" if isinstance(v, float) else f"{k:<24} {v}" for k, v in figures.items())
            )


def _run(name: str, symbols: int | None = None) -> Callable[[], Mapping[str, Any]]:
    if name == "parse":
        from ray_apps.bench import parse

        return parse.run
    if name == "replay":
        from ray_apps.bench import replay

        return replay.run
    if name == "memory":
        from ray_apps.bench import memory

        return partial(memory.run, symbols=symbols)
    raise UsageError(f"NAME: expected one of {', '.join(NAMES)}, was {name!r}")
