"""Compose the live system: one machine's parts, the actors, the gateway; run until told to stop."""

import asyncio
import logging
import random
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import ray

from features.market.types import AssetClass
from ray_apps import actors, placement, plans, preflight
from ray_apps.commands.up import UpOptions
from ray_apps.errors import UsageError, UserError, gist
from ray_apps.ingest.backoff import full_jitter
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.plan import WarmPlan
from ray_apps.local import gateway
from ray_apps.local.process import FolderLock, InUseError, LocalError, free_port, listener
from ray_apps.local.stack import Stack
from ray_apps.local.start import Start, start_of
from ray_apps.reload import ConfigWatch
from ray_apps.remote import call, named
from ray_apps.screen import Screen
from ray_apps.settings import Settings
from ray_apps.store.checkpoints import sweep
from ray_apps.store.migrate import migrate
from ray_apps.supervisor import WARM_DAYS, Ground, Supervisor

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

T = TypeVar("T")

OBJECT_STORE_BYTES = 256 * 2**20
"""Messages are a few MB each and short-lived."""
PRESTARTED = 6
"""Ray starts so many worker processes at once, which the actors then take; it schedules nothing by them."""
LOOK_S = 0.5


class Up(Supervisor):
    """One run of `tapewatch up`: everything on this machine."""

    def __init__(self, settings: Settings, options: UpOptions, read: Callable[[], Settings] | None = None) -> None:
        super().__init__(settings, Screen())
        self.config = ConfigWatch(settings, read or (lambda: settings), options.config)
        self.options = options
        self.rest: str | None = None
        self.session: Path | None = None
        self.trouble = ""
        self.is_gateway_up = False
        self.is_stopping = False

    def run(self) -> None:
        """Start everything, show what happens, stop everything."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        with self._folder(), Stack(self.settings) as stack:
            preflight.check_ports(self.settings)  # of two runs on one folder, the folder is what to tell of
            try:
                self._start(stack)
                while not self.is_stopping:
                    self.look()
                    self._reload()
                    self._mend(stack)
                    time.sleep(LOOK_S)
            finally:
                self._end()
        if self.session is not None:  # its logs are of use only where something went wrong
            sweep_session(self.session)

    def _folder(self) -> AbstractContextManager[object]:
        """Hold the data folder where it is to have a database: another run's is found before anything starts."""
        if self.settings.database_url is not None:
            return nullcontext()
        return FolderLock(self.settings.data_dir / "lock")

    def _start(self, stack: Stack) -> None:
        """Start the ground and Ray side by side, then the actors; the sinks and the gateway come after the tape."""
        with ThreadPoolExecutor(1, "ground") as pool:
            making = pool.submit(self._ground, stack)
            self._step("ray", self._ray, "free ports and memory; `tapewatch up` needs about 3 GB")
            ground = making.result()
        if self.is_stopping:
            return
        self.start(ground, self._warm, secrets.token_hex(8))

    def _ground(self, stack: Stack) -> Ground:
        """Start what everything stands on, and say what there is to read."""
        dsn = self._step("database", stack.database, "is the data folder writable, with 1 GB free?")
        self._step("schema", lambda: migrate(dsn), "look at the error above; the data is untouched")
        self.screen.where("database", gateway.shown(dsn))
        asyncio.run(sweep(dsn, plans.checkpoint_folder(self.settings)))
        redis_url = self._step("cache", stack.cache, "set REDIS_URL to a Redis of yours, or free memory")
        self.screen.where("cache", gateway.shown(redis_url))
        start = asyncio.run(start_of(dsn))
        feeds = self._feeds(stack, start)
        if not feeds:
            raise UsageError("expected at least one asset class that can be watched, was none: see `tapewatch check`")
        return Ground(dsn, redis_url, start, feeds, self.rest, {a: self._activity(a) for a in feeds})

    def _feeds(self, stack: Stack, start: Start) -> dict[AssetClass, FeedConfig]:
        settings, source = self.settings, self.options.source
        if source in ("polygon", "push") or settings.simulator.ws:
            self.rest = settings.simulator.rest if source == "synthetic" else None
            feeds, lines = plans.feeds(settings, source, self.options.speed)
            for line in lines:
                self.screen.line(line)
            return feeds
        arguments = self._simulator_arguments(start)
        log = settings.data_dir / "logs" / "simulator.log"
        simulator = self._step("simulator", lambda: stack.simulator(arguments, log), f"see {log}")
        self.screen.where("simulator", f"ws://{simulator.ws}  http://{simulator.rest}")
        self.rest = simulator.rest
        if source != "synthetic":
            self.screen.where("folder", f"{source} as {settings.assets[0]}")
        classes = settings.assets if source == "synthetic" else settings.assets[:1]
        return {a: plans.simulated_feed(settings, a, simulator.ws, self.options.speed) for a in classes}

    def _simulator_arguments(self, start: Start) -> list[str]:
        o = self.options
        arguments = ["--source", o.source, "--speed", str(o.speed), "--asset", ",".join(self.settings.assets)]
        arguments += ["--hold"]
        if o.source == "synthetic":
            arguments += ["--symbols", str(o.symbols), "--seed", str(o.seed), "--start", start.iso]
            arguments += ["--per-day", str(self.settings.simulator.per_day)]
            arguments += ["--burst-at", start.burst_iso] if start.burst_iso else []
        elif not start.is_first:
            arguments += ["--start", start.iso]
        return arguments

    def _activity(self, asset_class: AssetClass) -> str:
        """Give the activity column: the live feed's, or what a folder's files have."""
        if self.options.source in preflight.SOURCES:
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
        began = ray.init(
            address="local", namespace=placement.NAMESPACE, include_dashboard=False, log_to_driver=False,
            configure_logging=False, num_cpus=PRESTARTED, object_store_memory=OBJECT_STORE_BYTES,
            _system_config={"enable_metrics_collection": False, "worker_niceness": 0},
        )  # fmt: skip
        self.session = Path(began.address_info["session_dir"])
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def look(self) -> None:
        """Show what happened since the last look; sinks and gateway come after the first bars, if any come soon."""
        super().look()
        if self.sinks is None and (any(self.seen.values()) or self.is_settled):
            assert self.ground is not None
            self.start_sinks()
            threading.Thread(target=self._serve, args=(self.ground,), daemon=True).start()

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
        if change is not None:
            self.take_over(change)

    def _serve(self, ground: Ground) -> None:
        """Start the gateway beside the tape, which it takes longer than; again until it is up."""
        told = ""
        for wait_s in full_jitter(random.SystemRandom(), cap_s=30.0):
            try:
                self._start_gateway(ground)
                break
            except Exception as e:
                if self.is_stopping:
                    return
                if gist(e) != told:
                    told = gist(e)
                    self.screen.where("http", f"not up yet, tried again: {told}")
            time.sleep(wait_s)
            if self.is_stopping:
                return
        self._run_scorer()

    def _start_gateway(self, ground: Ground) -> None:
        started, http = time.monotonic(), self.settings.http
        if not http.port:  # Serve takes a free one too, and tells nobody which
            http = http.model_copy(update={"port": free_port()})
        end_gateway()
        listener(http.host, http.port).close()  # Serve would share it with another Serve, and get a part of the calls
        run_gateway(plans.GatewayPlan(ground.dsn, ground.redis_url, http))
        self.is_gateway_up = True
        self.screen.step("http", time.monotonic() - started)
        address = gateway.url(http.host, http.port)
        gateway.write(self.settings.data_dir, address)
        self.screen.where("http", f"{address}/docs")

    def _run_scorer(self) -> None:
        """Start the models that score in shadow: nothing waits for them."""
        started = time.monotonic()
        try:
            run_scorer()
        except Exception as e:
            if not self.is_stopping:
                self.screen.where("scorer", f"did not start: {gist(e)}; all else goes on")
            return
        self.is_scorer_up = True
        self.is_beat_due = True
        self.screen.step("scorer", time.monotonic() - started)

    def _end(self) -> None:
        """Stop in the order of the data: feeds, shards, Ray; what they stand on comes after.

        The gateway ends with Ray: an end of its own before would print what its last calls say of that.
        """
        self.is_stopping = True
        self.screen.line("stopping")
        if ray.is_initialized():
            self.stop()
            if self.is_gateway_up:
                gateway.forget(self.settings.data_dir)
            ray.shutdown()

    def _step(self, name: str, work: Callable[[], T], advice: str) -> T:
        started = time.monotonic()
        try:
            value = work()
        except UserError:
            raise
        except InUseError as e:  # says itself what to do
            raise UsageError(f"{name}: {e}") from e
        except Exception as e:
            raise UserError(f"{name}: {e}; {advice}") from e
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

    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": plan.http.host, "port": plan.http.port, "request_timeout_s": None},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )

    serve.run(gateway_deployment(plan), name="tapewatch", route_prefix="/")


