"""Take what one market sends to a shard, in its order: fold new bars, judge them, close windows, late bars too."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import BarBlock, block_of, columns_of, window_parts
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.market.types import F64, I64, NS_PER_S, BarBatch, Bool, FaultBatch, Hole
from features.stages.context import Contexts
from features.stages.group import Observed
from features.stages.market_stream import Item
from features.stages.symbols import Symbols

VALUES = ("open", "high", "low", "close", "volume", "trades")
CONTEXTS_KEPT = 30
"""Closed windows whose contexts are kept for bars that come late: ARCHITECTURE's 15 minutes of corrections, twice."""


@dataclass(slots=True)
class Taken:
    """What an item came to: anomalies in the order they were decided, and of a batch what was seen of it.

    `in_state` [N] says which bars of the batch were folded; the others are only to be stored.
    """

    found: list[Anomalies] = field(default_factory=list)
    observed: list[Observed] = field(default_factory=list)
    in_state: Bool | None = None


class SymbolStream:
    """Holds the Symbols stage of a shard with the newest bar of each of its series and the last contexts."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.newest_ts: I64 = np.zeros(0, dtype=np.int64)
        self.newest_values: F64 = np.zeros((0, len(VALUES)))
        self.recent: dict[int, Contexts] = {}
        self.closed_to = 0

    def take(self, item: Item) -> Taken:
        """Fold an item; a batch is decided before the next is observed."""
        if isinstance(item, BarBatch):
            return self._bars(item)
        if isinstance(item, Hole):
            self.symbols.miss(item)
            return Taken()
        if isinstance(item, DetectionConfig):
            self.symbols.configure(item)
            return Taken()
        if isinstance(item, FaultBatch):
            return Taken([self.symbols.fault(item)])
        return Taken([self._close(item)])

    def _bars(self, batch: BarBatch) -> Taken:
        taken = Taken(in_state=np.zeros(len(batch), dtype=np.bool_))
        rows, revise = self._sort(batch)
        if len(rows):
            assert taken.in_state is not None
            taken.in_state[rows] = True
            part = batch.take(rows)
            observed = self.symbols.observe(block_of(part, revise if revise.any() else None))
            taken.found.append(self.symbols.decide(observed))
            taken.observed.append(observed)
            self.newest_ts[part.slot] = part.ts
        # bars that came or changed after their window closed meet its context now
        for end in self.symbols.primary.due(self.closed_to).tolist():
            if end in self.recent:
                taken.found.append(self.symbols.close(self.recent[end]))
        return taken

    def _sort(self, batch: BarBatch) -> tuple[I64, Bool]:
        """Give the rows to fold, new bars and revisions of the newest, and which are revisions; repeats are neither."""
        self.reserve(int(batch.slot.max(initial=-1)) + 1)
        newest = self.newest_ts[batch.slot]
        values = np.stack([getattr(batch, name) for name in VALUES], axis=1)
        is_same = np.all((values == self.newest_values[batch.slot]) | np.isnan(values), axis=1)
        revise = batch.ts == newest
        rows = np.flatnonzero((batch.ts > newest) | (revise & ~is_same))
        self.newest_values[batch.slot[rows]] = values[rows]
        return rows, revise[rows]

    def _close(self, ctx: Contexts) -> Anomalies:
        end = int(ctx.end[0])
        self.recent[end] = ctx
        self.closed_to = max(self.closed_to, end)
        for old in sorted(self.recent)[:-CONTEXTS_KEPT]:
            del self.recent[old]
        return self.symbols.close(ctx)

    def warm(self, block: BarBlock, ctx: Contexts, mine: Bool) -> dict[int, tuple[float, float]]:
        """Fold history of the series `mine` [N], a part of a day with its windows' contexts, and call nothing.

        Give what was counted per day: peaks and series, see `SymbolGroup.take_totals`.
        """
        part = columns_of(block, mine)
        shape = self.symbols.primary.shape
        window_ns = shape.window_s * NS_PER_S
        cuts = [few for few, _ in window_parts(part, shape.window_s, sessions=shape.asset_class.has_sessions)]
        ends = [int(few.ts[np.isfinite(few.close)].max()) + few.bar_s * NS_PER_S for few in cuts]
        windows = np.searchsorted(ctx.end, [-(-end // window_ns) * window_ns for end in ends], side="right")
        first = 0
        for few, last in zip(cuts, [*windows[:-1].tolist(), len(ctx)], strict=False):
            self.symbols.fold(few, ctx.take(slice(first, last)))
            first = last
        self.reserve(int(block.slot.max(initial=-1)) + 1)
        t, n = np.nonzero(np.isfinite(part.close))
        np.maximum.at(self.newest_ts, part.slot[n], part.ts[t, n])
        self.closed_to = max(self.closed_to, int(ctx.end[-1]))
        return {day: (peaks, n) for day, (peaks, n) in self.symbols.primary.take_totals().items()}

    def reserve(self, n: int) -> None:
        """Make room for `n` slots."""
        if n > len(self.newest_ts):
            room = max(n, 2 * len(self.newest_ts)) - len(self.newest_ts)
            self.newest_ts = np.concatenate([self.newest_ts, np.zeros(room, dtype=np.int64)])
            self.newest_values = np.concatenate([self.newest_values, np.full((room, len(VALUES)), np.nan)])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Give every array of the state."""
        own: dict[str, NDArray[Any]] = {
            "newest/ts": self.newest_ts.copy(), "newest/values": self.newest_values.copy(),
            "closed_to": np.array([self.closed_to]),
        }  # fmt: skip
        if self.recent:
            recent = Contexts.concat([self.recent[end] for end in sorted(self.recent)])
            own |= {f"recent/{f.name}": getattr(recent, f.name) for f in fields(Contexts)}
            own["recent/columns"] = np.array(self.symbols.config.peers.keys)
        return {**{f"symbols/{k}": v for k, v in self.symbols.snapshot().items()}, **own}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the arrays of a snapshot."""
        self.newest_ts, self.newest_values = arrays["newest/ts"].copy(), arrays["newest/values"].copy()
        self.closed_to = int(arrays["closed_to"][0])
        self.recent = {}
        # contexts of other sectors and pairs say nothing to these series
        if np.array_equal(arrays.get("recent/columns", ()), self.symbols.config.peers.keys):
            recent = Contexts(*(arrays[f"recent/{f.name}"] for f in fields(Contexts)))
            self.recent = {int(end): recent.take(slice(i, i + 1)) for i, end in enumerate(recent.end)}
        prefix = "symbols/"
        self.symbols.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
