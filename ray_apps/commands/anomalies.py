"""`tapewatch anomalies`: ask the database what was found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, Zone, instant, load, one_of, zone
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from ray_apps.store.filters import AnomalyFilter

SPAN = "a span before now, or before the end of the newest stored bar where that is older"
MOST = 100_000
PAGE = 1000
MINUTE = timedelta(minutes=1)


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def anomalies(
    symbol: Annotated[str | None, typer.Option(help="Only this symbol, such as AAPL or BTC-USD.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset class.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as burst_up.")] = None,
    severity: Annotated[str | None, typer.Option(help="This severity and above: low, medium, high, critical.")] = None,
    state: Annotated[str | None, typer.Option(help="provisional, confirmed, amended or retracted.")] = None,
    since: Annotated[str | None, typer.Option(help=f"From this instant: ISO 8601, or {SPAN}.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this instant; the same.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="Newest so many.")] = 50,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    json: Json = False,
    tz: Zone = "UTC",
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """List stored anomalies, newest first.

    Example: tapewatch anomalies --since 2h --severity high --format csv > found.csv
    """
    from features.market.types import AssetClass
    from ray_apps.commands.database import database
    from ray_apps.config import Kind, Severity, State
    from ray_apps.store.filters import AnomalyFilter

    at = zone(tz)
    _between(since, until, at, datetime.now(UTC))
    wanted = AnomalyFilter(
        symbol=symbol,
        asset_class=one_of(AssetClass, asset, "--asset"),
        kind=one_of(Kind, kind, "--kind"),
        severity_min=one_of(Severity, severity, "--severity"),
        state=one_of(State, state, "--state"),
    )
    with database(load(config, data_dir)) as dsn:
        from_ts, to_ts = _between(since, until, at, asyncio.run(tape_now(dsn)))
        rows = asyncio.run(query(dsn, replace(wanted, from_ts=from_ts, to_ts=to_ts), limit))
    _print(rows, Format.JSON if json else form, tz)


def _between(since: str | None, until: str | None, tz: tzinfo, now: datetime) -> tuple[int | None, int | None]:
    """Read both ends, UTC ns."""
    from ray_apps.api.schemas import to_ns

    first, last = instant(since, "--since", tz, now), instant(until, "--until", tz, now)
    if first is not None and last is not None and first > last:
        raise UsageError(f"--since: expected an instant before --until, was {first.isoformat()} of {last.isoformat()}")
    return to_ns(first) if first else None, to_ns(last) if last else None


async def tape_now(dsn: str) -> datetime:
    """Give the end of the newest stored bar, now where none is older: a simulated tape has its own time."""
    from ray_apps.api.schemas import from_ns
    from ray_apps.store.connect import connect
    from ray_apps.store.errors import StoreError
    from ray_apps.store.partitions import newest_ts

    now = datetime.now(UTC)
    try:
        conn = await connect(dsn, "anomalies")
        try:
            newest = await newest_ts(conn)
        finally:
            await conn.close()
    except StoreError as e:
        raise UserError(str(e)) from e
    return now if newest is None else min(now, from_ns(newest) + MINUTE)


async def query(dsn: str, wanted: AnomalyFilter, limit: int) -> list[dict[str, Any]]:
    """Give the newest anomalies as the HTTP gateway gives them."""
    from ray_apps.api.schemas import AnomalyOut
    from ray_apps.store.errors import StoreError
    from ray_apps.store.reader import Reader

    reader = Reader(dsn, size=1)
    rows: list[dict[str, Any]] = []
    try:
        page = await reader.anomalies(wanted, None, min(limit, PAGE))
        rows += [AnomalyOut.of(row).model_dump(mode="json") for row in page.rows]
        while page.next is not None and len(rows) < limit:
            page = await reader.anomalies(wanted, page.next, min(limit - len(rows), PAGE))
            rows += [AnomalyOut.of(row).model_dump(mode="json") for row in page.rows]
    except StoreError as e:
        raise UserError(str(e)) from e
    finally:
        await reader.close()
    return rows


def _print(rows: list[dict[str, Any]], form: Format, tz: str) -> None:
    from ray_apps.commands.common import echo_json
    from ray_apps.commands.lines import as_csv, print_table

    if form is Format.JSON:
        for row in rows:
            echo_json(row)
    elif form is Format.CSV:
        typer.echo(as_csv(rows, zone(tz)), nl=False)
    elif rows:
        print_table(rows, zone(tz))
    else:
        typer.echo("no anomalies of that description")
