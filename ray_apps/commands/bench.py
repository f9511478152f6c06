"""`tapewatch bench`: measure speed, each figure against a floor of the same run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer

from ray_apps.commands.common import Json, echo_json
from ray_apps.errors import UsageError

NAMES = ("parse", "replay", "memory", "start", "history", "quality", "warm", "burst", "sustained")


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}, or all.")],
    symbols: Annotated[
        int | None,
        typer.Option(min=1, max=10_000_000, help="Of memory: what so many symbols take; of warm: stocks; of quality."),
    ] = None,
    bursts: Annotated[int, typer.Option(min=1, max=10_000, help="Of burst: how many are measured.")] = 500,
    minutes: Annotated[float, typer.Option(min=0.5, max=1_440, help="Of sustained: for how long.")] = 10.0,
    warm_days: Annotated[
        int | None, typer.Option(min=0, max=30, help="Of burst and sustained: days of history folded before.")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Of sustained: with everything recorded.")] = False,
    json: Json = False,
) -> None:
    """Measure one part, or all of them one after the other.

    Example: tapewatch bench burst --bursts 50 --json
    """
    if name not in (*NAMES, "all"):
        raise UsageError(f"NAME: expected one of {', '.join(NAMES)}, all, was {name!r}")
    days = {} if warm_days is None else {"warm_days": warm_days}
    options: dict[str, dict[str, Any]] = {
        "memory": {"symbols": symbols}, "quality": {"symbols": symbols},
        "warm": {} if symbols is None else {"symbols": symbols},
        "burst": {"bursts": bursts, **days}, "sustained": {"minutes": minutes, "record": record, **days},
    }  # fmt: skip
    for one in NAMES if name == "all" else (name,):
        figures = {"bench": one, **_run(one)(**options.get(one, {}))}
        if json:
            echo_json(figures)
        else:
            typer.echo(
                "\n".join(f"{k:<24} {v:,.4g}" if isinstance(v, float) else f"{k:<24} {v}" for k, v in figures.items())
            )


def _run(name: str) -> Callable[..., Mapping[str, Any]]:
    """Give a bench; those on Ray are imported when Ray has been told its token."""
    if name in ("warm", "burst", "sustained"):
        from ray_apps.settings import export

        export({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32), "OMP_NUM_THREADS": "1"})
    run: Callable[..., Mapping[str, Any]] = import_module(f"ray_apps.bench.{name}").run
    return run
