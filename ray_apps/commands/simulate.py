"""`tapewatch simulate`: the vendor's REST and WebSocket protocol on loopback."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import instant
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from features.market.types import AssetClass


def simulate(
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the REST side; 0 takes a free one.")] = 8080,
    ws_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the real-time feed; the delayed one is one above.")
    ] = 8765,
    source: Annotated[
        str, typer.Option(metavar="synthetic|DIR", help="A synthetic tape, or a folder of CSV or Parquet bars.")
    ] = "synthetic",
    symbols: Annotated[int, typer.Option(min=1, max=11_000, help="Synthetic symbols of each class.")] = 200,
    speed: Annotated[
        float, typer.Option(min=0, help="Market seconds per second; 0 is as fast as the clients read.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The tape is a function of it.")] = 7,
    asset: Annotated[
        str, typer.Option(help="Asset classes, comma separated; of a folder, its class.")
    ] = "stocks,crypto",
    start: Annotated[str | None, typer.Option(help="Where the clock starts, ISO 8601 in UTC.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=2000, help="Most events of a frame.")] = 1000,
    per_day: Annotated[int, typer.Option(min=0, help="Injected anomalies per day and class.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="CSV file the truth about injected anomalies goes to.")] = None,
    deflate: Annotated[bool, typer.Option("--deflate", help="Compress the stream where asked.")] = False,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="What is wrong from the start; may be repeated.")
    ] = None,
) -> None:
    """Serve a market as the vendor does, until Ctrl-C; any key `sim-advanced`, `sim-starter`, ... is taken.

    Example: tapewatch simulate --rest-port 8080 --ws-port 8765 --symbols 500 --speed 60
    """
    from ray_apps.simulator.config import SimulatorConfig
    from ray_apps.simulator.faults import from_flags
    from ray_apps.simulator.server import run
    from ray_apps.store.files import FileError

    at = instant(start, "--start", UTC)
    try:
        config = SimulatorConfig(
            rest_port=rest_port,
            ws_port=ws_port,
            source=source,
            symbols=symbols,
            assets=_classes(asset),
            seed=seed,
            speed=speed,
            start_ns=round(at.timestamp()) * 10**9 if at else None,
            per_day=per_day,
            labels=labels,
            deflate=deflate,
            faults=from_flags([f"batch={batch}", *(fault or [])]),
        )
    except ValueError as e:
        raise UsageError(f"--{e}") from None
    try:
        run(config)
    except (OSError, FileError, ValueError) as e:
        raise UserError(str(e)) from e


def _classes(text: str) -> tuple[AssetClass, ...]:
    from features.market.types import AssetClass

    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in list(AssetClass):
            raise UsageError(f"--asset: expected some of {', '.join(AssetClass)}, was {name!r}")
    return tuple(AssetClass(name) for name in names)
