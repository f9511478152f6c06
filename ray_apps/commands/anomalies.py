"""`tapewatch anomalies`: ask the database what was found."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, Zone, instant, load, zone
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from ray_apps.store.filters import AnomalyFilter

MOST = 100_000
PAGE = 1000


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
    since: Annotated[str | None, typer.Option(help="From this instant: ISO 8601, or a span before now.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this instant.")] = None,
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
    from ray_apps.api.schemas import to_ns
    from ray_apps.commands.database import database
    from ray_apps.config import Kind, Severity, State
    from ray_apps.store.filters import AnomalyFilter

    at = zone(tz)
    from_time, to_time = instant(since, "--since", at), instant(until, "--until", at)
    wanted = AnomalyFilter(
        symbol=symbol,
        asset_class=_one_of(AssetClass, asset, "--asset"),
        kind=_one_of(Kind, kind, "--kind"),
        severity_min=_one_of(Severity, severity, "--severity"),
        state=_one_of(State, state, "--state"),
        from_ts=to_ns(from_time) if from_time else None,
        to_ts=to_ns(to_time) if to_time else None,
    )
    with database(load(config, data_dir)) as dsn:
        rows = asyncio.run(query(dsn, wanted, limit))
    _print(rows, Format.JSON if json else form, tz)


def _one_of(words: type[StrEnum], value: str | None, option: str) -> str | None:
    if value is not None and value not in list(words):
        raise UsageError(f"{option}: expected one of {', '.join(words)}, was {value!r}")
    return value


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
