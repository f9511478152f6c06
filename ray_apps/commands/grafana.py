"""`tapewatch grafana`: bring boards, data sources and alert rules to a Grafana."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load
from ray_apps.errors import UsageError, UserError

if TYPE_CHECKING:
    from grafana_client import GrafanaApi

    from ray_apps.grafana.sync import Step
    from ray_apps.settings import Settings

app = typer.Typer(help="Grafana: boards, data sources, alert rules.", rich_markup_mode=None)
MARKS = {"create": "+", "update": "~", "same": "="}


@app.callback()
def grafana() -> None:
    """Keep `sync` a command of its own name although it is the only one."""


@app.command()
def sync(
    url: Annotated[str | None, typer.Option(help="Grafana; else sinks.grafana.url.")] = None,
    token: Annotated[
        str | None, typer.Option(help="Of a service account that may edit; else sinks.grafana.token.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="A Prometheus as Grafana reaches it, http://...: made a data source.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="A database as Grafana reaches it, postgresql://...: made a data source.")
    ] = None,
    prometheus_uid: Annotated[
        str | None, typer.Option(help="A Prometheus data source that is there already: alert rules and boards ask it.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(help="Where people reach the HTTP API; else sinks.grafana.gateway.")
    ] = None,
    folder: Annotated[str, typer.Option(help="The folder's uid.")] = "tapewatch",
    runbooks: Annotated[str, typer.Option(help="Put before each alert's runbook_url, https://.../.")] = "",
    directory: Annotated[Path | None, typer.Option("--dir", help="A folder of other dashboards/ and rules/.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what differs.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make or update the folder, data sources, boards and alert rules; what is so already is left alone.

    A folder that is there keeps its title. The password of --database is written each time.

    Example: tapewatch grafana sync --url http://grafana:3000 --prometheus http://prometheus:9090 --dry-run
    """
    from ray_apps.grafana import sources
    from ray_apps.grafana.boards import FOLDER, read
    from ray_apps.grafana.client import require_grafana
    from ray_apps.grafana.sync import plan

    settings = load(config, data_dir)
    api = _api(settings, url, token)
    entries = gateway or settings.sinks.grafana.gateway or ""
    told = read(directory or FOLDER, folder, prometheus_uid or sources.PROMETHEUS_UID, runbooks, entries)
    made = [sources.prometheus(prometheus)] if prometheus else []
    made += [sources.postgres(database)] if database else []
    done = []
    with _reported():
        require_grafana(api)
        for step in list(plan(api, told, made, folder)):
            if not dry_run and step.action != "same":
                step.write()
            done.append(step)
            if not json:
                _say(step, dry_run)
    if json:
        echo_json([{"what": s.what, "name": s.name, "action": s.action, "diff": s.diff} for s in done])


def _api(settings: Settings, url: str | None, token: str | None) -> GrafanaApi:
    from ray_apps.grafana.client import api

    held = settings.sinks.grafana
    found_url = url or held.url
    found_token = token or (held.token.get_secret_value() if held.token else None)
    if not found_url or not found_url.startswith(("http://", "https://")):
        raise UsageError(f"--url: expected http://... or https://..., was {found_url}")
    if not found_token:
        raise UsageError("--token: expected one here or in TAPEWATCH_SINKS__GRAFANA__TOKEN, was none")
    return api(found_url, found_token)


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Turn what Grafana refuses into one line with what to do."""
    import requests
    from grafana_client.client import GrafanaException

    try:
        yield
    except GrafanaException as e:
        advice = {
            401: "; is the token of this Grafana?", 403: "; may the service account edit?",
            400: "; a data source that is missing is made by --prometheus, or named by --prometheus-uid",
        }.get(e.status_code, "")  # fmt: skip
        raise UserError(f"expected Grafana to agree, was: {e.message}{advice}") from e
    except requests.RequestException as e:
        raise UserError(f"expected Grafana to answer, was {type(e).__name__}: {e}") from e


def _say(step: Step, dry_run: bool) -> None:
    typer.echo(f"{MARKS[step.action]} {step.what} {step.name}")
    if dry_run and step.diff:
        typer.echo(step.diff, nl=False)
