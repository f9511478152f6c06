"""The Engine: Market, Symbols and Desk of one asset class folded over blocks of bars, in one process."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.block import BarBlock, window_parts
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_S, FaultBatch, Hole, SlotTable
from features.stages.context import Contexts
from features.stages.desk import Desk, Episode, Settled
from features.stages.group import N_FEATURES, last_of_bars
from features.stages.known import KnownMarket
from features.stages.market import Market
from features.stages.symbols import Symbols
from features.state import SeriesShape


@dataclass(frozen=True, slots=True)
class Decided:
    """What a block gave: anomalies, their episodes, the windows' contexts."""

    anomalies: Anomalies
    episode_ids: list[str]
    episodes: list[Episode]
    notify: list[Episode]
    contexts: Contexts | None


class Engine:
    """Composes the three stages; history is folded here, live they sit in few actors.

    Where the table holds a part of its market only, `known` gives what is known of the whole; `market` then rests.
    """

    def __init__(
        self, table: SlotTable, bar_s: int, activity: str, config: DetectionConfig, known: KnownMarket | None = None
    ) -> None:
        self.table = table
        self.shape = SeriesShape(table.asset_class, bar_s, activity)
        self.market = Market(self.shape, config)
        self.known = known
        self.symbols = Symbols(table.asset_class, bar_s, activity, config)
        self.desk = Desk(table.asset_class, config, lambda slot: table[slot].symbol)
        self.n_open = 0

    def fold(self, block: BarBlock, faults: FaultBatch | None = None) -> Iterator[Decided]:
        """Fold a block of any size whose last row ends a window; give what each part of it decided.

        `faults` are bars of the block's span whose prices cannot be true: they are called, and seen by nothing else.
        """
        called = Anomalies.none(N_FEATURES) if faults is None else self.symbols.fault(faults).ordered()
        for found, ctx in self._observe(block):
            n = int(np.searchsorted(called.end, ctx.end[-1], side="right")) if len(ctx) else 0
            due, called = called.take(np.arange(n)), called.take(np.arange(n, len(called)))
            yield self._settle(last_of_bars(Anomalies.concat([due, found])) if n else found, ctx)
        if len(called):
            yield self._settle(last_of_bars(called), None)

    def warm(self, block: BarBlock) -> None:
        """Fold history and call nothing: it leaves no episode open."""
        for _ in self._observe(block):
            pass

    def _observe(self, block: BarBlock) -> Iterator[tuple[Anomalies, Contexts]]:
        """Fold a block in parts of a day at most; give what each showed, and its windows' contexts."""
        sessions = self.table.asset_class.has_sessions
        for part, closes in window_parts(block, self.shape.window_s, sessions=sessions):
            self._open()
            rows = part.slot.astype(np.int64)
            ctx = self.known.close(part, closes) if self.known else self.market.observe(rows, part, closes)
            found = self.symbols.fold(part, ctx)
            for day, (peaks, series) in self.symbols.primary.take_totals().items():
                self.market.rescale.credit(day, peaks, series)
            yield found, ctx

    def _open(self) -> None:
        """Tell the stages of the series numbered since the last block."""
        if self.known is None:
            self.market.grow(self.table)
        for series in self.table.since(self.n_open):
            self.symbols.open(self.n_open, series.symbol)
            self.n_open += 1

    def miss(self, hole: Hole) -> None:
        """Learn that bars are missing between the blocks folded before and those to come."""
        self.market.miss(hole)
        self.symbols.miss(hole)

    def _settle(self, found: Anomalies, ctx: Contexts | None) -> Decided:
        """Settle the windows one after the other: episodes depend on their order."""
        window = self.shape.window_s * NS_PER_S
        ends = -(-found.end // window) * window
        out: list[Settled] = []
        cuts = np.flatnonzero(np.diff(ends)) + 1
        for rows in np.split(np.arange(len(found)), cuts):
            if len(rows):
                c = 0 if ctx is None else int(np.searchsorted(ctx.end, ends[rows[0]]))
                out.append(self.desk.settle(found.take(rows), ctx.take(slice(c, c + 1)) if ctx else None))
        return Decided(
            found,
            [i for s in out for i in s.episode_ids],
            [e for s in out for e in s.episodes],
            [e for s in out for e in s.notify],
            ctx,
        )
