"""Run the system as `tapewatch up` does, for one class, driven by a bench instead of a market's clock."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from features.market.types import AssetClass
from ray_apps.app import Up
from ray_apps.commands.up import UpOptions
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.plan import WarmPlan
from ray_apps.ingest.receipts import Receipt
from ray_apps.local.stack import Simulated, Stack
from ray_apps.local.start import Start
from ray_apps.remote import wait
from ray_apps.screen import Screen
from ray_apps.settings import Settings, load_settings
from ray_apps.supervisor import Ground

STOCKS = AssetClass.STOCKS
STANDING = 1e-9
"""Speed of a market that only moves when it is told to."""
START_S = 900.0
LOOK_S = 0.5
CONNECT_S = 20.0
"""What a shard takes to load Serve's client, on a busy machine."""
SEED = 7


class Aside(Screen):
    """Tells of the start beside the figures."""

    def line(self, text: str) -> None:
        sys.stderr.write(text + "\n")


class _Stack(Stack):
    """Remembers where the simulator is steered."""

    simulated: Simulated | None = None

    def simulator(self, arguments: Any, log: Path) -> Simulated:
        self.simulated = super().simulator(arguments, log)
        return self.simulated


class RayFirst(Up):
    """The system on a Ray that stands before all else, so that Ray's own start is not counted."""

    def __init__(self, settings: Settings, options: UpOptions) -> None:
        super().__init__(settings, options)
        self.screen = Aside()
        self.has_ray = False

    def _ray(self) -> None:
        if not self.has_ray:
            super()._ray()
        self.has_ray = True


class System(RayFirst):
    """Everything `up` starts, with a market that stands until a bench moves it."""

    def __init__(self, settings: Settings, options: UpOptions, warm_days: int) -> None:
        super().__init__(settings, options)
        self.warm_days = warm_days
        self.n_anomalies = 0
        self.admin = httpx.Client(timeout=120)

    def _feeds(self, stack: Stack, start: Start) -> dict[AssetClass, FeedConfig]:
        """Let the feed take any minute for the present: the market jumps from one to the next."""
        found = super()._feeds(stack, start)
        assert isinstance(stack, _Stack)
        assert stack.simulated is not None
        self.admin.base_url = httpx.URL(f"http://{stack.simulated.rest}")
        return {a: replace(f, speed=float("inf")) for a, f in found.items()}

    def _warm(self, start: Start) -> WarmPlan | None:
        plan = super()._warm(start)
        return replace(plan, days=self.warm_days) if plan is not None and self.warm_days else None

    @property
    def feed(self) -> Any:
        """The feed's actor."""
        return self.feeds[STOCKS]

    @property
    def known(self) -> Ground:
        """What the actors stand on."""
        assert self.ground is not None
        return self.ground

    def begin(self, stack: Stack) -> None:
        """Start, and wait until the feed is live; Ray first, since it gives up when a large tape takes its cores."""
        self._ray()
        self._start(stack)
        self._until(lambda: self.told.get(STOCKS) == "live", "the feed to be live")

    def complete(self) -> None:
        """Wait until what comes after the first bars is up: sinks, gateway, scorer and the shards' way to it."""
        self._until(lambda: self.is_gateway_up and self.is_scorer_up, "the gateway to answer")
        ended = time.monotonic() + CONNECT_S
        self._until(lambda: time.monotonic() > ended, "the shards to find the scorer")

    def _until(self, is_so: Any, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {what} within {START_S:.0f} s, was {self.told}")
            self.look()
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Do what `up` does twice a second."""
        if self.is_stopping:
            raise KeyboardInterrupt
        super().look()

    def steer(self, path: str, **body: Any) -> dict[str, Any]:
        """Move the simulator; give its answer."""
        answer = self.admin.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def receipts(self, after_ns: int) -> list[Receipt]:
        """Give what was stored after a time."""
        found: list[Receipt] = wait(self.feed.receipts.remote(after_ns))
        return found

    def counters(self) -> dict[str, Any]:
        """Give the feed's counters."""
        found: dict[str, Any] = wait(self.feed.look.remote(2**62))
        return found

    def end(self) -> None:
        """Stop what runs on Ray."""
        self.admin.close()
        self._end()


@contextmanager
def system(
    symbols: int, warm_days: int, bar_lengths: tuple[int, ...] = (60,), is_recorded: bool = False
) -> Iterator[System]:
    """Hold a running system in a data folder of its own; its market stands shortly before a minute's end."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        chosen: dict[str, object] = {
            "data_dir": folder, "assets": [str(STOCKS)], "bar_lengths": list(bar_lengths), "http.port": 0,
        }  # fmt: skip
        if is_recorded:
            chosen["recording"] = {"folder": str(Path(folder) / "recording")}
        settings = load_settings(None, chosen, environ={})
        options = UpOptions("synthetic", STANDING, symbols, SEED, Path(folder), 0)
        with _Stack(settings) as stack:
            running = System(settings, options, warm_days)
            try:
                running.begin(stack)
                yield running
            finally:
                running.end()
