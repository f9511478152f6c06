"""The system as Ray Serve applications: what a RayService of the chart runs.

Three applications: `gateway` answers HTTP, `scorer` holds the models that score in shadow, `supervisor` starts the
actors and keeps them at work. What each is told comes as a mapping of settings from the service's configuration, as a
config file would hold it; addresses and secrets come from the environment.
"""

import asyncio
import logging
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError

from features.market.types import AssetClass
from ray_apps import actors, plans
from ray_apps.app import gateway_deployment
from ray_apps.errors import UsageError, causes
from ray_apps.ingest.plan import WarmPlan
from ray_apps.local.start import Start, start_of
from ray_apps.logs import LogScreen, log_json
from ray_apps.placement import (
    CLUSTER,
    DESK,
    GATEWAY_RESOURCES,
    NAMESPACE,
    SCORER,
    SCORER_OPTIONS,
    SCORER_RESOURCES,
    SINKS,
    STREAM_RESOURCES,
)
from ray_apps.reload import change_of
from ray_apps.remote import named
from ray_apps.settings import Settings, flatten, load_settings
from ray_apps.store.checkpoints import sweep
from ray_apps.store.migrate import await_schema
from ray_apps.supervisor import WARM_DAYS, Ground, Supervisor, end, settle

LOG = logging.getLogger(__name__)

LOOK_S = 0.5
SCHEMA_S = 600.0
"""How long the database and its schema are waited for: the job that makes it runs beside the first start."""
DRAIN_S = 150.0
"""The end of a pod, below the time it is given (180 s by the chart): what is killed in the middle writes nothing."""
END_S = 10.0
"""Of it, for what comes after the checkpoints: the hub's word, leaving Ray."""
FIND_S = 10.0
"""For the actors' answer where they run; those that wait for another node give none."""
FORGET_S = 3.0
START_S = 1_800.0
"""A first start folds the history of the whole market before it is ready."""


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Give the settings of a mapping as a config file would hold it, over the environment's addresses and secrets."""
    settings = load_settings(None, flatten(config))
    for name in ("database_url", "redis_url"):
        if getattr(settings, name) is None:
            raise UsageError(f"{name.upper()}: expected the address of a running server, was none")
    return settings


def gateway(config: dict[str, Any]) -> serve.Application:
    """Build the HTTP gateway."""
    log_json()
    settings = settings_of(config)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    plan = plans.GatewayPlan(
        settings.database_url.get_secret_value(), settings.redis_url.get_secret_value(), settings.http
    )
    return gateway_deployment(plan, GATEWAY_RESOURCES)


def scorer(config: dict[str, Any]) -> serve.Application:
    """Build the scorer."""
    from ray_apps.scoring.replica import ScorerReplica

    log_json()
    options = {**SCORER_OPTIONS, "ray_actor_options": {"num_cpus": 0, "resources": SCORER_RESOURCES}}
    return serve.deployment(name=SCORER, **options)(ScorerReplica).bind()


def supervisor(config: dict[str, Any]) -> serve.Application:
    """Build the supervisor; its settings come as the deployment's `user_config`, so that a change restarts nothing."""
    options = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0, "resources": STREAM_RESOURCES}}
    made = serve.deployment(
        name="supervisor", graceful_shutdown_timeout_s=120, health_check_period_s=10, user_config=config, **options
    )
    return made(SupervisorReplica).bind()


