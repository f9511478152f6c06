"""Start the actors of every asset class and keep them at work: the same on one machine and on a cluster."""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from features.market.types import AssetClass
from ray_apps import actors, plans
from ray_apps.errors import gist
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.plan import FeedPlan, WarmPlan
from ray_apps.local.start import Start
from ray_apps.placement import (
    DESK,
    DESK_OPTIONS,
    FEED_OPTIONS,
    HERE,
    SHARD_OPTIONS,
    SINKS,
    Place,
    feed_name,
    shard_name,
)
from ray_apps.reload import Change
from ray_apps.remote import named
from ray_apps.screen import Screen
from ray_apps.settings import Settings, detection_config
from ray_apps.shards.desk import DeskService
from ray_apps.shards.shard import ShardConfig
from ray_apps.sinks.service import SinkPlan

PROGRESS_S = 5.0
"""Between lines of a class about a start that takes long."""
CALL_S = 60.0
STOP_S = 45.0
BEAT_S = 30.0
"""So often the hub is told whom to expect, the desk to be heard, shards of the scorer: who was started again does not
know."""
SETTLED = ("live", "spare", "cooldown", "refused")
"""States in which a feed waits for nothing of ours any more."""
TROUBLED = ("not storing", "reconnecting", "cooldown")
"""States whose reason is told with them."""
SETTLED_S = 5.0
"""For so long: every feed begins as a spare."""
SPARE_S = 3.0
"""A feed that waits longer for its lease waits for another holder: its shards rehearse taking over."""
WARM_DAYS = 4
"""Days of the tape folded before a first start: norms, time of day and trials a day are settled then."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the actors stand on: database, cache, where the clock starts, the feed of each class.

    `rest` is the REST side of a simulator (host:port), `activities` the column that says how busy a bar was.
    """

    dsn: str
    redis_url: str
    start: Start
    feeds: dict[AssetClass, FeedConfig]
    rest: str | None
    activities: dict[AssetClass, str]


@dataclass(slots=True)
class Spare:
    """A feed that waits for its lease, and how far its shards are: ready to take over once they are warm."""

    since_s: float = field(default_factory=time.monotonic)
    calls: list[Any] = field(default_factory=list)
    is_warm: bool = False


