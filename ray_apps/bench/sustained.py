"""Measure second bars as fast as they go, everything running: stored per second, lost, memory grown."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from features.market.types import NS_PER_S
from ray_apps.bench.memory_of import actor_bytes
from ray_apps.bench.system import LOOK_S, STANDING, System, system
from ray_apps.store.connect import connect, fetch

SYMBOLS = 4_000
FIRST_SPEED = 4.0
BUSY_BARS, IDLE_BARS = 60_000, 30_000
"""Bars waiting in the feed from which the market slows down, and below which it speeds up."""
BEHIND_S = 1.0
"""Real seconds the sender may be behind its own clock."""
FASTER, SLOWER, LEAST_SPEED = 1.06, 0.93, 1.0
"""Never slower than the wall clock: a market that stands would be taken for a broken connection."""
FIRST_S = 2.0
"""Until bars were seen, which is when the rest starts."""
SETTLE_S = 30.0
"""Until the pace is found; not measured."""
DRAIN_S, COUNT_S = 300.0, 120.0
"""The first holds the filling of a hole, should one have come."""
BASE_MINUTE = 5


@dataclass(slots=True)
class Pace:
    """How fast the market goes: a little faster while nothing waits, slower at once when something does."""

    speed: float = FIRST_SPEED
    n_slower: int = 0

    def adjust(self, waiting: int, behind_s: float) -> float:
        """Give the next speed.

        >>> pace = Pace(10.0)
        >>> pace.adjust(0, 0.0), round(pace.adjust(100_000, 0.0), 2)
        (10.6, 9.86)
        """
        if waiting > BUSY_BARS or behind_s > BEHIND_S:
            self.speed = max(LEAST_SPEED, self.speed * SLOWER)
            self.n_slower += 1
        elif waiting < IDLE_BARS:
            self.speed *= FASTER
        return self.speed


@dataclass(slots=True)
class Seen:
    """What was seen over the run: seconds since it began with bars stored by then, and memory.

    `longest_look_s` is the longest time between two looks, by the wall clock: a machine that was halted shows there.
    """

    longest_look_s: float = 0.0
    stored: list[tuple[float, int]] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def rates(self) -> list[float]:
        """Give bars a second of each whole ten seconds."""
        rates = []
        last = self.stored[0]
        for now in self.stored:
            if now[0] - last[0] >= 10.0:
                rates.append((now[1] - last[1]) / (now[0] - last[0]))
                last = now
        return rates

    def growth(self) -> float | None:
        """Give the growth of memory from the minute after `BASE_MINUTE` to the last one; None for a short run."""
        end = self.memory[-1][0]
        if end < (BASE_MINUTE + 2) * 60:
            return None
        base = [m for t, m in self.memory if BASE_MINUTE * 60 <= t < (BASE_MINUTE + 1) * 60]
        last = [m for t, m in self.memory if t >= end - 60]
        return statistics.median(last) / statistics.median(base) - 1.0


def run(minutes: float = 10.0, warm_days: int = 1, symbols: int = SYMBOLS, record: bool = False) -> dict[str, Any]:
    """Play second and minute bars as fast as all of them are stored; give what was stored and lost."""
    with system(symbols, warm_days, (60, 1), record) as running:
        pace, seen = Pace(), Seen()
        _play(running, pace, Seen(), FIRST_S)
        running.complete()
        _play(running, pace, Seen(), SETTLE_S)
        _play(running, pace, seen, minutes * 60)
        drained_s = _drain(running)
        stats = running.counters()["stats"]
        n_stored = asyncio.run(_count(running))
        memory = actor_bytes()
    n_received = stats.bars
    (began, first), (ended, last) = seen.stored[0], seen.stored[-1]
    rates = seen.rates()
    return {
        "bars_per_s": (last - first) / (ended - began), "slowest_10_s": min(rates, default=0.0),
        "minutes": (ended - began) / 60, "stored": n_stored, "received": n_received,
        "lost": sum(stats.errors.values()) + stats.shed_frame_bars + stats.shed_bars + n_received - n_stored,
        "refused": dict(stats.errors), "shed_frames": stats.shed_frames, "shed_bars": stats.shed_bars,
        "reconnects": stats.reconnects, "longest_look_s": seen.longest_look_s, "drain_s": drained_s,
        "speed": pace.speed, "slowed": pace.n_slower,
        "memory_growth": seen.growth(), "memory_mb": {k: v // 2**20 for k, v in memory.items()}, "symbols": symbols,
    }  # fmt: skip


def _play(running: System, pace: Pace, seen: Seen, seconds: float) -> None:
    """Let the market run for so long, at a pace at which nothing is lost."""
    began, looked = time.monotonic(), float("-inf")
    while (now := time.monotonic() - began) < seconds:
        look_began_s = time.time()
        state = running.counters()
        stats, on_way = state["stats"], state["on_way"]
        market = running.steer("/admin/clock", speed=pace.speed)
        behind = (market["now_ms"] / 1e3 - stats.newest_ns / NS_PER_S - 5.0) / pace.speed if stats.newest_ns else 0.0
        pace.adjust(stats.queue_bars + on_way + stats.queue_bytes // 230, behind)
        seen.stored.append((now, stats.bars - on_way))
        if now - looked >= 5.0:
            seen.memory.append((now, sum(actor_bytes().values())))
            looked = now
        running.look()
        time.sleep(LOOK_S)
        seen.longest_look_s = max(seen.longest_look_s, time.time() - look_began_s)


def _drain(running: System) -> float:
    """Stand still until nothing is on its way; give the seconds it took."""
    running.steer("/admin/clock", speed=STANDING)
    began, last = time.monotonic(), -1
    while time.monotonic() - began < DRAIN_S:
        state = running.counters()
        stats = state["stats"]
        if stats.bars == last and not (stats.queue_frames or stats.queue_bars or state["on_way"]):
            return time.monotonic() - began
        last = stats.bars
        time.sleep(1.0)
    raise TimeoutError(f"expected all bars stored within {DRAIN_S:.0f} s, was {state}")


async def _count(running: System) -> int:
    conn = await connect(running.known.dsn, "bench", statement_timeout_s=COUNT_S)
    try:
        rows = await fetch(conn, "SELECT count(*) FROM bars")
    finally:
        await conn.close()
    return int(rows[0][0])
