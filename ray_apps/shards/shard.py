"""A symbol shard: the plain class that holds the Symbols stage of one part of an asset class's series.

It takes numbered messages, decides each before it observes the next, and acknowledges one when its transaction is
committed. Starting and recovering are one path: the newest checkpoint, then the stored bars after it.
"""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import BarBlock
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.market.symbols import shard_of
from features.market.types import F64, I64, AssetClass, BarBatch, Hole, Series
from features.stages.context import Contexts
from features.stages.group import Observed
from features.stages.market_stream import Item
from features.stages.symbol_stream import SymbolStream
from features.stages.symbols import Symbols
from ray_apps.shards import describe
from ray_apps.shards.messages import Ack, Message, Opened
from ray_apps.sinks.base import payload_of
from ray_apps.store.contexts import encode
from ray_apps.store.feeds import GapRow
from ray_apps.store.rows import AnomalyRow, BarRows, ContextRow, OutboxRow, Told
from ray_apps.store.writer import ShardWriter


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """What one shard is. `lease` is the feed's: whoever holds it is the one writer of the class.

    `run` names the run of the system: settings told in another one are not taken up again.
    """

    asset_class: AssetClass
    shard: int
    n_shards: int
    primary_bar_s: int
    activity: str
    dsn: str
    checkpoints: Path
    detection: DetectionConfig
    versions: Mapping[str, str]
    sinks: tuple[str, ...] = ()
    cache_url: str | None = None
    cache_ttl_s: int = 86_400
    run: str = ""

    @property
    def name(self) -> str:
        """The name under which its batches are counted."""
        return f"shard:{self.asset_class}:{self.shard}"

    @property
    def lease(self) -> str:
        """The lease every write is checked against."""
        return f"feed:{self.asset_class}"


class StaleStateError(Exception):
    """The state in memory is not the one the next message belongs to: recover from the store."""


@dataclass(slots=True)
class Outcome:
    """What a message came to, until it is committed."""

    message: Message
    bars: list[BarRows]
    anomalies: dict[str, AnomalyRow]
    contexts: list[ContextRow]
    gaps: list[GapRow]
    told: Told | None = None