class Supervisor:
    """Owns the feeds, shards, desk and sinks of one installation.

    Parameters
    ----------
    settings
        What they are told.
    screen
        Where it says what happens.
    place
        Where actors run and how long they live.
    """

    def __init__(self, settings: Settings, screen: Screen, place: Place = HERE) -> None:
        self.settings = settings
        self.screen = screen
        self.place = place
        self.feeds: dict[AssetClass, Any] = {}
        self.shards: dict[AssetClass, list[Any]] = {}
        self.seen: dict[AssetClass, int] = {}
        self.told: dict[AssetClass, str] = {}
        self._status: dict[AssetClass, str] = {}
        self.spares: dict[AssetClass, Spare] = {}
        self.sinks: Any = None
        self.desk: Any = None
        self.ground: Ground | None = None
        self.run_id = ""
        self.is_scorer_up = False
        self._settled_at: float | None = None
        self._n_lines = 0
        self.is_beat_due = True
        self._beat_at = time.monotonic()
        self._progress: dict[AssetClass, tuple[str, float]] = {}

    def start(self, ground: Ground, warm: Callable[[Start], WarmPlan | None], run_id: str) -> None:
        """Start shards, desk and feeds; those that are there already are found."""
        settings, dsn = self.settings, ground.dsn
        told, streams = plans.notification_sinks(settings), plans.stream_sinks(settings)
        for asset_class in ground.feeds:
            configs = [
                plans.shard_config(
                    settings, asset_class, i, dsn, ground.activities[asset_class], ground.redis_url, run_id
                )
                for i in range(settings.shards)
            ]
            self.shards[asset_class] = [_shard(c, settings.checkpoint_s, self.place) for c in configs]
        window_s = max(60, plans.primary_bar_s(settings))
        desks = {
            a: DeskService(a, dsn, detection_config(settings, a), told, streams, window_s, plans.telling(settings, a))
            for a in ground.feeds
        }
        self.desk = _desk(desks, self.place)
        for asset_class, feed in ground.feeds.items():
            plan = plans.feed_plan(settings, feed, dsn, warm(ground.start), ground.activities[asset_class], ground.rest)
            self.feeds[asset_class] = _feed(plan, self.place)
            self.feeds[asset_class].start.remote(detection_config(settings, asset_class))
        self.ground = ground

    def start_sinks(self) -> None:
        """Start the sinks and the metrics hub."""
        assert self.ground is not None
        g, s = self.ground, self.settings
        plan = SinkPlan(g.dsn, g.redis_url, s.sinks, s.retention_days, s.metrics, s.shards, plans.versions())
        self.sinks = _sinks(plan, self.place)

    def look(self) -> None:
        """Show what each feed saw since the last look; start again one whose process was replaced."""
        for asset_class, handle in self.feeds.items():
            try:
                seen = ray.get(handle.look.remote(self.seen.get(asset_class, 0)), timeout=CALL_S)
            except RayError:
                continue
            if seen["status"] == "starting" or (seen["error"] and not seen["is_fatal"]):
                handle.start.remote(detection_config(self.settings, asset_class))
            self._tell(asset_class, seen)
            self._warm_up(asset_class, seen["status"])
            if self.settings.sinks.console.bars:
                self.screen.bars(seen["bars"])
            self.seen[asset_class] = seen["n_bars"]
        is_settled = bool(self.feeds) and all(self._waits_for_nothing(a) for a in self.feeds)
        self._settled_at = (self._settled_at or time.monotonic()) if is_settled else None
        self._say_lines()
        if self.sinks is not None and (self.is_beat_due or time.monotonic() - self._beat_at > BEAT_S):
            self._beat_at, self.is_beat_due = time.monotonic(), False
            self._beat()

    @property
    def is_settled(self) -> bool:
        """Whether every feed has been live, a warm spare, or unable to be either, for some seconds."""
        return self._settled_at is not None and time.monotonic() - self._settled_at > SETTLED_S

    def take_over(self, change: Change) -> None:
        """Bring changed settings to the actors, as far as that needs no restart."""
        self.settings = change.settings
        for line in change.lines:
            self.screen.line(line)
        for asset_class, feed in self.feeds.items():
            detection = detection_config(self.settings, asset_class)
            feed.configure.remote(detection)
            self.desk.configure.remote(asset_class, detection, plans.telling(self.settings, asset_class))

    def stop(self) -> None:
        """Stop in the order of the data: the feeds, then the shards, which write their checkpoints."""
        settle([h.stop.remote() for h in self.feeds.values()])
        settle([s.save.remote() for shards in self.shards.values() for s in shards])

    def _beat(self) -> None:
        shards = {shard_name(a, i): s for a, found in self.shards.items() for i, s in enumerate(found)}
        self.sinks.expect.remote([*(feed_name(a) for a in self.feeds), *shards, DESK])
        self.desk.begin.remote()
        for handle in shards.values():
            (handle.connect_scorer if self.is_scorer_up else handle.begin).remote()

    def _waits_for_nothing(self, asset_class: AssetClass) -> bool:
        spare = self.spares.get(asset_class)
        return self._status.get(asset_class, "") in SETTLED and (spare is None or spare.is_warm)

    def _warm_up(self, asset_class: AssetClass, status: str) -> None:
        """Have the shards of a spare recover once; try again where that failed."""
        if status != "spare":
            self.spares.pop(asset_class, None)
            return
        spare = self.spares.setdefault(asset_class, Spare())
        if not spare.calls and time.monotonic() - spare.since_s > SPARE_S:
            spare.calls = [shard.rehearse.remote() for shard in self.shards[asset_class]]
        if not spare.calls or spare.is_warm:
            return
        done, _ = ray.wait(spare.calls, num_returns=len(spare.calls), timeout=0)
        if len(done) == len(spare.calls):
            try:
                ray.get(done, timeout=CALL_S)
                spare.is_warm = True
                self.screen.feed(asset_class, "warm, waits for its lease")
            except RayError as e:
                self.spares[asset_class] = Spare()
                self.screen.feed(asset_class, f"not warm yet: {gist(e)}")

    def _say_lines(self) -> None:
        """Print what the console sink has to say."""
        if self.sinks is None:
            return
        with suppress(RayError):
            for number, line in ray.get(self.sinks.lines.remote(self._n_lines), timeout=CALL_S):
                self._n_lines = number + 1
                self.screen.alert(line)

    def _tell(self, asset_class: AssetClass, seen: dict[str, Any]) -> None:
        self._status[asset_class] = seen["status"]
        said = seen["error"] or seen["status"]
        if said != self.told.get(asset_class):
            self.told[asset_class] = said
            more = f": {seen['detail']}" if said in TROUBLED and seen["detail"] else ""
            self.screen.feed(asset_class, said + more)
        text, at_s = self._progress.get(asset_class, ("", 0.0))
        if seen["progress"] not in ("", text) and time.monotonic() - at_s > PROGRESS_S:
            self._progress[asset_class] = (seen["progress"], time.monotonic())
            self.screen.feed(asset_class, seen["progress"])


def settle(refs: list[Any], within_s: float = STOP_S) -> list[Any]:
    """Wait for calls, whatever becomes of them; give those that ended."""
    if not refs:
        return []
    try:
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=max(0.0, within_s))
    except RayError as e:
        sys.stderr.write(f"warning: {e}\n")
        return []
    return list(done)


def _shard(config: ShardConfig, checkpoint_s: float, place: Place = HERE) -> Any:
    """Start a shard's actor."""
    name = shard_name(config.asset_class, config.shard)
    made = ray.remote(actors.ShardActor).options(name=name, **SHARD_OPTIONS, **place.stream)
    return made.remote(config, checkpoint_s, place.logs_json)


def _feed(plan: FeedPlan, place: Place = HERE) -> Any:
    """Start a feed's actor."""
    name = feed_name(plan.asset_class)
    return ray.remote(actors.FeedActor).options(name=name, **FEED_OPTIONS, **place.stream).remote(plan, place.logs_json)


def _sinks(plan: SinkPlan, place: Place = HERE) -> Any:
    """Start the sinks' actor."""
    return ray.remote(actors.SinkActor).options(name=SINKS, **DESK_OPTIONS, **place.hub).remote(plan, place.logs_json)


def _desk(desks: dict[AssetClass, DeskService], place: Place = HERE) -> Any:
    """Start the desk's actor."""
    return (
        ray.remote(actors.DeskActor).options(name=DESK, **DESK_OPTIONS, **place.stream).remote(desks, place.logs_json)
    )


def end(handles: Iterable[Any]) -> None:
    """End actors that outlive who started them; the next of the same names are other ones."""
    for handle in handles:
        with suppress(Exception):
            ray.kill(handle)
    named.cache_clear()
