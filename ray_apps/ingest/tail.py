"""Keep the last bars of a feed for people to see."""

from collections import deque

from features.market.types import BarBatch, SlotTable

MOST = 512
MOST_A_BATCH = 64

Seen = tuple[int, str, float, float, int]
"""Number, symbol, close, volume, start of the window in UTC ns."""


class Tail:
    """The newest bars, numbered from 0 on; `n_bars` is how many there were in all."""

    def __init__(self, table: SlotTable) -> None:
        self.n_bars = 0
        self._table = table
        self._bars: deque[Seen] = deque(maxlen=MOST)

    def see(self, batch: BarBatch) -> None:
        """Keep the last bars of a batch: a bounded number, whatever its size."""
        for i in range(max(0, len(batch) - MOST_A_BATCH), len(batch)):
            symbol = self._table[int(batch.slot[i])].symbol
            seen = (self.n_bars + i, symbol, float(batch.close[i]), float(batch.volume[i]), int(batch.ts[i]))
            self._bars.append(seen)
        self.n_bars += len(batch)

    def since(self, number: int) -> list[Seen]:
        """Give the bars numbered from `number` on that are still kept."""
        return [b for b in self._bars if b[0] >= number]
