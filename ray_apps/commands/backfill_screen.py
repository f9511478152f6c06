"""What a person sees of a backfill: how far it is, and what it came to."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ray_apps.commands.meter import Meter, print_result, time_left
from ray_apps.ingest import wanted
from ray_apps.ingest.pages import LIMIT, base_s
from ray_apps.store import backfills
from ray_apps.store.connect import connect, unavailable

if TYPE_CHECKING:
    from features.market.types import AssetClass
    from ray_apps.ingest.allowed import Allowed
    from ray_apps.ingest.backfill import Backfill, Order, Tally
    from ray_apps.ingest.history import History

ROWS_SHOWN = 50
COUNTS = ("new", "revised", "same")
BARS_PER_S = 50_000.0
"""What two cores store; for estimates."""


class Screen:
    """Shows how far it is and what it came to; `record` is the same for programs."""

    def __init__(self, is_json: bool) -> None:
        self.record: dict[str, Any] = {}
        self._is_json = is_json

    def note(self, text: str) -> None:
        """Say something that is no result."""
        typer.echo(text, err=True)

    async def watch(self, running: Backfill) -> None:
        """Do it, showing how far it is."""
        await Meter(lambda: running.share, lambda: state(running)).watch(running.run())

    def summary(self, asset_class: AssetClass, running: Backfill, n_calls: int) -> None:
        """Print what became of each symbol, those that failed first."""
        tallies = sorted(running.tallies, key=lambda t: (not t.failure, not t.n_bars))
        seconds = time.monotonic() - running.started_s
        self.record = {
            "asset_class": asset_class.value,
            "bar_s": running.order.bar_s,
            "from": wanted.said(running.order.span.from_ns),
            "to": wanted.said(running.order.span.to_ns),
            "bars": running.n_bars,
            "calls": n_calls,
            "seconds": round(seconds, 3),
            "failed": [t.symbol for t in tallies if t.failure],
            "symbols": [_record(t) for t in tallies],
        }
        if self._is_json:
            return
        print_result(_table(tallies[:ROWS_SHOWN]))
        if len(tallies) > ROWS_SHOWN:
            typer.echo(f"... and {len(tallies) - ROWS_SHOWN:,} more symbols")
        rate = running.n_bars / seconds
        typer.echo(
            f"{len(tallies):,} symbols: {sum(t.new for t in tallies):,} bars new, "
            f"{sum(t.revised for t in tallies):,} revised, {sum(t.same for t in tallies):,} the same; "
            f"{n_calls:,} calls in {timedelta(seconds=round(seconds))}, {rate:,.0f} bars/s"
        )
        failed = [t for t in tallies if t.failure]
        for t in failed[:ROWS_SHOWN]:
            typer.echo(f"error: {t.symbol}: {t.failure}", err=True)
        if failed:
            typer.echo(f"error: {len(failed):,} of {len(tallies):,} symbols are not complete: run it again", err=True)

    async def estimate(self, history: History, order: Order, allowed: Allowed) -> None:
        """Print what a run would take at most."""
        asset_class, calls, bars = history.plan.asset_class, 0, 0
        with unavailable("answer"):
            conn = await connect(history.plan.dsn, "backfill")
            try:
                for symbol in order.symbols:
                    for span in await backfills.missing(conn, asset_class, symbol, order.bar_s, order.span):
                        calls += wanted.n_calls(span, base_s(order.bar_s), LIMIT)
                        bars += wanted.n_bars(asset_class, span, order.bar_s)
            finally:
                await conn.close()
        per_minute = allowed.calls_per_minute or 60 * history.plan.calls_per_s
        seconds = max(60 * calls / per_minute, bars / BARS_PER_S)
        self.record = {
            "asset_class": asset_class.value,
            "bar_s": order.bar_s,
            "from": wanted.said(order.span.from_ns),
            "to": wanted.said(order.span.to_ns),
            "n_symbols": len(order.symbols),
            "calls": calls,
            "bars": bars,
            "seconds": round(seconds),
            "calls_per_minute": allowed.calls_per_minute,
        }
        if not self._is_json:
            limit = "no limit" if allowed.calls_per_minute is None else f"{allowed.calls_per_minute} a minute"
            typer.echo(
                f"{len(order.symbols):,} symbols from {self.record['from']} to {self.record['to']}: at most "
                f"{bars:,} bars in {calls:,} calls ({limit}), about {timedelta(seconds=round(seconds))}"
            )


def state(running: Backfill) -> str:
    """Give one line on how far it is."""
    seconds = max(time.monotonic() - running.started_s, 1e-3)
    done = sum(t.is_over for t in running.tallies)
    failed = sum(bool(t.failure) for t in running.tallies)
    text = f"{done:,}/{len(running.tallies):,} symbols  {running.n_bars:,} bars  {running.n_bars / seconds:,.0f}/s"
    return f"{text}  left {time_left(running.started_s, running.share)}" + (f"  {failed:,} failed" if failed else "")


def _table(tallies: list[Tally]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("symbol", *COUNTS, "from (UTC)", "to (UTC)", "errors"):
        table.add_column(
            name, no_wrap=name != "errors", justify="right" if name in ("new", "revised", "same") else "left"
        )
    for t in tallies:
        first, last = ("-" if ns is None else wanted.said(ns).removesuffix(" UTC") for ns in (t.first_ns, t.last_ns))
        table.add_row(t.symbol, f"{t.new:,}", f"{t.revised:,}", f"{t.same:,}", first, last, remark(t))
    return table


def remark(t: Tally) -> str:
    """Say what is particular about a symbol: what failed, what was refused, that nothing came."""
    if t.failure:
        return "failed"
    if t.errors:
        return ", ".join(f"{n:,} {reason}" for reason, n in t.errors.most_common())
    if t.todo_ns == 0:
        return "complete before"
    if t.is_over and not t.n_bars:
        return "no bars"
    return "" if t.is_over else "not finished"


def _record(t: Tally) -> dict[str, Any]:
    first, last = (None if ns is None else wanted.said(ns) for ns in (t.first_ns, t.last_ns))
    return {
        "symbol": t.symbol, "new": t.new, "revised": t.revised, "same": t.same, "from": first, "to": last,
        "errors": dict(t.errors), "remark": remark(t), "failure": t.failure,
    }  # fmt: skip
