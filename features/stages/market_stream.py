"""Take one market's bars in the order they came: fold the Market, close windows, say what the shards are to take."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import BarBlock, block_of
from features.decisions.config import DetectionConfig
from features.market.types import I64, NS_PER_S, BarBatch, Bool, FaultBatch, Hole, SlotTable
from features.stages.context import Contexts
from features.stages.market import Market
from features.stages.minute import Completeness

Item = BarBatch | FaultBatch | Contexts | Hole | DetectionConfig
"""What goes on to the shards, in this one order: bars, faulty bars, closed windows, missing bars, new settings."""


class MarketStream:
    """Holds the Market stage with the newest start of each of its series and the open window.

    A window closes before a bar of a later one goes on; bars of a closed window go on alone, as late ones. When a
    quiet window closes is the caller's to say (`is_due`, `close`): it has the clock. Times `now_s` are seconds of a
    monotonic clock.
    """

    def __init__(self, market: Market, table: SlotTable) -> None:
        self.market = market
        self.table = table
        self.minute = Completeness()
        self.newest_ts: I64 = np.zeros(0, dtype=np.int64)
        self.n_late = 0
        self.n_revised = 0
        self.n_older = 0
        self._window_ns = market.shape.window_s * NS_PER_S

    @property
    def newest_end_ns(self) -> int:
        """The newest window end folded so far, 0 before the first."""
        newest = int(self.newest_ts.max(initial=0))
        return newest + self.market.shape.bar_s * NS_PER_S if newest else 0

    def take(self, batch: BarBatch, now_s: float) -> Iterator[BarBatch | Contexts]:
        """Fold a batch; give it, cut at windows, and the windows it closes, in their order."""
        if batch.bar_s != self.market.shape.bar_s:
            yield batch
            return
        ends = -(-batch.ts_end // self._window_ns) * self._window_ns
        for end in np.unique(ends).tolist():
            if self.minute.end and end > self.minute.end:
                yield self.close()
            part = batch.take(ends == end)
            if end <= self.minute.closed_to:
                self.n_late += len(part)
            self._observe(part)
            self.minute.arrive(part.slot, end, now_s)
            yield part

    def miss(self, hole: Hole) -> Hole:
        """Learn that bars are missing: what comes after them is not measured across them."""
        self.market.miss(hole)
        return hole

    def configure(self, config: DetectionConfig) -> DetectionConfig:
        """Judge the market by these settings from the next window on."""
        self.market.configure(config)
        return config

    def is_due(self, now_s: float, has_more: bool = False) -> bool:
        """Say whether the open window should close now; `has_more`: bars are received and not folded yet."""
        return self.minute.is_due(now_s, has_more)

    def close(self) -> Contexts:
        """Close the open window."""
        return self.market.close(self.minute.close())

    def fold_again(self, item: Item) -> None:
        """Fold stored bars and holes once more, in the order of their ends: the shards have them already."""
        if isinstance(item, Hole):
            self.miss(item)
        elif isinstance(item, BarBatch):
            for _ in self.take(item, 0.0):
                pass

    def warm(self, block: BarBlock, closes: Bool) -> Contexts:
        """Fold bars from before the stream, a part of a day; give the contexts of the windows its rows close."""
        self.reserve(len(self.table))
        t, n = np.nonzero(np.isfinite(block.close))
        np.maximum.at(self.newest_ts, block.slot[n], block.ts[t, n])
        return self.market.observe(block.slot.astype(np.int64), block, closes)

    def _observe(self, batch: BarBatch) -> None:
        """Fold new bars and revisions of the newest into the Market."""
        self.reserve(len(self.table))
        newest = self.newest_ts[batch.slot]
        rows = np.flatnonzero(batch.ts >= newest)
        revise = batch.ts[rows] == newest[rows]
        self.n_revised += int(revise.sum())
        self.n_older += len(batch) - len(rows)
        part = batch.take(rows)
        self.newest_ts[part.slot] = part.ts
        block = block_of(part, revise if revise.any() else None)
        self.market.observe(part.slot.astype(np.int64), block, np.zeros(1, dtype=np.bool_))

    def reserve(self, n: int) -> None:
        """Make room for `n` slots."""
        self.market.grow(self.table)
        if n > len(self.newest_ts):
            room = max(n, 2 * len(self.newest_ts)) - len(self.newest_ts)
            self.newest_ts = np.concatenate([self.newest_ts, np.zeros(room, dtype=np.int64)])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Give every array of the state."""
        minute = {f"minute.{k}": v for k, v in self.minute.snapshot().items()}
        return {**self.market.snapshot(), **minute, "stream.newest_ts": self.newest_ts.copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a snapshot."""
        self.newest_ts = arrays["stream.newest_ts"].copy()
        self.minute.restore({k.removeprefix("minute."): v for k, v in arrays.items() if k.startswith("minute.")})
        self.market.restore({k: v for k, v in arrays.items() if not k.startswith(("stream.", "minute."))})
