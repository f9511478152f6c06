"""`tapewatch tail`: follow the anomalies of a running gateway."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, Zone, load, zone
from ray_apps.commands.lines import anomaly_line
from ray_apps.errors import UserError

if TYPE_CHECKING:
    import httpx

SILENCE_S = 90.0
"""Six heartbeats of the gateway's default: a stream silent for so long is dead."""


def tail(
    url: Annotated[str | None, typer.Option(help="Address of the gateway; by default that of the settings.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as burst_up.")] = None,
    severity: Annotated[str | None, typer.Option(help="Only this severity and above.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after so many.")] = None,
    tz: Zone = "UTC",
    json: Json = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print anomalies as they are raised, until Ctrl-C.

    Example: tapewatch tail --severity high --tz America/New_York
    """
    at = zone(tz)
    if url is None:
        http = load(config, data_dir).http
        url = f"http://{http.host}:{http.port}"
    wanted = {"symbol": symbol, "kind": kind, "min_severity": severity}
    for n, anomaly in enumerate(follow(url, {k: v for k, v in wanted.items() if v}), 1):
        typer.echo(_shown(anomaly, json, at))
        if n == limit:
            return


def _shown(anomaly: dict[str, Any], as_json: bool, tz: tzinfo) -> str:
    return jsonlib.dumps(anomaly) if as_json else anomaly_line(anomaly, tz)


def follow(url: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Give each anomaly of the gateway's stream; raise UserError where there is none or it ends."""
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


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    event, data = "", ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            data = value
        elif not line:
            if event == "anomaly" and data:
                yield jsonlib.loads(data)
            event, data = "", ""
