"""`tapewatch outbox`: the notifications that could not be delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load, one_of
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from ray_apps.sinks.outbox import DeadLetter
    from ray_apps.store.connect import Conn

app = typer.Typer(help="Notifications that no try could deliver: list them, send them again.", rich_markup_mode=None)
T = TypeVar("T")


class SinkName(StrEnum):
    WEBHOOK = "webhook"
    REDIS = "redis"
    CONSOLE = "console"
    GRAFANA = "grafana"


Sink = Annotated[str | None, typer.Option(help="Only of this sink: webhook, redis, grafana or console.")]


@app.command()
def dead(sink: Sink = None, config: ConfigFile = None, data_dir: DataDir = None, json: Json = False) -> None:
    """List what was given up, newest first.

    Example: tapewatch outbox dead --sink webhook
    """
    from ray_apps.sinks.outbox import dead_letters

    wanted = one_of(SinkName, sink, "--sink")
    letters = _ask(config, data_dir, lambda conn: dead_letters(conn, wanted))
    if json:
        echo_json([_record(x) for x in letters])
        return
    for x in letters:
        typer.echo(f"{x.id:>8}  {x.sink:<8} {_time(x.dead_at)}  {x.topic:<8} {x.attempts} tries: {x.error}")
    typer.echo(f"{len(letters)} dead: `tapewatch outbox resend --sink NAME` sends them again" if letters else "none")


@app.command()
def resend(
    sink: Annotated[str, typer.Option(help="Whose: webhook, redis, grafana or console.")],
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Only these; all without.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Send dead notifications again; a running system does it within a second.

    Example: tapewatch outbox resend --sink webhook 17 18
    """
    from ray_apps.sinks.outbox import resend as revive

    one_of(SinkName, sink, "--sink")
    n = _ask(config, data_dir, lambda conn: revive(conn, sink, ids or None))
    if ids and n < len(ids):
        raise UsageError(f"expected ids of dead notifications of {sink}, was {len(ids) - n} that are not")
    if json:
        echo_json({"resent": n})
    else:
        typer.echo(f"{n} will be sent again")


def _ask(config: Any, data_dir: Any, question: Callable[[Conn], Awaitable[T]]) -> T:
    from ray_apps.commands.database import database
    from ray_apps.store.connect import connect
    from ray_apps.store.errors import StoreError

    async def main(dsn: str) -> T:
        conn = await connect(dsn, "outbox")
        try:
            return await question(conn)
        finally:
            await conn.close()

    with database(load(config, data_dir)) as dsn:
        try:
            return asyncio.run(main(dsn))
        except StoreError as e:
            raise UserError(str(e)) from e


def _record(x: DeadLetter) -> dict[str, Any]:
    return {
        "id": x.id, "sink": x.sink, "topic": x.topic, "key": x.key, "tries": x.attempts, "error": x.error,
        "created_at": _time(x.created_at), "dead_at": _time(x.dead_at),
    }  # fmt: skip


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