class SupervisorReplica:
    """Runs a `Supervisor` in a thread of its own; new settings reach it there."""

    def __init__(self) -> None:
        log_json()
        self._running: _Running | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Start with these settings, or go on with them; return when every feed is live or cannot be."""
        settings = settings_of(config)
        if self._running is None:
            self._running = _Running(settings)
        else:
            self._running.tell(settings)
        await asyncio.to_thread(self._running.wait)

    def check_health(self) -> None:
        """Raise where the supervisor ended."""
        if self._running is not None and self._running.error:
            raise RuntimeError(self._running.error)

    async def __del__(self) -> None:
        """Stop the feeds, write the checkpoints, end the actors: the next supervisor starts from them."""
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(running.stop)


class _Running:
    """The thread of a supervisor."""

    def __init__(self, settings: Settings) -> None:
        self.error = ""
        self._settings = settings
        self._wanted = settings
        self._is_settled = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def tell(self, settings: Settings) -> None:
        """Let these settings hold soon."""
        self._is_settled.clear()
        self._wanted = settings

    def wait(self) -> None:
        """Wait until every feed has settled; raise what ended the supervisor."""
        if not self._is_settled.wait(START_S):
            LOG.warning("expected every feed live within %.0f s, was not", START_S)
        if self.error:
            raise RuntimeError(self.error)

    def stop(self) -> None:
        """Stop everything; returns when it has."""
        self._is_stopping.set()
        self._thread.join(START_S)

    def _run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                self._watch(self._wanted)
        except Exception as e:
            LOG.exception("supervisor ended")
            self.error = "; ".join(causes(e))
        finally:
            self._is_settled.set()

    def _watch(self, settings: Settings) -> None:
        """Run the actors with these settings until others need a restart, or all stops."""
        watching = Supervisor(settings, LogScreen(), CLUSTER)
        ground = ground_of(settings)
        watching.start(ground, lambda start: warm_plan(settings, start), secrets.token_hex(8))
        watching.start_sinks()
        watching.is_scorer_up = True
        while not self._is_stopping.is_set():
            watching.look()
            if watching.is_settled:
                self._is_settled.set()
            wanted = self._wanted
            change = change_of(watching.settings, wanted)
            if change is not None and change.needs_restart:
                LOG.info("settings that need a restart changed: %s", "; ".join(change.lines))
                break
            if change is not None:
                watching.take_over(change)
            time.sleep(LOOK_S)
        watching.stop()
        held = [*watching.feeds.values(), *(s for shards in watching.shards.values() for s in shards)]
        end([*held, watching.desk, watching.sinks])


def drain(within_s: float = DRAIN_S) -> list[str]:
    """Stop the feeds and write the checkpoints of the shards that run on this node; give their names.

    For the end of a pod: what it held starts elsewhere, from where it stopped. A process of its own: one that hangs
    where nothing can be waited for, in Ray's own start, ends by its deadline all the same.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, within_s)
    deadline = time.monotonic() + within_s - END_S
    ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    try:
        return drain_here(deadline)
    finally:
        ray.shutdown()


def drain_here(deadline: float) -> list[str]:
    """Do it from a process that is one of Ray's already, until a time of the monotonic clock.

    Of what is left then, the checkpoints have the half, whatever the feeds' stop takes. The hub forgets what ends here,
    so that nobody is called; the supervisor, where there is one, expects it again.
    """
    names = [n["name"] for n in ray.util.list_named_actors(all_namespaces=True) if n["namespace"] == NAMESPACE]
    streams = {name: named(name) for name in names if name == DESK or name.startswith(("feed-", "shard-"))}
    nodes = {h.__ray_call__.remote(actors.node): n for n, h in streams.items()}
    found = settle(list(nodes), min(FIND_S, (deadline - time.monotonic()) / 4))
    here = [nodes[ref] for ref in found if _is_here(ref)]
    stops = [streams[n].stop.remote() for n in here if n.startswith("feed-")]
    settle(stops, (deadline - time.monotonic()) / 2)
    settle([streams[n].save.remote() for n in here if n.startswith("shard-")], deadline - time.monotonic())
    if SINKS in names:
        settle([named(SINKS).forget.remote(here)], FORGET_S)
    return here


def _is_here(ref: Any) -> bool:
    try:
        return bool(ray.get(ref, timeout=FORGET_S) == actors.node())
    except RayError:
        return False


def ground_of(settings: Settings) -> Ground:
    """Wait for the database and its schema, and say what there is to read."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    dsn = settings.database_url.get_secret_value()
    await_schema(dsn, SCHEMA_S)
    asyncio.run(sweep(dsn, plans.checkpoint_folder(settings)))
    source = settings.chosen_source
    feeds, lines = plans.feeds(settings, source, settings.simulator.speed)
    for line in lines:
        LOG.warning("%s", line)
    if not feeds:
        raise UsageError("expected at least one asset class that can be watched, was none: see `tapewatch check`")
    rest = settings.simulator.rest if source == "synthetic" else None
    activities = {a: AssetClass(a).activity for a in feeds}
    return Ground(dsn, settings.redis_url.get_secret_value(), asyncio.run(start_of(dsn)), feeds, rest, activities)


def warm_plan(settings: Settings, start: Start) -> WarmPlan | None:
    """Give the synthetic past a first start folds; that of a vendor is asked for."""
    if settings.chosen_source != "synthetic":
        return None
    s = settings.simulator
    return WarmPlan(s.symbols, s.seed, s.per_day, WARM_DAYS, start.first_ns)