def end_gateway() -> None:
    """End a Serve that came up in part, if there is one: asked again, it would say that all is up."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.shutdown()


def gateway_deployment(plan: plans.GatewayPlan, resources: Mapping[str, float] | None = None) -> "Application":
    """Give the gateway as Serve runs it, on nodes with these resources."""
    from ray import serve

    async def metrics() -> str:
        return str(await call(named(placement.SINKS).metrics.remote()))

    def build() -> "FastAPI":  # Serve tells a builder from an application by its being a plain function
        from ray_apps.api.gateway import application

        return application(plan, metrics, actors.push)

    options = {**placement.GATEWAY_OPTIONS, "ray_actor_options": {"num_cpus": 0, "resources": dict(resources or {})}}
    return serve.deployment(name="gateway", **options)(serve.ingress(build)()).bind()


def run_scorer() -> None:
    """Start the scorer beside the gateway, without a route of its own; returns when it answers."""
    from ray import serve

    from ray_apps.scoring.replica import ScorerReplica

    made = serve.deployment(name=placement.SCORER, **placement.SCORER_OPTIONS)(ScorerReplica)
    serve.run(made.bind(), name=placement.SCORER, route_prefix=None)


def sweep_session(session: Path) -> None:
    """Remove what a session of Ray that has ended wrote down; `session_latest` too where it is the one."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    with suppress(OSError):
        if latest.readlink() == session:
            latest.unlink()


def up(settings: Settings, options: UpOptions, read: Callable[[], Settings]) -> None:
    """Run the system until Ctrl-C."""
    try:
        Up(settings, options, read).run()
    except InUseError as e:
        raise UsageError(str(e)) from e
