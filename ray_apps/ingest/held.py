"""Say which bars of history the store lacks, or has with other prices: what a stream lost or never corrected."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from features.block import BarBlock
from features.market.bars import BarColumns
from features.market.types import F64, I64, Bool

COMPARED = ("open", "high", "low", "close", "volume")
"""Not the number of trades: of the stream's bars it is worked out from the average size."""
SAME = 1e-6
"""Relative; the venue rounds its stream."""


@dataclass(slots=True)
class Held:
    """What is stored of some series over a span: window starts and `COMPARED` values [K, 5], by slot.

    Before the first window of any of them nothing is lacking: nobody watched yet.

    >>> one = np.array([2.0])
    >>> Held(first_ns=60).lacks(0, BarColumns(np.array([60]), one, one, one, one, one, one, one)).tolist()
    [True]
    """

    first_ns: int = 2**63 - 1
    _ts: dict[int, list[I64]] = field(default_factory=lambda: defaultdict(list))
    _values: dict[int, list[F64]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, blocks: Iterable[BarBlock]) -> "Held":
        """Take stored blocks, in time order."""
        held = cls()
        for b in blocks:
            values = np.stack([np.asarray(getattr(b, name)) for name in COMPARED], axis=-1)
            here = np.isfinite(b.close)
            for n, slot in enumerate(b.slot.tolist()):
                rows = here[:, n]
                held.first_ns = min(held.first_ns, int(b.ts[rows, n].min(initial=held.first_ns)))
                held._ts[slot].append(b.ts[rows, n])
                held._values[slot].append(values[rows, n])
        return held

    def lacks(self, slot: int, bars: BarColumns) -> Bool:
        """Say of each bar [T] of a series whether it is not stored with these values."""
        is_watched: Bool = bars.ts >= self.first_ns
        if slot not in self._ts:
            return is_watched
        ts, values = np.concatenate(self._ts[slot]), np.concatenate(self._values[slot])
        wanted = np.stack([getattr(bars, name) for name in COMPARED], axis=-1)
        at = np.minimum(np.searchsorted(ts, bars.ts), len(ts) - 1)
        is_stored: Bool = ts[at] == bars.ts
        is_same: Bool = np.isclose(values[at], wanted, rtol=SAME, atol=0.0, equal_nan=True).all(axis=1)
        lacking: Bool = is_watched & ~(is_stored & is_same)
        return lacking
