"""Say when a window is complete: the vendor sends no end-of-minute marker."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I32

COMPLETE = 0.99
"""Part of the usual symbols whose arrival closes a window."""
QUIET_S = 0.150
"""Without a bar of the window for so long it closes."""
LONGEST_S = 2.0
"""So long after its first bar a window closes whatever came."""
REGULAR = 0.6
"""A series is usual where it printed in more than so much of its recent windows."""
MEMORY = 0.1


class Completeness:
    """Tracks one open window: who usually prints, who did, and since when.

    Times are seconds of a monotonic clock; a window is named by its end, UTC ns.
    """

    def __init__(self) -> None:
        self.end = 0
        self.closed_to = 0
        self.presence: F64 = np.zeros(0)
        self._here = np.zeros(0, dtype=np.bool_)
        self._first_s = 0.0
        self._last_s = 0.0
        self._usual = 0
        self._usual_here = 0

    def arrive(self, slots: I32, end: int, now_s: float) -> None:
        """Note bars of the window ending at `end`; the caller closed any older window first.

        Who comes just too late still prints in every window, and must be waited for in the next.
        """
        if end <= self.closed_to:
            if end == self.closed_to and not self.end:
                self._grow(int(slots.max(initial=-1)) + 1)
                late = slots[~self._here[slots]]
                self._here[late] = True
                self.presence[late] += MEMORY
            return
        if end != self.end:
            self.end, self._first_s = end, now_s
            self._here[:] = False
            self._usual_here = 0
            self._usual = int((self.presence > REGULAR).sum())
        self._first_s = min(self._first_s, now_s)
        self._grow(int(slots.max(initial=-1)) + 1)
        fresh = slots[~self._here[slots]]
        self._here[fresh] = True
        self._usual_here += int((self.presence[fresh] > REGULAR).sum())
        self._last_s = now_s

    def is_due(self, now_s: float, has_more: bool = False) -> bool:
        """Say whether the open window should close now; what is received already (`has_more`) is waited for."""
        if not self.end:
            return False
        if now_s - self._first_s >= LONGEST_S:
            return True
        is_complete = self._usual > 0 and self._usual_here >= COMPLETE * self._usual
        return not has_more and (is_complete or now_s - self._last_s >= QUIET_S)

    @property
    def share(self) -> float:
        """The part of the usual series that arrived, 1 where none is usual yet."""
        return self._usual_here / self._usual if self._usual else 1.0

    def close(self) -> int:
        """Close the open window and learn who printed; give its end."""
        end, self.end = self.end, 0
        self.presence += MEMORY * (self._here - self.presence)
        self.closed_to = max(self.closed_to, end)
        return end

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Give every array of the state but the clock's."""
        ends = np.array([self.end, self.closed_to])
        return {"ends": ends, "presence": self.presence.copy(), "here": self._here.copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a snapshot; the open window's wait starts anew with its next bar."""
        self.end, self.closed_to = arrays["ends"].tolist()
        self.presence, self._here = arrays["presence"].copy(), arrays["here"].copy()
        usual = self.presence > REGULAR
        self._usual, self._usual_here = int(usual.sum()), int((usual & self._here).sum())
        self._first_s = self._last_s = math.inf

    def _grow(self, n: int) -> None:
        if n > len(self._here):
            room = max(n, 2 * len(self._here)) - len(self._here)
            self._here = np.concatenate([self._here, np.zeros(room, dtype=np.bool_)])
            self.presence = np.concatenate([self.presence, np.zeros(room)])
