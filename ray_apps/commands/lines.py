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


def number(value: float | None, digits: int = 2) -> str:
    """Print a number shortly, a dash where there is none.

    >>> number(2e-6), number(None), number(0.001)
    ('2e-06', '-', '0.001')
    """
    return "-" if value is None else f"{value:.{digits}g}"


def anomaly_line(anomaly: dict[str, Any], tz: tzinfo) -> str:
    """Give the line `tail` prints."""
    sure = f"p={number(anomaly['p_value'])}  rate {number(anomaly['rate'])}/day"
    head = f"ANOMALY {anomaly['kind']} {anomaly['symbol']}  {anomaly['reading']}"
    return f"{head}  {sure}  severity {anomaly['severity']}  {clock(anomaly['available_at'], tz)}"


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
