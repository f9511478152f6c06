"""What a person sees of an import: how far it is, and what became of each file."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from ray_apps.commands.meter import Meter, print_result, time_left
from ray_apps.ingest.wanted import said
from ray_apps.store.partitions import MOST_DAYS
from ray_apps.words import counted

if TYPE_CHECKING:
    from ray_apps.imports.importer import Import
    from ray_apps.imports.reading import Tally
    from ray_apps.imports.recipe import Recipe
    from ray_apps.imports.told import Told

ROWS_SHOWN = 50
COUNTS = ("symbols", "new", "revised", "same")


class Screen:
    """Shows how far it is and what it came to; `record` is the same for programs."""

    def __init__(self, told: Told, is_json: bool) -> None:
        self.record: dict[str, Any] = {}
        self._told = told
        self._is_json = is_json

    async def watch(self, running: Import) -> None:
        """Do it, showing how far it is."""
        await Meter(lambda: running.share, lambda: state(running)).watch(running.run())

    def summary(self, running: Import, retention_days: int) -> None:
        """Print what became of each file, those that failed first."""
        tallies = running.tallies
        seconds = time.monotonic() - running.started_s
        self.record = {
            "asset_class": self._told.asset_class.value,
            "bars": running.n_bars,
            "seconds": round(seconds, 3),
            "failed": [t.place.source for t in tallies if is_incomplete(t)],
            "files": [_record(t) for t in tallies],
        }
        if not self._is_json:
            self._print(tallies)
            new, revised, same = (sum(getattr(t, name) for t in tallies) for name in COUNTS[1:])
            typer.echo(
                f"{counted(len(tallies), 'file')}: {counted(new, 'bar')} new, {revised:,} revised, {same:,} the same; "
                f"in {timedelta(seconds=round(seconds))}, {running.n_bars / seconds:,.0f} bars/s"
            )
        self._say_failures(tallies, [t for t in tallies if is_incomplete(t)])
        oldest = min((t.first_ns for t in tallies if t.first_ns is not None), default=running.floor_ns)
        if oldest < running.floor_ns:
            days = counted(min(retention_days, MOST_DAYS), "day")
            typer.echo(
                f"warning: bars before {said(running.floor_ns)} will be dropped: the store keeps {days} "
                "(retention_days, TAPEWATCH_RETENTION_DAYS)",
                err=True,
            )

    def plan(self, tallies: Sequence[Tally], recipes: dict[str, Recipe]) -> None:
        """Print how each file would be read."""
        self.record = {
            "asset_class": self._told.asset_class.value,
            "failed": [t.place.source for t in tallies if t.failure],
            "files": [_planned(t, recipes.get(t.place.source)) for t in tallies],
        }
        if not self._is_json:
            table = _table(("file", "layout", "bar", "symbol", "first bar (UTC)", "MB", "columns"), ("MB",))
            for t in _ordered(tallies)[:ROWS_SHOWN]:
                r = recipes.get(t.place.source)
                size = f"{t.place.n_bytes / 1e6:,.1f}"
                if r is None:
                    table.add_row(t.place.name, "-", "-", "-", "-", size, "not read")
                    continue
                columns = ",".join(f"{f}={c}" if f != c else f for f, c in r.layout.columns.items())
                unused = f" (not {','.join(r.layout.ignored)})" if r.layout.ignored else ""
                symbol = r.symbol or f"{r.n_symbols:,} of the first"
                table.add_row(
                    t.place.name, r.layout.kind, length(r.bar_s), symbol, _short(r.first_ns), size, columns + unused
                )
            print_result(table)
            if len(tallies) > ROWS_SHOWN:
                typer.echo(f"... and {counted(len(tallies) - ROWS_SHOWN, 'more file')}")
        self._say_failures(tallies, [t for t in tallies if t.failure])

    def _print(self, tallies: Sequence[Tally]) -> None:
        table = _table(("file", "bar", *COUNTS, "from (UTC)", "to (UTC)", "remark"), COUNTS)
        for t in _ordered(tallies)[:ROWS_SHOWN]:
            counts = (f"{n:,}" for n in (len(t.symbols), t.new, t.revised, t.same))
            table.add_row(t.place.name, length(t.bar_s), *counts, _short(t.first_ns), _short(t.last_ns), remark(t))
        print_result(table)
        if len(tallies) > ROWS_SHOWN:
            typer.echo(f"... and {counted(len(tallies) - ROWS_SHOWN, 'more file')}")

    def _say_failures(self, tallies: Sequence[Tally], bad: Sequence[Tally]) -> None:
        """List what did not come in, with its file and line."""
        if not self._is_json:
            for t in bad[:ROWS_SHOWN]:
                for message in [*t.messages, t.failure] if t.failure else t.messages:
                    typer.echo(f"error: {message}", err=True)
                more = t.n_refused - len(t.messages)
                if more > 0:
                    typer.echo(
                        f"error: {t.place.name}: {counted(more, 'more row')} refused: --json lists them", err=True
                    )
        pairs = [t.pair for t in bad if t.pair]
        if len(pairs) > 1 and not self._is_json:
            typer.echo(f"error: to answer all at once: --symbol {shlex.quote(','.join(pairs))}", err=True)
        n_bad = sum(not t.is_question for t in bad)
        if n_bad:
            said = "mend what is named, then run it again"
            typer.echo(f"error: {n_bad:,} of {counted(len(tallies), 'file')} not complete: {said}", err=True)


def is_incomplete(t: Tally) -> bool:
    """Say whether something of a file is not stored."""
    return bool(t.failure or t.refused or not t.is_over)


def state(running: Import) -> str:
    """Give one line on how far it is."""
    seconds = max(time.monotonic() - running.started_s, 1e-3)
    done = sum(t.is_over for t in running.tallies)
    failed = sum(bool(t.failure) for t in running.tallies)
    of, bars = counted(len(running.tallies), "file"), counted(running.n_bars, "bar")
    text = f"{done:,}/{of}  {bars}  {running.n_bars / seconds:,.0f}/s"
    return f"{text}  left {time_left(running.started_s, running.share)}" + (f"  {failed:,} failed" if failed else "")


def remark(t: Tally) -> str:
    """Say what is particular about a file."""
    if t.failure:
        return "asks" if t.is_question else "failed"
    if t.is_known:
        return "imported before (--again reads it anew)"
    notes = [f"{n:,} {reason}" for reason, n in t.refused.most_common()]
    if t.n_repeats:
        notes.append(counted(t.n_repeats, "repeat"))
    if t.is_open:
        notes.append("last line without an end: is it whole?")
    if not t.is_over:
        notes.append("not finished")
    return ", ".join(notes) or ("" if t.n_bars else "no bars")


def length(bar_s: int) -> str:
    """Write a length of bars.

    >>> length(60), length(90), length(86_400), length(0)
    ('1m', '90s', '1d', '-')
    """
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if bar_s and bar_s % seconds == 0:
            return f"{bar_s // seconds}{unit}"
    return f"{bar_s}s" if bar_s else "-"


def _ordered(tallies: Sequence[Tally]) -> list[Tally]:
    return sorted(tallies, key=lambda t: (not t.failure, not t.refused))


def _table(names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            name, no_wrap=name not in ("remark", "columns"), justify="right" if name in numbers else "left"
        )
    return table


def _short(ns: int | None) -> str:
    return "-" if ns is None else said(ns).removesuffix(" UTC")


def _record(t: Tally) -> dict[str, Any]:
    first, last = (None if ns is None else said(ns) for ns in (t.first_ns, t.last_ns))
    return {
        "file": t.place.source, "bar_s": t.bar_s or None, "symbols": len(t.symbols), "new": t.new,
        "revised": t.revised, "same": t.same, "repeats": t.n_repeats, "refused": dict(t.refused), "from": first,
        "to": last, "remark": remark(t), "messages": t.messages, "messages_left_out": t.n_refused - len(t.messages),
        "failure": t.failure, "pair": t.pair or None,
    }  # fmt: skip


def _planned(t: Tally, r: Recipe | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "file": t.place.source,
        "bytes": t.place.n_bytes,
        "failure": t.failure,
        "pair": t.pair or None,
    }
    if r is not None:
        record |= {
            "layout": r.layout.kind, "columns": dict(r.layout.columns), "ignored": list(r.layout.ignored),
            "unit": r.clock.unit, "zone": r.clock.zone, "symbol": r.symbol, "bar_s": r.bar_s, "from": said(r.first_ns),
        }  # fmt: skip
    return record
