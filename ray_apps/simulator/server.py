"""Run a simulator: one process, one event loop, three listening sockets on loopback."""

import asyncio
import contextlib
import csv
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import astuple
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import uvicorn
from websockets.asyncio.server import serve

from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from features.synthetic.hours import MINUTE_NS
from features.synthetic.inject import Injection, InjectionKind
from features.synthetic.schedule import InjectedTape
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.simulator.admin import Admin, FaultBox
from ray_apps.simulator.broadcast import Broadcast
from ray_apps.simulator.channels import BarChannel, Channel, TickChannel
from ray_apps.simulator.clock import Clock
from ray_apps.simulator.config import SYNTHETIC, SimulatorConfig
from ray_apps.simulator.connection import DELAYED, SOCKET
from ray_apps.simulator.folder import FolderSource
from ray_apps.simulator.keepalive import connection_class
from ray_apps.simulator.plans import DELAY_S, plan
from ray_apps.simulator.rest import Rest
from ray_apps.simulator.sources import Source
from ray_apps.simulator.synthetic import SyntheticSource
from ray_apps.simulator.totals import Totals
from ray_apps.simulator.truth import Truth, check_symbols
from ray_apps.simulator.vendor import Vendor
from ray_apps.simulator.ws import Hub

_PARENT_POLL_S = 0.5
_LABEL_POLL_S = 1.0
# The size of the demonstration's anomaly: called as a burst on each of forty days tried, half a year apart.
_BURST_SIZE, _BURST_ACTIVITY, _BURST_MINUTES = 0.03, 600.0, 1
_MOST_SYMBOLS = {AssetClass.FOREX: 300, AssetClass.FUTURES: 150, AssetClass.INDICES: 10_000}


def run(config: SimulatorConfig) -> None:
    """Serve until SIGINT or SIGTERM; prints one line of JSON with the addresses once all of them listen."""
    asyncio.run(_main(config))


