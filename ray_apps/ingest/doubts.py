"""Hold frames whose bars contradict the clock of a tape, until it is clear whether they or the clock are wrong."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from features.market.polygon import Parsed
from ray_apps.ingest.clock import FeedClock
from ray_apps.ingest.queue import Frame

RESYNC_FRAMES = 5
"""So many frames in a row that contradict the clock: then the clock is wrong, not they."""


@dataclass(frozen=True, slots=True)
class Read:
    """A frame, the time it was judged at, and what it gave."""

    frame: Frame
    now_ns: int
    parsed: Parsed


class Doubts:
    """Reads frames in order; one in doubt waits, at most `RESYNC_FRAMES` of them, and is judged once.

    Where the next new window is in line with the clock, those in doubt were wrong: what they have of bars in time is
    used.
    Where one after the other contradicts the clock, it is set anew and they are read by no clock: nothing of them is
    lost. A live source has the wall clock and is never in doubt.

    Parameters
    ----------
    clock
        The feed's.
    read
        Parses a frame at a time of the feed, UTC ns; 0: at whatever time its bars are of.
    """

    def __init__(self, clock: FeedClock, read: Callable[[Frame, int], Parsed]) -> None:
        self._clock = clock
        self._read = read
        self._held: list[Read] = []
        self._newest_ns = 0

    def take(self, frame: Frame) -> list[Read]:
        """Give what can be used now, in the order it came."""
        now_ns = self._clock.now_ns()
        read = Read(frame, now_ns, self._read(frame, now_ns))
        accepted = sum(map(len, read.parsed.batches))
        errors = read.parsed.errors
        if self._clock.is_contradicted(errors["future"], errors["too_old"], accepted):
            self._held.append(read)
            return self._set_anew() if len(self._held) >= RESYNC_FRAMES else []
        if self._held and not self._goes_on(read.parsed):
            return [read]  # of windows seen before, or of none: no answer to the doubt
        held = self.settle()
        self._observe(read.parsed)
        return [*held, read]

    def _goes_on(self, parsed: Parsed) -> bool:
        """Say whether a frame in line with the clock moves it on: then what contradicted it was wrong."""
        return bool((_ends(parsed) > self._newest_ns).any())

    def settle(self) -> list[Read]:
        """Give what waits, as it was first judged."""
        held, self._held = self._held, []
        for read in held:
            self._observe(read.parsed)
        return held

    def _set_anew(self) -> list[Read]:
        """Set the clock by the frames in doubt, each judged by its median, and read them again."""
        held, self._held = self._held, []
        again = [Read(r.frame, 0, self._read(r.frame, 0)) for r in held]
        ends = [_ends(r.parsed) for r in again]
        self._clock.set_anew(ends)
        self._newest_ns = max((int(e.max()) for e in ends if len(e)), default=0)
        return again

    def _observe(self, parsed: Parsed) -> None:
        if parsed.batches:
            ends = _ends(parsed)
            self._clock.observe(ends)
            self._newest_ns = max(self._newest_ns, int(ends.max()))


def _ends(parsed: Parsed) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(b.ts_end for b in parsed.batches)])
