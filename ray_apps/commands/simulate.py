"""`tapewatch simulate`: the vendor's REST and WebSocket protocol on loopback."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import instant, load
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from features.market.types import AssetClass


STORED = "stored"
SCHEMA_S = 600.0
"""How long the database is waited for."""


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
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
    start: Annotated[
        str | None,
        typer.Option(help="Where the clock starts, ISO 8601 in UTC; `stored`: after the newest bar of DATABASE_URL."),
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Stand still until every class has a subscriber.")] = False,
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

    start_ns = _stored() if start == STORED else _ns(instant(start, "--start", UTC))
    try:
        config = SimulatorConfig(
            host=host,
            rest_port=rest_port,
            ws_port=ws_port,
            source=source,
            symbols=symbols,
            assets=_classes(asset),
            seed=seed,
            speed=speed,
            start_ns=start_ns,
            hold=hold,
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


def _ns(at: datetime | None) -> int | None:
    return round(at.timestamp()) * 10**9 if at else None


def _stored() -> int:
    """Give where the tape of the configured database goes on, once the database is there."""
    from ray_apps.local.start import start_of
    from ray_apps.store.migrate import await_schema

    url = load(None, None).database_url
    if url is None:
        raise UsageError("--start stored: expected DATABASE_URL, was none")
    dsn = url.get_secret_value()
    try:
        await_schema(dsn, SCHEMA_S)
    except TimeoutError as e:
        raise UserError(str(e)) from e
    return asyncio.run(start_of(dsn)).ns


def _classes(text: str) -> tuple[AssetClass, ...]:
    from features.market.types import AssetClass

    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in list(AssetClass):
            raise UsageError(f"--asset: expected some of {', '.join(AssetClass)}, was {name!r}")
    return tuple(AssetClass(name) for name in names)
