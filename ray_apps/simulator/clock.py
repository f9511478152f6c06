"""Keep the market's time: real, accelerated, or moved only by whoever reads it."""

import asyncio
import time

from features.market.types import NS_PER_S

FIRST_NS, LAST_NS = 31_536_000 * NS_PER_S, 4_102_444_800 * NS_PER_S
"""1971 and 2100: every market's day is known between them, and all sums of times fit into 64 bits."""


def checked(name: str, ns: int) -> int:
    """Give a time the clock can show, UTC ns; ValueError for any other.

    >>> checked("now_ms", -1)
    Traceback (most recent call last):
    ...
    ValueError: now_ms: expected a time from 1971 to 2100, was -1 ns
    """
    if not FIRST_NS <= ns <= LAST_NS:
        raise ValueError(f"{name}: expected a time from 1971 to 2100, was {ns} ns")
    return ns


def clamp(ns: int) -> int:
    """Give the nearest time the clock can show, UTC ns."""
    return min(max(ns, FIRST_NS), LAST_NS)


class Clock:
    """Virtual time: `start_ns` at construction, then `speed` times as fast as the monotonic clock; 0 = stands.

    Waiters are woken when time is set or its speed changed.
    """

    def __init__(self, start_ns: int, speed: float) -> None:
        self._origin_ns, self._mark_ns, self._speed = start_ns, time.monotonic_ns(), speed
        self._changed = asyncio.Event()
        self.jumps = 0
        """How often time was set: whatever was planned before is void."""

    @property
    def speed(self) -> float:
        """Market seconds per second."""
        return self._speed

    def now(self) -> int:
        """Give the time, UTC ns."""
        return self._origin_ns + int((time.monotonic_ns() - self._mark_ns) * self._speed)

    def advance(self, to_ns: int) -> None:
        """Move a standing clock forward; what was planned stays planned."""
        self._origin_ns, self._mark_ns = max(to_ns, self.now()), time.monotonic_ns()
        self._wake()

    def set(self, now_ns: int | None = None, speed: float | None = None) -> None:
        """Set the time, its speed, or both."""
        if now_ns is not None:
            self.jumps += 1
        self._origin_ns = self.now() if now_ns is None else now_ns
        self._mark_ns = time.monotonic_ns()
        self._speed = self._speed if speed is None else speed
        self._wake()

    async def wait(self, until_ns: int) -> bool:
        """Wait until a time has come: true then, false as soon as the clock was changed."""
        left = until_ns - self.now()
        if left <= 0:
            return True
        changed = self._changed
        try:
            # A standing clock is only ever moved by somebody else.
            await asyncio.wait_for(changed.wait(), left / NS_PER_S / self._speed if self._speed else None)
        except TimeoutError:
            return self.now() >= until_ns
        return False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
