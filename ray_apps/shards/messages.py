"""What the feed sends to a shard: numbered messages of bars and closed windows, in their order."""

import zlib
from dataclasses import dataclass, field

from features.market.types import BarBatch, Series
from features.stages.market_stream import Item


@dataclass(frozen=True, slots=True)
class Opened:
    """A series that got its slot."""

    slot: int
    series: Series


@dataclass(frozen=True, slots=True)
class Message:
    """One transaction's worth of input, numbered (epoch, seq) per shard.

    `items` are batches of bars, contexts of closed windows and holes, to be taken in order.
    """

    epoch: int
    seq: int
    items: tuple[Item, ...]
    opened: tuple[Opened, ...] = ()

    @property
    def n_bars(self) -> int:
        """Bars in all batches."""
        return sum(len(i) for i in self.items if isinstance(i, BarBatch))


@dataclass(frozen=True, slots=True)
class Ack:
    """A message is stored. `peaks` gives day -> (half-hours rarer than a few a day, series) counted since the last."""

    seq: int
    n_anomalies: int = 0
    peaks: dict[int, tuple[float, float]] = field(default_factory=dict)


def shard_of(symbol: str, n_shards: int) -> int:
    """Give the shard of a symbol: all its bar lengths in one place, the same on every machine.

    >>> shard_of("AAPL", 7), shard_of("AAPL", 1)
    (5, 0)
    """
    return zlib.crc32(symbol.encode()) % n_shards
