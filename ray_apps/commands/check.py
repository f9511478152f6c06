"""`tapewatch check`: what the key and its plans allow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load

if TYPE_CHECKING:
    from ray_apps.commands.keycheck import ClassCheck
    from ray_apps.config import PolygonConfig


def check(
    every: Annotated[bool, typer.Option("--all", help="All six asset classes, not only the configured ones.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the vendor.")] = False,
    json: Json = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print what the plan of each asset class allows, and test the key with one cheap call each.

    Exit 1 where the vendor refuses the key or a plan allows less than configured. The key is never printed.

    Example: POLYGON_API_KEY=... POLYGON_TIER_STOCKS=starter tapewatch check
    """
    from features.market.types import AssetClass
    from ray_apps.commands.keycheck import check_key

    settings = load(config, data_dir)
    classes = tuple(AssetClass) if every else settings.assets
    polygon = settings.polygon.model_copy(update={"api_key": None}) if offline else settings.polygon
    results = check_key(polygon, classes, int(time.time() * 1000))
    if json:
        echo_json({"key": polygon.api_key is not None, "classes": [_record(r, polygon) for r in results]})
    else:
        _print(results, polygon, settings.polygon.api_key is not None)
    if any(r.is_short for r in results):
        raise typer.Exit(1)


def _record(result: ClassCheck, polygon: PolygonConfig) -> dict[str, Any]:
    allowed = result.allowed
    return {
        "asset_class": result.asset_class.value,
        "tier": allowed.tier.value,
        "configured_tier": polygon.tier(result.asset_class).value,
        "live": "rest only" if allowed.delay_s is None else "delayed" if allowed.delay_s else "real-time",
        "delay_s": allowed.delay_s,
        "feed": allowed.feed_host,
        "history_years": allowed.history_years,
        "calls_per_minute": allowed.calls_per_minute,
        "answer": result.answer,
        "detail": result.detail,
        "warning": result.warning,
    }


def _print(results: list[ClassCheck], polygon: PolygonConfig, has_key: bool) -> None:
    from ray_apps.ingest.tiers import describe

    if polygon.api_key is not None:
        typer.echo(f"key: accepted by {polygon.rest_url}")
    else:
        said = "not asked" if has_key else "none set (POLYGON_API_KEY): `tapewatch up` watches the simulator"
        typer.echo(f"key: {said}")
    for r in results:
        line = describe(r.asset_class, polygon.tier(r.asset_class))
        if r.answer is not None:
            line += f"; the vendor answers: {r.answer}{f' ({r.detail})' if r.detail else ''}"
        typer.echo(line)
    for r in results:
        if r.warning:
            typer.echo(f"warning: {r.warning}", err=True)
