"""`tapewatch config`: show what holds, check a file, print the schema."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load

app = typer.Typer(help="Show and check the configuration.", rich_markup_mode=None)


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Print every setting that holds, as a config file; secrets as stars.

    Example: tapewatch config show --changed
    """
    import yaml

    from ray_apps.settings import Settings, flatten, nest

    held = flatten(load(config, data_dir).model_dump(mode="json"))
    defaults = flatten(Settings().model_dump(mode="json"))
    shown = nest({k: v for k, v in held.items() if not changed or v != defaults.get(k)})
    if json:
        echo_json(shown)
    else:
        typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def check(config: ConfigFile = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Say whether the flags, variables and file are right; exit 2 naming every fault where not.

    With --json: `ok`, `file`, and `faults`, a line each, or `unknown_variables`.

    Example: tapewatch config check --config tapewatch.yaml
    """
    from ray_apps.settings import ConfigError, config_path, data_folder, unknown_variables

    path = config_path(config, data_folder(data_dir))
    told = {"file": str(path) if path else None}
    try:
        load(config, data_dir)
    except ConfigError as e:
        if not json:
            raise
        echo_json({"ok": False, **told, "faults": e.lines})
        for line in e.lines:
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(e.exit_code) from None
    unknown = unknown_variables()
    if json:
        echo_json({"ok": True, **told, "unknown_variables": unknown})
        return
    for variable in unknown:
        typer.echo(f"warning: {variable}: expected a known variable, is ignored", err=True)
    typer.echo(f"ok: {path or 'no config file, defaults and environment'}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the config file.

    Example: tapewatch config schema > tapewatch.schema.json
    """
    from ray_apps.settings import schema as published

    typer.echo(jsonlib.dumps(published(), indent=2))
