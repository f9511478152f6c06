"""Keep days of history once they are made: a day of one symbol costs the draws of its group of 256."""

from collections import Counter, OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from features.synthetic.block import TapeBlock
from features.synthetic.draws import GROUP
from ray_apps.simulator.sources import Bars, bars_of

KEPT_CELLS = 4_000_000
"""Minutes times symbols kept, some 60 bytes each: eight years of a stock, or three weeks of 256."""
_FEW = 3
"""So many symbols of a group get a day each of their own; a further one makes the day of all."""
_DAYS_COUNTED = 10_000


class Shelf:
    """Days of bars, made when first asked for; the least recently used make room.

    Parameters
    ----------
    make
        Gives a day's minutes of some symbols (their numbers).
    """

    def __init__(self, n_symbols: int, make: Callable[[int, NDArray[np.intp]], TapeBlock]) -> None:
        self._n_symbols, self._make = n_symbols, make
        self._days: OrderedDict[tuple[int, int], Bars | TapeBlock] = OrderedDict()
        self._asked: Counter[tuple[int, int]] = Counter()
        self._cells = 0

    def day(self, row: int, day: int) -> Bars:
        """Give one symbol's bars of a day."""
        group = row // GROUP
        first = group * GROUP
        # Rows count from 0, so a group's key cannot be a row's.
        whole = self._days.get((-1 - group, day))
        if isinstance(whole, TapeBlock):
            self._days.move_to_end((-1 - group, day))
            return bars_of(whole.take(slice(None), slice(row - first, row - first + 1)), np.array([row]))
        one = self._days.get((row, day))
        if isinstance(one, Bars):
            self._days.move_to_end((row, day))
            return one
        if self._asked[group, day] >= _FEW:
            columns = np.arange(first, min(first + GROUP, self._n_symbols))
            self._keep((-1 - group, day), self._make(day, columns))
            return self.day(row, day)
        if len(self._asked) > _DAYS_COUNTED:
            self._asked.clear()
        self._asked[group, day] += 1
        columns = np.array([row])
        found = bars_of(self._make(day, columns), columns)
        self._keep((row, day), found)
        return found

    def _keep(self, key: tuple[int, int], made: Bars | TapeBlock) -> None:
        self._days[key] = made
        self._cells += _size(made)
        while self._cells > KEPT_CELLS and len(self._days) > 1:
            self._cells -= _size(self._days.popitem(last=False)[1])


def _size(made: Bars | TapeBlock) -> int:
    return len(made) if isinstance(made, Bars) else made.close.size