class SymbolShard:
    """Holds the state; `apply` is called one message at a time."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.writer = ShardWriter(config.dsn, config.name, config.lease)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the state of a shard that has seen nothing."""
        c = self.config
        self.stream = SymbolStream(Symbols(c.asset_class, c.primary_bar_s, c.activity, c.detection))
        self.series: dict[int, Series] = {}
        self.applied_seq = 0
        self.late_to = 0
        self.feed_ns = 0
        self.pending: Outcome | None = None
        self.seen: list[Observed] = []
        self.called: Counter[tuple[str, bool]] = Counter()
        self.took_s: deque[float] = deque(maxlen=1_000)

    @property
    def symbols(self) -> Symbols:
        """The stage."""
        return self.stream.symbols

    async def apply(self, message: Message) -> Ack:
        """Fold a message and store what it came to; the same message again changes nothing.

        Raises
        ------
        LeaseLostError
            When another feed holds the class now.
        StoreUnavailableError
            When the database is away: send the message again as it is.
        StaleStateError
            When messages are missing before this one, or one of an older feed was folded and never stored: recover.
        """
        began = time.monotonic()
        if message.seq <= self.applied_seq:
            return Ack(message.seq)
        if self.pending is not None and self.pending.message.epoch != message.epoch:
            raise StaleStateError(f"expected epoch {self.pending.message.epoch} to be sent again, was {message.epoch}")
        if self.pending is None:
            if message.seq != self.applied_seq + 1:
                raise StaleStateError(f"expected message {self.applied_seq + 1} next, was {message.seq}")
            self.pending = self._fold(message)
        outcome = self.pending
        await self.writer.commit(
            epoch=message.epoch, seq=message.seq, bars=outcome.bars,
            anomalies=list(outcome.anomalies.values()), contexts=outcome.contexts, gaps=outcome.gaps,
            outbox=self._outbox(outcome), told=outcome.told, at_ns=self.feed_ns,
        )  # fmt: skip
        self.pending = None
        self.applied_seq = message.seq
        self.called.update((row.kind, row.state == "retracted") for row in outcome.anomalies.values())
        self.took_s.append(time.monotonic() - began)
        peaks = {d: (p, n) for d, (p, n) in self.symbols.primary.take_totals().items()}
        return Ack(message.seq, len(outcome.anomalies), peaks)

    def open(self, opened: tuple[Opened, ...]) -> None:
        """Learn the names of new slots."""
        for o in opened:
            self.series[o.slot] = o.series
            self.symbols.open(o.slot, o.series.symbol)

    def _fold(self, message: Message) -> Outcome:
        self.open(message.opened)
        outcome = Outcome(message, [], {}, [], [])
        for item in message.items:
            self._take(item, outcome)
        return outcome

    def _take(self, item: Item, outcome: Outcome) -> None:
        taken = self.stream.take(item)
        for found in taken.found:
            self._add(found, outcome)
        self.seen += taken.observed
        asset_class = self.config.asset_class
        self.feed_ns = max(self.feed_ns, _end_ns(item))
        if isinstance(item, BarBatch):
            assert taken.in_state is not None
            outcome.bars.append(BarRows.of(asset_class, item, taken.in_state))
        elif isinstance(item, DetectionConfig):
            self.config = replace(self.config, detection=item)
            outcome.told = Told(self.config.run, item)
        elif isinstance(item, Hole):
            outcome.gaps.append(GapRow(
                asset_class.value, item.from_ns, item.to_ns, item.cause, item.bar_s, item.is_filled,
                item.count if item.is_filled else 0, item.blind_s,
            ))  # fmt: skip
            if item.is_filled:
                self.late_to = max(self.late_to, item.to_ns)
        elif isinstance(item, Contexts) and self.config.shard == 0:
            window = self.symbols.primary.shape.window_s
            stored = encode(item, self.config.detection.peers)
            outcome.contexts.append(ContextRow(asset_class.value, window, int(item.end[0]), stored))

    def warm(self, block: BarBlock, ctx: Contexts) -> dict[int, tuple[float, float]]:
        """Fold history of this shard's slots with its contexts and call nothing; give the peaks counted per day."""
        mine = np.array([s in self.series and self._is_mine(int(s)) for s in block.slot], dtype=np.bool_)
        return self.stream.warm(block, ctx, mine)

    def _is_mine(self, slot: int) -> bool:
        return shard_of(self.series[slot].symbol, self.config.n_shards) == self.config.shard

    def fold_again(self, item: Item) -> None:
        """Fold stored input once more: its anomalies are stored already."""
        self.stream.take(item)
        self.symbols.primary.take_totals()

    def snapshot(self) -> dict[str, F64 | I64]:
        """Give every array of the state."""
        return self.stream.snapshot()

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a snapshot."""
        self.stream.restore(arrays)

    def _add(self, found: Anomalies, outcome: Outcome) -> None:
        for row in describe.rows_of(found, self.series.__getitem__, self.config.detection, self.config.versions):
            outcome.anomalies[row.id] = replace(row, is_late=row.available_at <= self.late_to)

    def _outbox(self, outcome: Outcome) -> list[OutboxRow]:
        """Give the anomalies a symbol showed of its own to the stream; a shock goes out once, as an episode."""
        return [
            OutboxRow(sink, "anomaly", f"{row.id}:{row.state}:{row.kind}", payload_of(row))
            for row in outcome.anomalies.values()
            if row.own_kind
            for sink in self.config.sinks
        ]


def _end_ns(item: Item) -> int:
    """Give when what an item holds was over, 0 where it holds no window."""
    ends = item.ts_end if isinstance(item, BarBatch) else item.end if isinstance(item, Contexts) else np.zeros(0)
    return int(ends.max(initial=0))
