"""Tell the feed's time: where the source is on its own tape, whatever its speed and delay."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from features.market.types import I64, NS_PER_S


class FeedClock:
    """The newest window end accepted plus monotonic time since, times the source's speed; never backwards.

    A source that is live (`is_live`) has a better one: the wall clock less its delay. A tape has none until its
    first bar, so the first frame is believed. Both directions heal: a clock set by an old correction, by a
    poisoned bar or by a tape that was wound back contradicts everything that follows and is set anew (`Doubts`).

    Parameters
    ----------
    speed
        Tape seconds per second; infinite for a tape as fast as its reader.
    delay_s
        How late the source is.
    is_live
        Whether the source's time is the wall clock's.
    monotonic, wall
        The two clocks, ns.

    Examples
    --------
    >>> now = [0]
    >>> clock = FeedClock(speed=60, monotonic=lambda: now[0])
    >>> clock.now_ns()
    0
    >>> clock.observe(np.array([1_000 * NS_PER_S]))
    >>> now[0] += NS_PER_S
    >>> clock.now_ns() // NS_PER_S
    1060
    """

    def __init__(
        self,
        speed: float = 1.0,
        delay_s: float = 0.0,
        is_live: bool = False,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"expected a speed above 0, was {speed}")
        if is_live and speed != 1:
            raise ValueError(f"expected speed 1 of a live source, was {speed}")
        self._speed = speed
        self._delay_ns = int(delay_s * NS_PER_S)
        self._is_live = is_live
        self._monotonic = monotonic
        self._wall = wall
        self._anchor: tuple[int, int] | None = None  # window end, monotonic time it was seen
        self.resets = 0

    def now_ns(self) -> int:
        """Give the source's time, UTC ns; 0 while it is unknown."""
        if self._is_live:
            return self._wall() - self._delay_ns
        if self._anchor is None:
            return 0
        end, seen = self._anchor
        elapsed = self._monotonic() - seen
        return end if math.isinf(self._speed) else end + int(elapsed * self._speed)

    def now_or_wall_ns(self) -> int:
        """Give the source's time, or before its first bar the best guess: the wall clock less the delay."""
        return self.now_ns() or self._wall() - self._delay_ns

    def observe(self, ends: I64) -> None:
        """Take note of the accepted window ends of a frame; the first are judged by their median."""
        if self._is_live or not len(ends):
            return
        end = int(np.max(ends)) if self._anchor is not None else int(np.sort(ends)[len(ends) // 2])
        if self._anchor is None or end > self.now_ns():
            self._anchor = (end, self._monotonic())

    def is_contradicted(self, n_future: int, n_too_old: int, n_accepted: int) -> bool:
        """Say whether a frame's bars speak against the clock.

        Bars of the future do where they are the most of a frame: to a clock that is late, corrections look good.
        Bars of the past do where nothing else came, since they are usual after a burst.
        """
        if self._is_live or self._anchor is None:
            return False
        return n_future > n_accepted or (n_too_old > 0 and n_accepted == 0)

    def set_anew(self, frames: Sequence[I64]) -> None:
        """Believe these frames' window ends, each frame's median, and forget what was before."""
        medians = [int(np.sort(ends)[len(ends) // 2]) for ends in frames if len(ends)]
        if medians:
            self._anchor = (max(medians), self._monotonic())
            self.resets += 1
