"""Compose the live system: one machine's parts, the actors, the gateway; run until told to stop."""

import asyncio
import logging
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import RayError

from features.market.types import AssetClass
from ray_apps import actors, plans
from ray_apps.commands.up import SOURCES, UpOptions
from ray_apps.errors import UsageError
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.plan import WarmPlan
from ray_apps.local.process import LocalError
from ray_apps.local.stack import Stack
from ray_apps.local.start import Start, start_of
from ray_apps.reload import ConfigWatch
from ray_apps.screen import Screen
from ray_apps.settings import Settings, detection_config
from ray_apps.shards.desk import DeskService
from ray_apps.sinks.service import SinkPlan
from ray_apps.store.checkpoints import sweep
from ray_apps.store.migrate import migrate

if TYPE_CHECKING:
    from fastapi import FastAPI

T = TypeVar("T")

OBJECT_STORE_BYTES = 256 * 2**20
"""Messages are a few MB each and short-lived."""
PRESTARTED = 6
"""Ray starts so many worker processes at once, which the actors then take; it schedules nothing by them."""
LOOK_S = 0.5
PROGRESS_S = 5.0
"""Between lines about a start that takes long."""
CALL_S = 60.0
STOP_S = 45.0
CONNECT_S = 30.0
"""Shards are told of the scorer so often: one that was started again does not know it."""
WARM_DAYS = 4
"""Days of the tape folded before a first start: norms, time of day and trials a day are settled then."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the actors stand on: database, cache, where the clock starts, the feed of each class."""

    dsn: str
    redis_url: str
    start: Start
    feeds: dict[AssetClass, FeedConfig]
    rest: str | None


