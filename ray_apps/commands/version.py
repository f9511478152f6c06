"""`tapewatch version`."""

from __future__ import annotations

import platform

import typer

from ray_apps.commands.common import Json, echo_json


def version(json: Json = False) -> None:
    """Print the versions of Tapewatch and of what it stands on.

    Example: tapewatch version --json
    """
    parts = ("tapewatch", "ray", "numpy", "numba", "fastapi", "psycopg", "redis")
    versions = {"python": platform.python_version(), "system": platform.platform()}
    versions = {**{name: _version(name) for name in parts}, **versions}
    if json:
        echo_json(versions)
    else:
        typer.echo("\n".join(f"{name:<10} {value}" for name, value in versions.items()))


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
