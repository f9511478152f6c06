"""Turn the settings into what each actor is told: plain data, no environment behind it."""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path

from features.catalog import schema_hash
from features.market.calendar import Sessions
from features.market.types import AssetClass
from ray_apps.config_services import HttpConfig
from ray_apps.errors import UsageError
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.journal import RecordingPlan
from ray_apps.ingest.plan import FeedPlan, HistoryPlan, WarmPlan
from ray_apps.ingest.tiers import Tier, entitlement
from ray_apps.settings import Settings, detection_config
from ray_apps.shards.shard import ShardConfig
from ray_apps.shards.telling import Telling

SIMULATOR_KEY = "sim-advanced"
MOST_DAILY = 500
"""Symbols of a class that five calls a minute bring each day: an hour and forty minutes of calls."""


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """What the HTTP gateway is told."""

    dsn: str
    redis_url: str
    http: HttpConfig


def primary_bar_s(settings: Settings) -> int:
    """Give the bar length that decides: the longest that is read."""
    return max(settings.bar_lengths)


def feeds(settings: Settings, source: str, speed: float) -> tuple[dict[AssetClass, FeedConfig], list[str]]:
    """Give the feeds of a source that is there already, and a line for each class that cannot be watched.

    A folder is none: only `tapewatch up` plays one, by a simulator of its own.
    """
    if source == "push":
        return {a: pushed_feed(settings, a) for a in settings.assets}, []
    if source not in ("polygon", "synthetic"):
        said = "a folder of bars is played by `tapewatch up` alone, with simulator.ws unset"
        raise UsageError(f"source: expected polygon, synthetic or push here ({said}), was {source!r}")
    if source == "synthetic":
        ws = settings.simulator.ws
        if ws is None:
            raise UsageError("simulator.ws: expected the address of a running simulator, was none")
        return {a: simulated_feed(settings, a, ws, speed) for a in settings.assets}, []
    found = {a: vendor_feed(settings, a) for a in settings.assets}
    lines = [f"{a}: not watched: {why_not_watched(a)}" for a, feed in found.items() if feed is None]
    return {a: feed for a, feed in found.items() if feed is not None}, lines


def simulated_feed(settings: Settings, asset_class: AssetClass, ws: str, speed: float) -> FeedConfig:
    """Give the feed of a class from the simulator at `ws` (host:port)."""
    return FeedConfig(
        asset_class, f"ws://{ws}/{asset_class}", SIMULATOR_KEY, settings.bar_lengths,
        _names(settings, asset_class), speed=speed, silence_s=float("inf"),
    )  # fmt: skip


def pushed_feed(settings: Settings, asset_class: AssetClass) -> FeedConfig:
    """Give the feed of a class whose bars are pushed, at the pace of the wall clock."""
    return FeedConfig(asset_class, "", "", settings.bar_lengths, is_live=True)


def vendor_feed(settings: Settings, asset_class: AssetClass) -> FeedConfig | None:
    """Give the feed of a class from the vendor; None where its symbols are too many for a plan without a stream."""
    plan = entitlement(asset_class, settings.polygon.tier(asset_class))
    key = settings.polygon.api_key
    if key is None:
        return None
    if plan.feed_host is None:
        return _daily_feed(settings, asset_class, key.get_secret_value())
    host = settings.polygon.ws_host or f"{plan.feed_host}.polygon.io"
    scheme = "wss" if settings.polygon.ws_secure else "ws"
    return FeedConfig(
        asset_class, f"{scheme}://{host}/{asset_class}", key.get_secret_value(), settings.bar_lengths,
        _names(settings, asset_class), delay_s=float(plan.delay_s or 0), is_live=True,
    )  # fmt: skip


def _daily_feed(settings: Settings, asset_class: AssetClass, key: str) -> FeedConfig | None:
    """Give the feed of yesterday's bars by REST."""
    names = _names(settings, asset_class)
    if "*" in names or len(names) > MOST_DAILY:
        return None
    return FeedConfig(
        asset_class, settings.polygon.rest_url, key, (primary_bar_s(settings),), names,
        speed=float("inf"), too_old_s=float("inf"),
    )  # fmt: skip


def why_not_watched(asset_class: AssetClass) -> str:
    """Say what a plan without a stream needs."""
    return (
        f"the basic plan gives bars by REST after the close, 5 calls a minute: expected at most {MOST_DAILY} symbols "
        f"in universe.symbols.{asset_class}, was more or all (POLYGON_TIER_{asset_class.name} names a better plan)"
    )


