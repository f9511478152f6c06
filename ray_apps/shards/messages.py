"""What the feed sends to a shard: numbered messages of bars and closed windows, in their order."""

from dataclasses import dataclass, field

from features.market.types import BarBatch, Series
from features.stages.market_stream import Item

Peaks = dict[int, tuple[float, float]]
"""Per day: half-hours rarer than a few a day, and series counted."""


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
class ModelOutcome:
    """What a learned model came to on a batch, in shadow: scored, timeout, failed or superseded."""

    model: str
    version: str
    outcome: str
    rows: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A message is stored.

    Counted since the last one: `peaks`, and `scored`, what became of rows offered to models.
    """

    seq: int
    n_anomalies: int = 0
    peaks: Peaks = field(default_factory=dict)
    scored: tuple[ModelOutcome, ...] = ()
