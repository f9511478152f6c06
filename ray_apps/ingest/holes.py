"""Keep the books on what the stream lost: from the newest window known to the first one after the loss."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from features.market.types import BarBatch, Hole


class Holes:
    """The newest window end seen, and the holes whose end is not known yet.

    Parameters
    ----------
    newest_ns
        Newest window end known from an earlier run, 0 for none.
    dark_s
        Seconds since that run's last sign of life.
    """

    def __init__(self, newest_ns: int = 0, dark_s: float = 0.0) -> None:
        self.newest_ns = newest_ns
        self._open: list[Hole] = []
        if newest_ns:
            self.lose("restart", blind_s=dark_s)

    def lose(self, cause: str, count: int = 0, blind_s: float = 0.0) -> None:
        """Open a hole at the newest window known, or widen it; before the first bar only a counted loss is one."""
        if not (self.newest_ns or count):
            return
        for i, hole in enumerate(self._open):
            if (hole.cause, hole.from_ns) == (cause, self.newest_ns):
                self._open[i] = replace(hole, count=hole.count + count, blind_s=hole.blind_s + blind_s)
                return
        self._open.append(Hole(cause, self.newest_ns, self.newest_ns, count, blind_s=blind_s))

    def forget(self) -> None:
        """Start afresh: what was taken for the newest window was wrong."""
        self.newest_ns = 0
        self._open.clear()

    def see(self, batches: Iterable[BarBatch]) -> list[Hole]:
        """Take note of bars; give the holes that the first new window among them closes.

        A correction or a straggler of a window that ended before is not new and closes nothing.
        """
        closed: list[Hole] = []
        newest = self.newest_ns
        first = 0
        for batch in batches:
            fresh = batch.ts_end > self.newest_ns
            if not fresh.any():
                continue
            start = int(np.min(batch.ts[fresh]))
            first = min(first, start) if first else start
            newest = max(newest, int(np.max(batch.ts_end)))
        if newest > self.newest_ns:
            closed = [replace(h, from_ns=h.from_ns or first, to_ns=max(h.from_ns, first)) for h in self._open]
            self._open.clear()
            self.newest_ns = newest
        return closed