def history_plan(
    settings: Settings, asset_class: AssetClass, dsn: str, simulated: str | None = None
) -> HistoryPlan | None:
    """Give how to ask for a class's past: the vendor, or the simulator whose REST side is at `simulated` (host:port).

    None where there is neither a simulator nor a key.
    """
    if simulated is not None:
        allowed = entitlement(asset_class, Tier.ADVANCED)
        return HistoryPlan(asset_class, f"http://{simulated}", SIMULATOR_KEY, dsn, allowed)
    key = settings.polygon.api_key
    if key is None:
        return None
    allowed = entitlement(asset_class, settings.polygon.tier(asset_class))
    return HistoryPlan(asset_class, settings.polygon.rest_url, key.get_secret_value(), dsn, allowed)


def _names(settings: Settings, asset_class: AssetClass) -> tuple[str, ...]:
    listed: tuple[str, ...] = getattr(settings.universe.symbols, asset_class.value)
    return tuple(name.removeprefix(f"{asset_class}:") for name in listed)


def feed_plan(
    settings: Settings, feed: FeedConfig, dsn: str, warm: WarmPlan | None, activity: str, rest: str | None = None
) -> FeedPlan:
    """Give all a feed's process needs; `rest` is the simulator's REST side (host:port)."""
    return FeedPlan(
        feed=feed,
        host=feed.host,
        tier=_tier(settings, feed),
        holder=f"{socket.gethostname()}:{os.getpid()}",
        dsn=dsn,
        checkpoints=checkpoint_folder(settings),
        n_shards=settings.shards,
        primary_bar_s=primary_bar_s(settings),
        activity=activity,
        detection=detection_config(settings, feed.asset_class),
        checkpoint_s=settings.checkpoint_s,
        warm=warm,
        sessions=_sessions(feed.asset_class) if feed.is_live else None,
        history=history_plan(settings, feed.asset_class, dsn, rest) if feed.url else None,
        recording=_recording(settings),
        versions=versions(),
    )


def _tier(settings: Settings, feed: FeedConfig) -> str:
    """Give the plan bars come by, in a word."""
    if not feed.url:
        return "pushed"
    is_vendors = feed.is_live or feed.is_daily
    return settings.polygon.tier(feed.asset_class).value if is_vendors else "simulated"


def _recording(settings: Settings) -> RecordingPlan | None:
    r = settings.recording
    return RecordingPlan(r.folder, r.segment_mib, r.max_mib) if r.folder else None


def versions() -> dict[str, str]:
    """Give the versions of what judges: the package and the catalogue of features."""
    return {"tapewatch": installed("tapewatch"), "features": schema_hash()}


def _sessions(asset_class: AssetClass) -> Sessions:
    """Give the exchange's days of the year to come."""
    from ray_apps.store.calendar import sessions  # brings pandas: a second that only a live feed pays

    today = datetime.now(UTC).date()
    return sessions(asset_class, today - timedelta(days=7), today + timedelta(days=366))


def shard_config(
    settings: Settings,
    asset_class: AssetClass,
    shard: int,
    dsn: str,
    activity: str,
    cache_url: str | None,
    run: str = "",
) -> ShardConfig:
    """Give all a shard's process needs."""
    return ShardConfig(
        asset_class=asset_class,
        shard=shard,
        n_shards=settings.shards,
        primary_bar_s=primary_bar_s(settings),
        activity=activity,
        dsn=dsn,
        checkpoints=checkpoint_folder(settings),
        detection=detection_config(settings, asset_class),
        versions=versions(),
        sinks=stream_sinks(settings),
        cache_url=cache_url if settings.sinks.redis.enabled else None,
        cache_ttl_s=settings.sinks.redis.latest_ttl_s,
        run=run,
    )


def telling(settings: Settings, asset_class: AssetClass) -> Telling:
    """Give the rules of who is told what."""
    return Telling(asset_class, settings.notifications, settings.universe)


def stream_sinks(settings: Settings) -> tuple[str, ...]:
    """Give the sinks that get every anomaly of a symbol's own."""
    return ("redis",) if settings.sinks.redis.enabled else ()


def notification_sinks(settings: Settings) -> tuple[str, ...]:
    """Give the sinks that get notifications."""
    sinks = settings.sinks
    chosen = {
        "console": sinks.console.enabled,
        "webhook": sinks.webhook.url is not None,
        "grafana": sinks.grafana.url is not None,
    }
    return tuple(name for name, is_on in chosen.items() if is_on)


def checkpoint_folder(settings: Settings) -> Path:
    """Give where checkpoints are kept."""
    return settings.data_dir / "checkpoints"
