"""What the commands share: their options, reading the settings, instants and errors."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.errors import UsageError

if TYPE_CHECKING:
    from ray_apps.settings import Settings

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file; else TAPEWATCH_CONFIG, else tapewatch.yaml in the data folder."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data folder; else TAPEWATCH_DATA_DIR, else XDG_DATA_HOME/tapewatch."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Zone = Annotated[str, typer.Option("--tz", help="Time zone of printed times, such as America/New_York.")]

AGO = re.compile(r"(\d{1,6})(s|m|h|d|w)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def load(config: Path | None, data_dir: Path | None, **flags: object) -> Settings:
    """Read the settings; a flag `http__port=8080` overrides the key `http.port`."""
    from ray_apps.settings import load_settings

    overrides = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings(config, {"data_dir": str(data_dir) if data_dir else None, **overrides})


def zone(name: str) -> tzinfo:
    """Give the time zone of a name.

    >>> zone("UTC")
    datetime.timezone.utc
    """
    if name.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"--tz: expected a time zone such as UTC or America/New_York, was {name!r}") from None


def instant(text: str | None, option: str, tz: tzinfo, now: datetime | None = None) -> datetime | None:
    """Read an instant: ISO 8601 (in `tz` where it names no zone), or a span before now such as 90m.

    >>> instant("2026-01-02T09:30", "--since", UTC).isoformat()
    '2026-01-02T09:30:00+00:00'
    >>> instant("2h", "--since", UTC, datetime(2026, 1, 2, tzinfo=UTC)).isoformat()
    '2026-01-01T22:00:00+00:00'
    """
    if text is None:
        return None
    try:
        if ago := AGO.fullmatch(text):
            return (now or datetime.now(UTC)) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        said = datetime.fromisoformat(text)
        return (said if said.tzinfo else said.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "an instant such as 2026-01-02T09:30 or a span before now such as 90m, 2h, 7d"
        raise UsageError(f"{option}: expected {expected}, was {text!r}") from None


def one_of(words: type[StrEnum], value: str | None, option: str) -> str | None:
    """Give a value that is one of the words; raise UsageError for any other."""
    if value is not None and value not in list(words):
        raise UsageError(f"{option}: expected one of {', '.join(words)}, was {value!r}")
    return value


def echo_json(value: Any) -> None:
    """Print a value as JSON, on one line where it is a record of a stream."""
    typer.echo(json.dumps(value, default=str, allow_nan=False))
