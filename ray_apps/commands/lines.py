"""Anomalies as a person reads them: one line, a table, CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

PIPED_WIDTH = 200
"""Columns of a table that no terminal bounds."""
COLUMNS = (
    *("id", "asset_class", "symbol", "bar_s", "ts", "available_at", "kind", "score", "p_value", "rate"),
    *("severity", "state", "episode_id", "reading"),
)


def clock(text: str, tz: tzinfo, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Print an ISO instant in a time zone.

    >>> from datetime import UTC
    >>> clock("2026-01-02T14:30:00Z", UTC)
    '2026-01-02 14:30:00'
    """
    return datetime.fromisoformat(text).astimezone(tz).strftime(form)


def number(value: float | None) -> str:
    """Print a number shortly, a dash where there is none.

    >>> number(2e-6), number(None), number(0.001)
    ('2e-6', '-', '0.001')
    """
    from ray_apps.sinks.console import short

    return "-" if value is None else short(value)


def line(topic: str, told: dict[str, Any], tz: tzinfo) -> str:
    """Give the line `tail` prints for an anomaly or an episode."""
    who = told["symbol"] or f"{told['asset_class']} market"
    what = told["reading"] if topic == "anomaly" else f"{told['n_anomalies']} anomalies"
    at = clock(told["available_at" if topic == "anomaly" else "last_at"], tz)
    sure = f"p={number(told['p_value'])}  rate {number(told['rate'])}/day  severity {told['severity']}"
    return f"{topic.upper()} {told['kind']} {who}  {what}  {sure}  {at}"


def as_csv(rows: Sequence[dict[str, Any]], tz: tzinfo) -> str:
    """Give rows as CSV with a header; times in ISO 8601 of the zone."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        times = {k: datetime.fromisoformat(row[k]).astimezone(tz).isoformat() for k in ("ts", "available_at")}
        writer.writerow({**row, **times})
    return out.getvalue()


def print_table(rows: Sequence[dict[str, Any]], tz: tzinfo) -> None:
    """Print rows as a table, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("time", "symbol", "bar", "kind", "severity", "rate/day", "p", "state", "reading"):
        table.add_column(name, no_wrap=name != "reading")
    for row in rows:
        table.add_row(
            clock(row["available_at"], tz),
            row["symbol"],
            f"{row['bar_s']} s",
            row["kind"],
            row["severity"],
            number(row["rate"]),
            number(row["p_value"]),
            row["state"],
            row["reading"],
        )
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(markup=False, highlight=False, width=width).print(table)
