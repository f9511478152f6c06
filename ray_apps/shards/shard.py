"""A symbol shard: the plain class that holds the Symbols stage of one part of an asset class's series.

It takes numbered messages, decides each before it observes the next, and acknowledges one when its transaction is
committed. Starting and recovering are one path: the newest checkpoint, then the stored bars after it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import BarBlock, block_of, columns_of
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.market.types import F64, I64, AssetClass, BarBatch, Bool, Series
from features.stages.context import Contexts
from features.stages.group import Observed
from features.stages.symbols import Symbols
from ray_apps.shards import describe
from ray_apps.shards.contexts import encode
from ray_apps.shards.messages import Ack, Message, Opened, shard_of
from ray_apps.sinks.base import payload_of
from ray_apps.store.rows import AnomalyRow, BarRows, ContextRow, OutboxRow
from ray_apps.store.writer import ShardWriter

VALUES = ("open", "high", "low", "close", "volume", "trades")
CONTEXTS_KEPT = 30
"""Closed windows whose contexts are kept for bars that come late: ARCHITECTURE's 15 minutes of corrections, twice."""


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """What one shard is. `lease` is the feed's: whoever holds it is the one writer of the class."""

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


class SymbolShard:
    """Holds the state; `apply` is called one message at a time."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.writer = ShardWriter(config.dsn, config.name, config.lease)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the state of a shard that has seen nothing."""
        c = self.config
        self.symbols = Symbols(c.asset_class, c.primary_bar_s, c.activity, c.detection)
        self.series: dict[int, Series] = {}
        self.newest_ts: I64 = np.zeros(0, dtype=np.int64)
        self.newest_values: F64 = np.zeros((0, len(VALUES)))
        self.recent: dict[int, Contexts] = {}
        self.closed_to = 0
        self.applied_seq = 0
        self.pending: Outcome | None = None
        self.seen: list[Observed] = []
        self.called: Counter[str] = Counter()

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
            anomalies=list(outcome.anomalies.values()), contexts=outcome.contexts, outbox=self._outbox(outcome),
        )  # fmt: skip
        self.pending = None
        self.applied_seq = message.seq
        self.called.update(row.kind for row in outcome.anomalies.values() if row.state != "retracted")
        peaks = {d: (p, n) for d, (p, n) in self.symbols.primary.take_totals().items()}
        return Ack(message.seq, len(outcome.anomalies), peaks)

    def configure(self, detection: DetectionConfig) -> None:
        """Judge by these settings from the next message on."""
        self.config = replace(self.config, detection=detection)
        self.symbols.configure(detection)

    def open(self, opened: tuple[Opened, ...]) -> None:
        """Learn the names of new slots."""
        self.series.update((o.slot, o.series) for o in opened)

    def _fold(self, message: Message) -> Outcome:
        self.open(message.opened)
        outcome = Outcome(message, [], {}, [])
        for item in message.items:
            self._take(item, outcome)
        return outcome

    def _take(self, item: BarBatch | Contexts, outcome: Outcome) -> None:
        if isinstance(item, BarBatch):
            self._bars(item, outcome)
        else:
            self._close(item, outcome)

    def _bars(self, batch: BarBatch, outcome: Outcome) -> None:
        in_state = np.zeros(len(batch), dtype=np.bool_)
        for rows, revise in self._sort(batch):
            in_state[rows] = True
            part = batch.take(rows)
            observed = self.symbols.observe(block_of(part, revise))
            self._add(self.symbols.decide(observed), outcome)
            self.newest_ts[part.slot] = part.ts
            self.seen.append(observed)
        outcome.bars.append(BarRows.of(self.config.asset_class, batch, in_state))
        self._close_late(outcome)

    def _sort(self, batch: BarBatch) -> list[tuple[I64, Bool | None]]:
        """Give the rows to fold: new bars and revisions of the newest; older ones are only stored."""
        self.reserve(int(batch.slot.max(initial=-1)) + 1)
        newest = self.newest_ts[batch.slot]
        values = np.stack([getattr(batch, name) for name in VALUES], axis=1)
        is_same = np.all((values == self.newest_values[batch.slot]) | np.isnan(values), axis=1)
        revise = batch.ts == newest
        rows = np.flatnonzero((batch.ts > newest) | (revise & ~is_same))
        if not len(rows):
            return []
        self.newest_values[batch.slot[rows]] = values[rows]
        return [(rows, revise[rows] if revise[rows].any() else None)]

    def reserve(self, n: int) -> None:
        """Make room for `n` slots."""
        if n > len(self.newest_ts):
            room = max(n, 2 * len(self.newest_ts)) - len(self.newest_ts)
            self.newest_ts = np.concatenate([self.newest_ts, np.zeros(room, dtype=np.int64)])
            self.newest_values = np.concatenate([self.newest_values, np.full((room, len(VALUES)), np.nan)])

    def _close(self, ctx: Contexts, outcome: Outcome) -> None:
        end = int(ctx.end[0])
        self.recent[end] = ctx
        self.closed_to = max(self.closed_to, end)
        for old in sorted(self.recent)[:-CONTEXTS_KEPT]:
            del self.recent[old]
        self._add(self.symbols.close(ctx), outcome)
        if self.config.shard == 0:
            window = self.symbols.primary.shape.window_s
            outcome.contexts.append(ContextRow(self.config.asset_class.value, window, end, encode(ctx)))

    def _close_late(self, outcome: Outcome) -> None:
        """Score bars that came or changed after their window closed against its context."""
        for end in self.symbols.primary.due(self.closed_to).tolist():
            if end in self.recent:
                self._add(self.symbols.close(self.recent[end]), outcome)

    def warm(self, block: BarBlock, ctx: Contexts) -> None:
        """Fold history of this shard's slots with its contexts; what it would have called is dropped."""
        mine = np.array([s in self.series and self._is_mine(int(s)) for s in block.slot], dtype=np.bool_)
        part = columns_of(block, mine)
        self.symbols.fold(part, ctx)
        self.symbols.primary.take_totals()
        self.reserve(int(block.slot.max(initial=-1)) + 1)
        t, n = np.nonzero(np.isfinite(part.close))
        np.maximum.at(self.newest_ts, part.slot[n], part.ts[t, n])
        self.closed_to = max(self.closed_to, int(ctx.end[-1]))

    def _is_mine(self, slot: int) -> bool:
        return shard_of(self.series[slot].symbol, self.config.n_shards) == self.config.shard

    def fold_again(self, item: BarBatch | Contexts) -> None:
        """Fold stored input once more: its anomalies are stored already."""
        self._take(item, Outcome(Message(0, 0, ()), [], {}, []))
        self.seen.clear()
        self.symbols.primary.take_totals()

    def snapshot(self) -> dict[str, F64 | I64]:
        """Give every array of the state."""
        own: dict[str, F64 | I64] = {"newest/ts": self.newest_ts, "newest/values": self.newest_values}
        return {**{f"symbols/{k}": v for k, v in self.symbols.snapshot().items()}, **own}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a snapshot."""
        self.newest_ts, self.newest_values = arrays["newest/ts"].copy(), arrays["newest/values"].copy()
        prefix = "symbols/"
        self.symbols.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})

    def _add(self, found: Anomalies, outcome: Outcome) -> None:
        for row in describe.rows_of(found, self.series.__getitem__, self.config.detection, self.config.versions):
            outcome.anomalies[row.id] = row

    def _outbox(self, outcome: Outcome) -> list[OutboxRow]:
        """Give the anomalies a symbol showed of its own to the stream; a shock goes out once, as an episode."""
        return [
            OutboxRow(sink, "anomaly", f"{row.id}:{row.state}:{row.kind}", payload_of(row))
            for row in outcome.anomalies.values()
            if row.own_kind
            for sink in self.config.sinks
        ]
