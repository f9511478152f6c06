"""`tapewatch up`: run everything on this machine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps import preflight
from ray_apps.commands.common import ConfigFile, DataDir, load

if TYPE_CHECKING:
    from ray_apps.settings import Settings


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `up` is told beside the settings; the settings already hold the flags that have a key there.

    Attributes
    ----------
    source
        `polygon`, `synthetic`, `push` or a folder of bars.
    speed
        Market seconds per second of a synthetic or replayed source.
    symbols
        Stocks on the synthetic tape.
    config
        The file asked for on the command line, to be watched for changes; None: the default places.
    """

    source: str
    speed: float
    symbols: int
    seed: int
    data_dir: Path
    http_port: int
    config: Path | None = None


def up(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="synthetic|polygon|push|DIR",
            help="Where bars come from (push: `POST /v1/bars` only); by default polygon where a key is set, else "
            "synthetic.",
        ),
    ] = None,
    asset: Annotated[
        str | None, typer.Option(help="Asset classes, comma separated; of a folder, its class: by default stocks.")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Market seconds per second, not of polygon.")] = None,
    symbols: Annotated[int | None, typer.Option(help="Number of synthetic stocks.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic tape.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port of the HTTP gateway; 0 takes a free one.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record everything received there, for an exact `replay`.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Watch a market: database, cache, feeds, detectors, sinks and HTTP gateway, until Ctrl-C.

    Example: tapewatch up --source synthetic --speed 60 --symbols 500
    """
    flags: dict[str, object] = {
        "simulator__speed": speed, "simulator__symbols": symbols, "simulator__seed": seed,
        "recording__folder": str(record.absolute()) if record else None,
    }  # fmt: skip

    def read() -> Settings:
        return load(config, data_dir, source=source, assets=asset, http__port=http_port, **flags)

    settings = read()
    preflight.check(settings)
    options = UpOptions(
        source=settings.chosen_source,
        speed=settings.simulator.speed,
        symbols=settings.simulator.symbols,
        seed=settings.simulator.seed,
        data_dir=settings.data_dir,
        http_port=settings.http.port,
        config=config,
    )
    from ray_apps.settings import export

    # Ray reads these when it is imported.
    export({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32), "OMP_NUM_THREADS": "1"})
    from ray_apps import app

    app.up(settings, options, read)
