"""`tapewatch db`: the database's schema, size and retention."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load
from ray_apps.errors import UserError

if TYPE_CHECKING:
    from ray_apps.store.partitions import Size

app = typer.Typer(help="The database: schema, size and retention.", rich_markup_mode=None)


@app.command()
def migrate(
    wait: Annotated[float, typer.Option(min=0, help="Seconds the database is waited for.")] = 0.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Bring the schema to this version's; harmless where it is there already.

    Example: DATABASE_URL=postgresql://... tapewatch db migrate
    """
    from ray_apps.commands.database import database
    from ray_apps.store.migrate import MigrationError, await_database
    from ray_apps.store.migrate import migrate as run

    with database(load(config, data_dir)) as dsn:
        try:
            await_database(dsn, wait, lambda line: typer.echo(line, err=True))
            version = run(dsn)
        except (TimeoutError, MigrationError) as e:
            raise UserError(str(e)) from e
    if json:
        echo_json({"version": version})
    else:
        typer.echo(f"schema version {version}")


@app.command()
def size(config: ConfigFile = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Print the disk use per table and per day of bars.

    Example: tapewatch db size --json
    """
    from ray_apps.commands.database import database

    settings = load(config, data_dir)
    with database(settings) as dsn:
        found = asyncio.run(_size(dsn))
    if json:
        tables = {"tables": found.tables, "bars_per_day": found.bars_per_day, "total": found.total}
        echo_json({**tables, "retention_days": settings.retention_days})
        return
    for table, n_bytes in found.tables.items():
        typer.echo(f"{table:<16} {n_bytes / 1e6:12,.1f} MB")
    typer.echo(f"{'total':<16} {found.total / 1e6:12,.1f} MB")
    days = settings.retention_days
    kept = found.bars_per_day * days / 1e9
    typer.echo(f"bars take {found.bars_per_day / 1e6:,.1f} MB per day: {kept:,.1f} GB in the {days} days kept")


@app.command()
def retention(config: ConfigFile = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Roll bars up and drop those older than `retention_days`; `tapewatch up` does it every few minutes.

    Example: TAPEWATCH_RETENTION_DAYS=7 tapewatch db retention
    """
    from ray_apps.commands.database import database
    from ray_apps.sinks.house import keep_house
    from ray_apps.store.errors import StoreError

    settings = load(config, data_dir)
    with database(settings) as dsn:
        try:
            dropped = asyncio.run(keep_house(dsn, settings.retention_days))
        except StoreError as e:
            raise UserError(str(e)) from e
    if json:
        echo_json({"dropped": dropped})
    else:
        typer.echo(f"{len(dropped)} days dropped, {settings.retention_days} kept")


async def _size(dsn: str) -> Size:
    from ray_apps.store.connect import connect
    from ray_apps.store.errors import StoreError
    from ray_apps.store.partitions import db_size

    try:
        conn = await connect(dsn, "size")
        try:
            return await db_size(conn)
        finally:
            await conn.close()
    except StoreError as e:
        raise UserError(str(e)) from e
