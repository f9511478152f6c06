"""What a person sees of a backfill: how far it is, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ray_apps.commands.meter import Meter, print_result, time_left
from ray_apps.ingest import wanted
from ray_apps.ingest.estimate import Bounds, calls_left
from ray_apps.words import counted

if TYPE_CHECKING:
    from features.market.types import AssetClass
    from ray_apps.ingest.allowed import Allowed
    from ray_apps.ingest.backfill import Backfill, Order, Tally
    from ray_apps.ingest.estimate import Estimate

ROWS_SHOWN = 50
COUNTS = ("new", "revised", "same")


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
        left = _left_of(running)
        await Meter(lambda: running.share, lambda: state(running, left())).watch(running.run())

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
            **{name: _sum(tallies, name) for name in COUNTS},
            "calls": n_calls,
            "seconds": round(seconds, 3),
            "failed": [t.symbol for t in tallies if t.failure],
            "unknown": [t.symbol for t in tallies if t.is_unknown],
            "symbols": [_record(t) for t in tallies],
        }
        if self._is_json:
            return
        print_result(_table(tallies[:ROWS_SHOWN]))
        if len(tallies) > ROWS_SHOWN:
            typer.echo(f"... and {counted(len(tallies) - ROWS_SHOWN, 'more symbol')}")
        rate = running.n_bars / seconds
        typer.echo(
            f"{counted(len(tallies), 'symbol')}: {counted(_sum(tallies, 'new'), 'bar')} new, "
            f"{_sum(tallies, 'revised'):,} revised, {_sum(tallies, 'same'):,} the same; "
            f"{counted(n_calls, 'call')} in {timedelta(seconds=round(seconds))}, {rate:,.0f} bars/s"
        )
        if running.order.is_again:
            typer.echo(f"{counted(_sum(tallies, 'revised'), 'bar')} had changed at the vendor since stored")
        self._say_failures(tallies)

    def _say_failures(self, tallies: list[Tally]) -> None:
        failed = [t for t in tallies if t.failure]
        for t in failed[:ROWS_SHOWN]:
            typer.echo(f"error: {t.symbol}: {t.failure}", err=True)
        n_open = sum(not t.is_unknown for t in failed)
        if n_open:
            typer.echo(f"error: {n_open:,} of {counted(len(tallies), 'symbol')} not complete: run it again", err=True)

    def estimate(self, order: Order, allowed: Allowed, most: Estimate) -> None:
        """Print what a run would take at most."""
        names = dict.fromkeys(order.symbols)
        self.record = {
            "asset_class": allowed.asset_class.value,
            "bar_s": order.bar_s,
            "from": wanted.said(order.span.from_ns),
            "to": wanted.said(order.span.to_ns),
            "n_symbols": len(names),
            "calls": most.calls,
            "probes": most.probes,
            "bars": most.bars,
            "seconds": round(most.seconds),
            "plan": allowed.answer,
            "calls_per_minute": allowed.calls_per_minute,
        }
        if not self._is_json:
            typer.echo(
                f"{counted(len(names), 'symbol')} from {self.record['from']} to {self.record['to']}: at most "
                f"{counted(most.bars, 'bar')} in {counted(most.calls, 'call')}, "
                f"{most.probes:,} of them to see what there is, "
                f"at most about {timedelta(seconds=round(most.seconds))}"
            )
            typer.echo(f"plan: {plan(allowed)}")


def plan(allowed: Allowed) -> str:
    """Say what was found of the vendor's plan."""
    found = "as configured, for the vendor did not say" if allowed.answer == "not answered" else allowed.answer
    per_minute = allowed.calls_per_minute
    return f"{found}, {'no limit of calls' if per_minute is None else f'{per_minute} calls a minute'}"


def _left_of(running: Backfill) -> Callable[[], str]:
    """Give what says how long a run takes from here on: as it went so far, or where calls are counted by the plan.

    There the first calls of a minute go at once and the others wait: how it went says little.
    """
    per_minute, order = running.calls_per_minute, running.order
    if per_minute is None:
        return lambda: time_left(running.started_s, running.share)
    whole = Bounds(running.asset_class, order.bar_s, order.span).calls(order.span)
    return lambda: str(timedelta(seconds=round(60 * calls_left(running.tallies, whole, order.span) / per_minute)))


def _sum(tallies: list[Tally], name: str) -> int:
    return sum(getattr(t, name) for t in tallies)


def state(running: Backfill, left: str) -> str:
    """Give one line on how far it is."""
    seconds = max(time.monotonic() - running.started_s, 1e-3)
    done = sum(t.is_over for t in running.tallies)
    failed = sum(bool(t.failure) for t in running.tallies)
    of, bars = counted(len(running.tallies), "symbol"), counted(running.n_bars, "bar")
    text = f"{done:,}/{of}  {bars}  {running.n_bars / seconds:,.0f}/s"
    return f"{text}  left {left}" + (f"  {failed:,} failed" if failed else "")


def _table(tallies: list[Tally]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("symbol", *COUNTS, "from (UTC)", "to (UTC)", "remark"):
        table.add_column(
            name, no_wrap=name != "remark", justify="right" if name in ("new", "revised", "same") else "left"
        )
    for t in tallies:
        first, last = ("-" if ns is None else wanted.said(ns).removesuffix(" UTC") for ns in (t.first_ns, t.last_ns))
        table.add_row(t.symbol, f"{t.new:,}", f"{t.revised:,}", f"{t.same:,}", first, last, remark(t))
    return table


def remark(t: Tally) -> str:
    """Say what is particular about a symbol: what failed, what was refused, that nothing came."""
    if t.failure:
        return "unknown" if t.is_unknown else "failed"
    if t.errors:
        return ", ".join(f"{n:,} {reason}" for reason, n in t.errors.most_common())
    if t.todo_ns == 0:
        return "complete before"
    if t.is_over and not t.n_bars:
        return "nothing new" if t.is_resumed else "no bars"
    return "" if t.is_over else "not finished"


def _record(t: Tally) -> dict[str, Any]:
    first, last = (None if ns is None else wanted.said(ns) for ns in (t.first_ns, t.last_ns))
    return {
        "symbol": t.symbol, "new": t.new, "revised": t.revised, "same": t.same, "from": first, "to": last,
        "errors": dict(t.errors), "remark": remark(t), "failure": t.failure,
    }  # fmt: skip