class Up:
    """One run of `tapewatch up`."""

    def __init__(self, settings: Settings, options: UpOptions, read: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self.config = ConfigWatch(settings, read or (lambda: settings), options.config)
        self.options = options
        self.screen = Screen()
        self.feeds: dict[AssetClass, Any] = {}
        self.shards: dict[AssetClass, list[Any]] = {}
        self.seen: dict[AssetClass, int] = {}
        self.told: dict[AssetClass, str] = {}
        self.sinks: Any = None
        self.desk: Any = None
        self.n_lines = 0
        self.ground: Ground | None = None
        self.rest: str | None = None
        self.trouble = ""
        self.run_id = secrets.token_hex(8)
        self.is_gateway_up = False
        self.is_scorer_up = False
        self.connected_at = -CONNECT_S
        self.progressed_at = time.monotonic()
        self.is_stopping = False

    def run(self) -> None:
        """Start everything, show what happens, stop everything."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        with Stack(self.settings) as stack:
            try:
                self._start(stack)
                while not self.is_stopping:
                    self._look()
                    self._reload()
                    self._mend(stack)
                    time.sleep(LOOK_S)
            finally:
                self._end()

    def _start(self, stack: Stack) -> None:
        """Start the ground and Ray side by side, then the actors; the sinks and the gateway come after the tape."""
        with ThreadPoolExecutor(1, "ground") as pool:
            making = pool.submit(self._ground, stack)
            self._step("ray", self._ray, "free ports and memory; `tapewatch up` needs about 3 GB")
            ground = making.result()
        if self.is_stopping:
            return
        settings, dsn = self.settings, ground.dsn
        told, streams = plans.notification_sinks(settings), plans.stream_sinks(settings)
        for asset_class in ground.feeds:
            activity = self._activity(asset_class)
            configs = [
                plans.shard_config(settings, asset_class, i, dsn, activity, ground.redis_url, self.run_id)
                for i in range(settings.shards)
            ]
            self.shards[asset_class] = [actors.remote_shard(c, settings.checkpoint_s) for c in configs]
        window_s = max(60, plans.primary_bar_s(settings))
        self.desk = actors.remote_desk({
            a: DeskService(a, dsn, detection_config(settings, a), told, streams, window_s, plans.telling(settings, a))
            for a in ground.feeds
        })  # fmt: skip
        for asset_class, feed in ground.feeds.items():
            plan = plans.feed_plan(
                settings, feed, dsn, self._warm(ground.start), self._activity(asset_class), ground.rest
            )
            self.feeds[asset_class] = actors.remote_feed(plan)
            self.feeds[asset_class].start.remote(detection_config(settings, asset_class))
        self.ground = ground

    def _ground(self, stack: Stack) -> Ground:
        """Start what everything stands on, and say what there is to read."""
        dsn = self._step("database", stack.database, "is the data folder writable, with 1 GB free?")
        self._step("schema", lambda: migrate(dsn), "look at the error above; the data is untouched")
        asyncio.run(sweep(dsn, plans.checkpoint_folder(self.settings)))
        redis_url = self._step("cache", stack.cache, "set REDIS_URL to a Redis of yours, or free memory")
        start = asyncio.run(start_of(dsn))
        feeds = self._feeds(stack, start)
        if not feeds:
            raise UsageError("expected at least one asset class that can be watched, was none: see `tapewatch check`")
        return Ground(dsn, redis_url, start, feeds, self.rest)

    def _feeds(self, stack: Stack, start: Start) -> dict[AssetClass, FeedConfig]:
        settings, source = self.settings, self.options.source
        if source == "polygon":
            found = {a: plans.vendor_feed(settings, a) for a in settings.assets}
            for a, feed in found.items():
                if feed is None:
                    self.screen.line(f"{a}: not watched: {plans.why_not_watched(a)}")
            return {a: f for a, f in found.items() if f is not None}
        if source == "push":
            return {a: plans.pushed_feed(settings, a) for a in settings.assets}
        arguments = self._simulator_arguments(start)
        log = settings.data_dir / "logs" / "simulator.log"
        simulator = self._step("simulator", lambda: stack.simulator(arguments, log), f"see {log}")
        self.screen.where("simulator", f"ws://{simulator.ws}  http://{simulator.rest}")
        self.rest = simulator.rest
        classes = settings.assets if source == "synthetic" else settings.assets[:1]
        return {a: plans.simulated_feed(settings, a, simulator.ws, self.options.speed) for a in classes}

    def _simulator_arguments(self, start: Start) -> list[str]:
        o = self.options
        arguments = ["--source", o.source, "--speed", str(o.speed), "--asset", ",".join(self.settings.assets)]
        arguments += ["--hold"]
        if o.source == "synthetic":
            arguments += ["--symbols", str(o.symbols), "--seed", str(o.seed), "--start", start.iso]
            arguments += ["--per-day", str(self.settings.simulator.per_day)]
            arguments += ["--burst-at", start.burst_iso] if start.is_first else []
        elif not start.is_first:
            arguments += ["--start", start.iso]
        return arguments

    def _activity(self, asset_class: AssetClass) -> str:
        """Give the activity column: the live feed's, or what a folder's files have."""
        if self.options.source in SOURCES:
            return asset_class.activity
        from ray_apps.store.headers import activity_of  # brings pyarrow

        return activity_of(Path(self.options.source), asset_class)

    def _warm(self, start: Start) -> WarmPlan | None:
        o = self.options
        if o.source != "synthetic":
            return None
        return WarmPlan(o.symbols, o.seed, self.settings.simulator.per_day, WARM_DAYS, start.first_ns)

    def _ray(self) -> None:
        """Start Ray; once more where a busy machine let it run into its own 30 s."""
        try:
            self._start_ray()
        except Exception as e:
            self.screen.where("ray", f"not up yet, tried again: {repr(e)[:90]}")
            ray.shutdown()
            self._start_ray()

    def _start_ray(self) -> None:
        ray.init(
            address="local", namespace=actors.NAMESPACE, include_dashboard=False, log_to_driver=False,
            configure_logging=False, num_cpus=PRESTARTED, object_store_memory=OBJECT_STORE_BYTES,
            _system_config={"enable_metrics_collection": False, "worker_niceness": 0},
        )  # fmt: skip
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _look(self) -> None:
        """Show what each feed saw since the last look; start again one whose process was replaced."""
        for asset_class, handle in self.feeds.items():
            try:
                seen = ray.get(handle.look.remote(self.seen.get(asset_class, 0)), timeout=CALL_S)
            except RayError:
                continue
            if seen["status"] == "starting" or (seen["error"] and not seen["is_fatal"]):
                handle.start.remote(detection_config(self.settings, asset_class))
            self._tell(asset_class, seen)
            if self.settings.sinks.console.bars:
                self.screen.bars(seen["bars"])
            self.seen[asset_class] = seen["n_bars"]
        if self.sinks is None and any(self.seen.values()):
            assert self.ground is not None
            g, s = self.ground, self.settings
            self.sinks = actors.remote_sinks(SinkPlan(g.dsn, g.redis_url, s.sinks, s.retention_days))
            threading.Thread(target=self._serve, args=(g,), daemon=True).start()
        self._say_lines()
        if self.is_scorer_up and time.monotonic() - self.connected_at > CONNECT_S:
            self.connected_at = time.monotonic()
            for handle in (s for shards in self.shards.values() for s in shards):
                handle.connect_scorer.remote()

    def _mend(self, stack: Stack) -> None:
        """Start the database or the cache again if it died: the feeds keep what comes meanwhile."""
        try:
            for name in stack.mend():
                self.screen.where(name, "had died, started again")
            self.trouble = ""
        except (LocalError, OSError) as e:  # a disk without room, say: tried again, told of once
            if str(e) != self.trouble:
                self.screen.where("local", str(e))
            self.trouble = str(e)

    def _reload(self) -> None:
        """Bring a changed config file to the actors."""
        change = self.config.look()
        if change is None:
            return
        self.settings = change.settings
        for line in change.lines:
            self.screen.line(line)
        for asset_class, feed in self.feeds.items():
            detection = detection_config(self.settings, asset_class)
            feed.configure.remote(detection)
            self.desk.configure.remote(asset_class, detection, plans.telling(self.settings, asset_class))

    def _say_lines(self) -> None:
        """Print what the console sink has to say."""
        if self.sinks is None:
            return
        with suppress(RayError):
            for number, line in ray.get(self.sinks.lines.remote(self.n_lines), timeout=CALL_S):
                self.n_lines = number + 1
                self.screen.alert(line)

    def _serve(self, ground: Ground) -> None:
        """Start the gateway beside the tape: it takes longer than all the rest."""
        started, http = time.monotonic(), self.settings.http
        try:
            run_gateway(plans.GatewayPlan(ground.dsn, ground.redis_url, http))
        except Exception as e:
            if not self.is_stopping:
                self.screen.where("http", f"did not start: {e}; is port {http.port} taken? see --http-port")
            return
        self.is_gateway_up = True
        self.screen.step("http", time.monotonic() - started)
        self.screen.where("http", f"http://{http.host}:{http.port}/docs")
        self._run_scorer()

    def _run_scorer(self) -> None:
        """Start the models that score in shadow: nothing waits for them."""
        started = time.monotonic()
        try:
            run_scorer()
        except Exception as e:
            if not self.is_stopping:
                self.screen.where("scorer", f"did not start: {e}; all else goes on")
            return
        self.is_scorer_up = True
        self.screen.step("scorer", time.monotonic() - started)

    def _tell(self, asset_class: AssetClass, seen: dict[str, Any]) -> None:
        said = seen["error"] or seen["status"]
        if said != self.told.get(asset_class):
            self.told[asset_class] = said
            more = f": {seen['detail']}" if said == "not storing" else ""
            self.screen.where(f"{asset_class} feed", said + more)
        if seen["progress"] and time.monotonic() - self.progressed_at > PROGRESS_S:
            self.progressed_at = time.monotonic()
            self.screen.where(f"{asset_class} feed", seen["progress"])

    def _end(self) -> None:
        """Stop in the order of the data: feeds, shards, Ray; what they stand on comes after."""
        self.screen.line("stopping")
        if ray.is_initialized():
            _settle([h.stop.remote() for h in self.feeds.values()])
            _settle([s.save.remote() for shards in self.shards.values() for s in shards])
            if self.is_gateway_up:
                stop_gateway()
            ray.shutdown()

    def _step(self, name: str, work: Callable[[], T], advice: str) -> T:
        started = time.monotonic()
        try:
            value = work()
        except UsageError:
            raise
        except Exception as e:
            raise UsageError(f"{name}: {e}; {advice}") from e
        self.screen.step(name, time.monotonic() - started)
        return value

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if self.is_stopping:
            self.screen.line("still stopping; once more to give up")
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.is_stopping = True


def run_gateway(plan: plans.GatewayPlan) -> None:
    """Start Serve with the gateway; returns when it answers."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": plan.http.host, "port": plan.http.port, "request_timeout_s": None},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )

    async def metrics() -> str:
        return str(await actors.call(actors.named("sinks").metrics.remote()))

    def build() -> "FastAPI":  # Serve tells a builder from an application by its being a plain function
        from ray_apps.api.gateway import application

        return application(plan, metrics, actors.push)

    made = serve.deployment(name="gateway", **actors.GATEWAY_OPTIONS)(serve.ingress(build)())
    serve.run(made.bind(), name="tapewatch", route_prefix="/")


def run_scorer() -> None:
    """Start the scorer beside the gateway, without a route of its own; returns when it answers."""
    from ray import serve

    from ray_apps.scoring.replica import ScorerReplica

    made = serve.deployment(name=actors.SCORER, **actors.SCORER_OPTIONS)(ScorerReplica)
    serve.run(made.bind(), name=actors.SCORER, route_prefix=None)


def stop_gateway() -> None:
    """Stop Serve."""
    from ray import serve

    serve.shutdown()


def _settle(refs: list[Any]) -> None:
    """Wait for calls, whatever becomes of them."""
    try:
        ray.wait(refs, num_returns=len(refs), timeout=STOP_S)
    except (RayError, ValueError) as e:
        sys.stderr.write(f"warning: {e}\n")


def up(settings: Settings, options: UpOptions, read: Callable[[], Settings]) -> None:
    """Run the system until Ctrl-C."""
    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    Up(settings, options, read).run()