async def _main(config: SimulatorConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with simulator(config) as addresses:
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        watch = asyncio.create_task(_parent_gone(stop)) if config.die_with_parent else None
        await stop.wait()
        if watch is not None:
            watch.cancel()


@asynccontextmanager
async def simulator(config: SimulatorConfig) -> AsyncIterator[dict[str, object]]:
    """Hold a running simulator; gives its addresses."""
    faults = FaultBox(config.faults)
    sources = {c: Truth(source, faults) for c, source in build_sources(config).items()}
    check_symbols(config.faults, sources.values())
    start_ns = _start_ns(config, sources)
    clock = Clock(start_ns, config.speed)
    hub = Hub({c: s.symbols for c, s in sources.items()}, faults)
    channels = _channels(sources, start_ns)
    for channel in channels:
        if isinstance(channel, BarChannel) and channel.host == SOCKET and channel.bar_s >= 60:
            channel.warm()
    broadcast = Broadcast(clock, hub, channels, faults)
    vendor = Vendor(clock, sources, faults)
    admin = Admin(clock, hub, broadcast, faults, sources)
    with (
        _opened(config.labels) as labels,
        _listen(config.host, config.rest_port) as rest_socket,
        _listen(config.host, config.ws_port) as stream_socket,
        _listen(config.host, config.ws_port and config.ws_port + 1) as delayed_socket,
    ):
        vendor.url = f"http://{config.host}:{rest_socket.getsockname()[1]}"
        async with (
            _serve_stream(hub, SOCKET, stream_socket, config.deflate, faults) as real_time,
            _serve_stream(hub, DELAYED, delayed_socket, config.deflate, faults) as delayed,
            _serve_rest(Rest(vendor), admin, rest_socket),
            _tasks(
                _play(hub, clock, start_ns, broadcast, config.hold),
                _drops(hub, faults, clock),
                _labels(labels, clock, sources, start_ns),
            ),
        ):
            # Bars need their day to be made; the market must not run away meanwhile.
            start_ns = _start_ns(config, sources)
            clock.set(start_ns)
            yield {
                "rest": vendor.url,
                "ws": real_time,
                "delayed_ws": delayed,
                "clock": datetime.fromtimestamp(start_ns / NS_PER_S, UTC).isoformat(),
                "speed": config.speed,
                "pid": os.getpid(),
            }


async def _play(hub: Hub, clock: Clock, start_ns: int, broadcast: Broadcast, hold: bool) -> None:
    """Send bars; a market that is held begins when every class has a subscriber."""
    if hold:
        await hub.everybody()
        clock.set(start_ns)
    await broadcast.run()


def build_sources(config: SimulatorConfig) -> dict[AssetClass, Source]:
    """Give what is played, by class."""
    if config.source != SYNTHETIC:
        asset_class = config.assets[0]
        return {asset_class: FolderSource(Path(config.source), asset_class, _warn)}
    return {asset_class: SyntheticSource(injected_tape(config, asset_class)) for asset_class in config.assets}


def injected_tape(config: SimulatorConfig, asset_class: AssetClass) -> InjectedTape:
    """Give the tape a simulator of this configuration plays: anybody may compute its history in place."""
    n = min(config.symbols, _MOST_SYMBOLS.get(asset_class, config.symbols))
    tape = Tape(TapeConfig(asset_class, n, config.seed))
    given = []
    if config.burst_ns is not None and asset_class is config.assets[0]:
        burst = InjectionKind.BURST_UP
        given = [Injection(burst, tape.symbols[0], 0, config.burst_ns, _BURST_MINUTES, _BURST_SIZE, _BURST_ACTIVITY)]
    return InjectedTape(tape, config.per_day, given)


def _start_ns(config: SimulatorConfig, sources: dict[AssetClass, Truth]) -> int:
    if config.start_ns is not None:
        return config.start_ns
    return time.time_ns() if config.source == SYNTHETIC else min(s.first_ns for s in sources.values())


def _channels(sources: dict[AssetClass, Truth], start_ns: int) -> list[Channel]:
    """Give the channels of each class and host that sells it: bars of each length, and ticks."""
    found: list[Channel] = []
    first = start_ns // MINUTE_NS * MINUTE_NS
    for asset_class, source in sources.items():
        for host in plan("advanced", asset_class).hosts:
            delay_ns = DELAY_S[asset_class] * NS_PER_S if host == DELAYED else 0
            for bar_s in source.lengths_s:
                found.append(BarChannel(source, bar_s, host, delay_ns, Totals(source, bar_s), first))
            found.append(TickChannel(source, host, delay_ns, first))
    return found


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    try:
        found = socket.create_server((host, port))
    except OSError as e:
        raise OSError(f"expected port {port} of {host} to be free, was: {e.strerror}") from e
    with found:
        yield found


@asynccontextmanager
async def _serve_stream(
    hub: Hub, host: str, listening: socket.socket, deflate: bool, faults: FaultBox
) -> AsyncIterator[str]:
    """Serve one host of the stream; gives its address."""
    async with serve(
        partial(hub.serve, host=host),
        sock=listening,
        compression="deflate" if deflate else None,
        ping_interval=None,
        close_timeout=2,
        max_size=2**20,
        server_header="simulator",
        create_connection=connection_class(faults),
    ):
        at = listening.getsockname()
        yield f"{at[0]}:{at[1]}"
        hub.drop("1001")


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _serve_rest(rest: Rest, admin: Admin, listening: socket.socket) -> AsyncIterator[None]:
    app = rest.app(admin.routes())
    server = _Uvicorn(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run tasks beside; the first that fails ends the process loudly."""
    tasks = [asyncio.create_task(w) for w in work]
    owner = asyncio.current_task()
    failed: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and owner is not None:
            failed.append(error)
            owner.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _drops(hub: Hub, faults: FaultBox, clock: Clock) -> None:
    """End all connections every so often, and when a time has come, if the faults say so."""
    last, dropped_at_ms = time.monotonic(), 0
    while True:
        await asyncio.sleep(0.05)
        every, at_ms = faults.faults.drop_every_s, faults.faults.drop_at_ms
        if at_ms != dropped_at_ms and (not at_ms or clock.now() >= at_ms * NS_PER_MS):
            dropped_at_ms = at_ms
            if at_ms:
                hub.drop(faults.faults.drop_mode)
        if not every:
            last = time.monotonic()
        elif time.monotonic() - last >= every:
            last = time.monotonic()
            hub.drop(faults.faults.drop_mode)


def _opened(path: Path | None) -> AbstractContextManager[TextIO | None]:
    """Open the label file before anybody is told where the simulator listens."""
    return contextlib.nullcontext() if path is None else path.open("w", newline="")


async def _labels(out: TextIO | None, clock: Clock, sources: dict[AssetClass, Truth], start_ns: int) -> None:
    """Write each injected anomaly to the label file once its first minute has begun."""
    if out is None:
        return
    done = start_ns
    rows = csv.writer(out)
    rows.writerow(("asset_class", "symbol", "kind", "start_ms", "end_ms", "size"))
    while True:
        now = clock.now()
        for asset_class, source in sources.items():
            rows.writerows((str(asset_class), *astuple(row)) for row in source.labels(done, now))
        done = max(done, now)
        out.flush()
        await asyncio.sleep(_LABEL_POLL_S)


async def _parent_gone(stop: asyncio.Event) -> None:
    """Stop when the parent has died: this process then has another one.

    Polled, for PR_SET_PDEATHSIG fires when the parent's thread ends, and macOS has none.
    """
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(_PARENT_POLL_S)
    stop.set()
