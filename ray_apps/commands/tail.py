"""`tapewatch tail`: follow the anomalies of a running gateway."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, Zone, load, one_of, zone
from ray_apps.commands.lines import line
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    import httpx

SILENCE_S = 90.0
"""Six heartbeats of the gateway's default: a stream silent for so long is dead."""


def tail(
    url: Annotated[str | None, typer.Option(help="Address of the gateway; by default that of the data folder.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as burst_up.")] = None,
    severity: Annotated[str | None, typer.Option(help="Only this severity and above.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after so many.")] = None,
    tz: Zone = "UTC",
    json: Json = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print anomalies and episodes as they are raised, until Ctrl-C.

    Example: tapewatch tail --severity high --tz America/New_York
    """
    from ray_apps.config import Kind, Severity

    at = zone(tz)
    wanted = {
        "symbol": _symbol(symbol),
        "kind": one_of(Kind, kind, "--kind"),
        "min_severity": one_of(Severity, severity, "--severity"),
    }
    if url is None:
        from ray_apps.local import gateway

        url = gateway.find(load(config, data_dir))
    for n, (topic, told) in enumerate(follow(url, {k: v for k, v in wanted.items() if v}), 1):
        typer.echo(jsonlib.dumps({"type": topic, **told}) if json else line(topic, told, at))
        if n == limit:
            return


def _symbol(name: str | None) -> str | None:
    from ray_apps.api.schemas import SYMBOL

    if name is not None and not re.fullmatch(SYMBOL, name):
        raise UsageError(f"--symbol: expected a symbol such as AAPL, BTC-USD or stocks:AAPL, was {name!r}")
    return name


def follow(url: str, params: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each event of the gateway's stream with its topic; raise UserError where there is none or it ends."""
    import httpx

    stream = f"{url.rstrip('/')}/v1/stream"
    timeout = httpx.Timeout(5.0, read=SILENCE_S)
    try:
        with httpx.stream("GET", stream, params=params, timeout=timeout) as response:
            if response.status_code != 200:
                raise UserError(f"{stream}: expected a stream, was {_refusal(response)}")
            yield from _events(response)
    except httpx.ConnectError:
        raise UserError(
            f"{stream}: expected a running gateway, was none: start it with `tapewatch up`, "
            "or ask the database with `tapewatch anomalies`"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as e:
        raise UserError(f"{stream}: expected a stream, was {type(e).__name__}: {e}") from None
    raise UserError(f"{stream}: expected the stream to go on, was ended by the gateway")


def _refusal(response: httpx.Response) -> str:
    response.read()
    try:
        problem = response.json()
        return f"{response.status_code} {problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


def _events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    event, data = "", ""
    for text in response.iter_lines():
        field, _, value = text.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            data = value
        elif not text:
            if event in ("anomaly", "episode") and data:
                yield event, jsonlib.loads(data)
            event, data = "", ""
