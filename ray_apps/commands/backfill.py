"""`tapewatch backfill`: bring the vendor's past into the store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, instant, load
from ray_apps.errors import UsageError, UserError
from ray_apps.words import counted

if TYPE_CHECKING:
    from features.market.types import AssetClass
    from ray_apps.commands.backfill_screen import Screen
    from ray_apps.ingest.allowed import Allowed
    from ray_apps.ingest.backfill import Order
    from ray_apps.ingest.history import History
    from ray_apps.ingest.plan import HistoryPlan
    from ray_apps.settings import Settings


class Bar(StrEnum):
    SECOND = "1s"
    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def seconds(self) -> int:
        """Give the length, seconds.

        >>> Bar.FIVE_MINUTES.seconds
        300
        """
        return int(self.value[:-1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[self.value[-1]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for on the command line."""

    asset_class: AssetClass
    symbols: tuple[str, ...]
    is_all: bool
    bar_s: int
    since: str | None
    until: str | None
    retention_days: int
    is_again: bool


def backfill(
    asset: Annotated[str, typer.Option(help="Asset class: stocks, crypto, forex, indices, options or futures.")],
    symbols: Annotated[
        str | None,
        typer.Option(help="Symbols, comma separated; by default those of the settings, else those stored before."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every symbol the vendor lists today.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--from", help="From this instant (ISO 8601 in UTC, or a span before now); by default all kept."),
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before this instant; by default the newest.")] = None,
    bar: Annotated[Bar, typer.Option(help="Length of the bars.")] = Bar.MINUTE,
    again: Annotated[
        bool, typer.Option("--again", help="Ask for what is stored, too: bars changed since then become revisions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take: asks what the plan allows, not for bars.")
    ] = False,
    json: Json = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring past bars from the vendor into the store: what is missing there, as far back as plan and store go.

    Run it again after any interruption: it goes on where it stopped. Exit 1 where a symbol failed or is unknown.

    Example: tapewatch backfill --asset crypto --symbols BTC-USD,ETH-USD --from 30d
    """
    from ray_apps.commands.backfill_screen import Screen
    from ray_apps.commands.database import database
    from ray_apps.ingest.verdict import HistoryError
    from ray_apps.plans import history_plan
    from ray_apps.store.errors import StoreError
    from ray_apps.store.migrate import migrate

    settings = load(config, data_dir)
    wish = _wish(settings, asset, symbols, every, since, until, bar, again)
    if settings.polygon.api_key is None:
        raise UserError("POLYGON_API_KEY: expected a key, was none: `tapewatch simulate` takes sim-advanced")
    with database(settings, make=True) as dsn:
        migrate(dsn)
        plan = history_plan(settings, wish.asset_class, dsn)
        assert plan is not None
        screen = Screen(is_json=json)
        try:
            is_complete = asyncio.run(_run(plan, wish, screen, dry_run))
        except (HistoryError, StoreError) as e:
            raise UserError(str(e)) from e
    if json:
        echo_json(screen.record)
    if not is_complete:
        raise typer.Exit(1)


def _wish(
    settings: Settings,
    asset: str,
    symbols: str | None,
    every: bool,
    since: str | None,
    until: str | None,
    bar: Bar,
    again: bool,
) -> Wish:
    from features.market.types import AssetClass

    if asset not in list(AssetClass):
        raise UsageError(f"--asset: expected one of {', '.join(AssetClass)}, was {asset!r}")
    if every and symbols:
        raise UsageError("--symbols: expected no names beside --all, was some")
    asset_class = AssetClass(asset)
    for text, option in ((since, "--from"), (until, "--to")):
        instant(text, option, UTC)
    names = _names(symbols, asset_class) if symbols else _configured(settings, asset_class)
    return Wish(asset_class, names, every, bar.seconds, since, until, settings.retention_days, again)


def _names(text: str, asset_class: AssetClass) -> tuple[str, ...]:
    from features.market.errors import DataError
    from features.market.symbols import to_ours, to_rest

    said = (name.strip().removeprefix(f"{asset_class}:") for name in text.split(","))
    names = dict.fromkeys(to_ours(asset_class, name) for name in said if name)
    try:
        for name in names:
            to_rest(asset_class, name)
    except DataError as e:
        raise UsageError(f"--symbols: {e}") from None
    if not names:
        raise UsageError("--symbols: expected names such as AAPL,MSFT, was none")
    return tuple(names)


def _configured(settings: Settings, asset_class: AssetClass) -> tuple[str, ...]:
    listed: tuple[str, ...] = getattr(settings.universe.symbols, asset_class.value)
    return () if "*" in listed else tuple(name.removeprefix(f"{asset_class}:") for name in listed)


async def _run(plan: HistoryPlan, wish: Wish, screen: Screen, dry_run: bool) -> bool:
    """Do it; say whether every symbol is complete."""
    from ray_apps.ingest.allowed import ask
    from ray_apps.ingest.backfill import Backfill
    from ray_apps.ingest.estimate import estimate
    from ray_apps.ingest.history import History

    history = History(plan)
    try:
        allowed = await ask(history.calls, time.time_ns())
        order = await _order(history, wish, allowed, screen)
        if dry_run:
            screen.estimate(order, allowed, await estimate(history, order, allowed))
            return True
        running = Backfill(history, order)
        try:
            await screen.watch(running)
        finally:
            screen.summary(wish.asset_class, running, history.calls.n_calls)
        return all(not t.failure for t in running.tallies)
    finally:
        await history.close()


async def _order(history: History, wish: Wish, allowed: Allowed, screen: Screen) -> Order:
    """Decide on the span and the symbols, saying why."""
    from ray_apps.ingest import wanted
    from ray_apps.ingest.allowed import oldest
    from ray_apps.ingest.backfill import Order
    from ray_apps.ingest.wanted import Asked, Kept
    from ray_apps.store.backfills import Span
    from ray_apps.store.partitions import MOST_DAYS

    newest, stored = await _stored(history.plan.dsn, wish.asset_class)
    asked = Asked(_instant(wish.since, "--from", allowed), _instant(wish.until, "--to", allowed))
    to_ns = wanted.until(asked, allowed, wish.bar_s)
    from_ns = wanted.since(asked, Kept(wish.retention_days, newest), to_ns)
    given_ns = await oldest(history.calls, from_ns, allowed.now_ns)
    if given_ns > from_ns and asked.from_ns is not None:
        raise UsageError(
            f"--from: expected {wanted.said(given_ns)} or later, as the plan goes, was {wanted.said(from_ns)}"
        )
    if given_ns >= to_ns:
        raise wanted.too_early(given_ns, to_ns, "as far as the plan goes")
    if asked.from_ns is None:
        kept = f"the store keeps {counted(min(wish.retention_days, MOST_DAYS), 'day')} (retention_days)"
        why = "as far as the plan goes" if given_ns > from_ns else kept
        screen.note(f"from {wanted.said(given_ns)}: {why}")
    names = list(wish.symbols) or stored
    if wish.is_all:
        names = [name async for page in history.names() for name in page]
    if not names:
        raise UsageError("--symbols: expected names, or --all, where none are configured or stored, was neither")
    settled_ns = wanted.over(wish.asset_class, wish.bar_s, allowed.settled_ns)
    return Order(names, wish.bar_s, Span(given_ns, to_ns), settled_ns, wish.is_again, wish.is_all)


def _instant(text: str | None, option: str, allowed: Allowed) -> int | None:
    from ray_apps.api.schemas import to_ns

    at = instant(text, option, UTC, datetime.fromtimestamp(allowed.now_ns / 1e9, UTC))
    return None if at is None else to_ns(at)


async def _stored(dsn: str, asset_class: AssetClass) -> tuple[int | None, list[str]]:
    """Give the newest stored bar's start and the symbols of the class."""
    from ray_apps.store import partitions, series
    from ray_apps.store.connect import connect, unavailable

    with unavailable("answer"):
        conn = await connect(dsn, "backfill")
        try:
            return await partitions.newest_ts(conn), await series.symbols(conn, asset_class)
        finally:
            await conn.close()
