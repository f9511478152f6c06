"""Measure the start of a whole market: from stored bars alone, and from checkpoints."""

import asyncio
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from features.market.types import AssetClass
from ray_apps.bench.store_replay import fill
from ray_apps.bench.system import RayFirst
from ray_apps.commands.up import UpOptions
from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.stack import Stack
from ray_apps.settings import Settings, load_settings
from ray_apps.store.migrate import migrate

STOCKS = AssetClass.STOCKS
START_S = 1_800.0
LOOK_S = 0.1


def run(symbols: int = 11_000, days: int = 5) -> dict[str, float]:
    """Start the system on stored minutes of a stock market, twice: without a checkpoint, and with those it then wrote.

    Parameters
    ----------
    symbols, days
        How many stocks, and stored sessions of each; a tenth of the minutes is without a bar.

    Returns
    -------
    dict
        Bars stored; seconds from the first actor's start until the feed takes live bars (`cold_s`, `checkpoint_s`),
        bars folded a second of the first, and the largest memory of the system's processes together, MB.
    """
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        chosen = {"data_dir": folder, "assets": [str(STOCKS)], "http.port": 0}
        settings = load_settings(None, chosen, environ={})
        with LocalPostgres(settings.data_dir) as server:
            migrate(server.dsn)
            n_bars = asyncio.run(fill(server.dsn, symbols, days))
        cold_s, peak_mb = _start(settings)
        again_s, _ = _start(settings)
    return {
        "bars": float(n_bars), "cold_s": cold_s, "bars_per_s": n_bars / cold_s, "checkpoint_s": again_s,
        "peak_mb": peak_mb,
    }  # fmt: skip


class _Started(RayFirst):
    """The system with a feed whose bars would be pushed, if any were."""

    def until_live(self, stack: Stack) -> tuple[float, float]:
        """Start; give the seconds from the first actor's start until bars are taken, and the most memory, MB."""
        self._ray()
        began = time.monotonic()
        self._start(stack)
        peak = 0.0
        while self.told.get(STOCKS) != "live":
            if time.monotonic() - began > START_S:
                raise TimeoutError(f"expected the feed to be live within {START_S:.0f} s, was {self.told}")
            self._look()
            peak = max(peak, _memory_mb())
            time.sleep(LOOK_S)
        return time.monotonic() - began, peak


def _start(settings: Settings) -> tuple[float, float]:
    options = UpOptions("push", 1.0, 1, 0, Path(settings.data_dir), 0)
    with Stack(settings) as stack:
        running = _Started(settings, options)
        try:
            return running.until_live(stack)
        finally:
            running._end()


def _memory_mb() -> float:
    me = psutil.Process()
    total = 0
    for p in [me, *me.children(recursive=True)]:
        try:
            total += p.memory_full_info().uss
        except psutil.Error:
            continue
    return total / 1e6
