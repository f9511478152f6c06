"""The Symbols stage: the series of one shard, grouped by bar length."""

import numpy as np

from features.block import BarBlock
from features.decisions.anomalies import PROVISIONAL, Anomalies
from features.decisions.config import DetectionConfig
from features.detectors.base import DATA_FAULT, KINDS
from features.market.types import F64, AssetClass, FaultBatch, Hole
from features.stages.context import Contexts
from features.stages.group import N_FEATURES, Observed, SymbolGroup
from features.state import SeriesShape


class Symbols:
    """Turns the bars of a shard's series into anomalies.

    The primary bar length meets the market's contexts and spends the budget; the series of other lengths are scored
    beside it.
    """

    def __init__(self, asset_class: AssetClass, primary_bar_s: int, activity: str, config: DetectionConfig) -> None:
        self.asset_class = asset_class
        self.primary_bar_s = primary_bar_s
        self.activity = activity
        self.config = config
        self.groups: dict[int, SymbolGroup] = {}
        self.group(primary_bar_s)

    def group(self, bar_s: int) -> SymbolGroup:
        """Give the group of a bar length, a new one if it was never seen."""
        if bar_s not in self.groups:
            shape = SeriesShape(self.asset_class, bar_s, self.activity)
            self.groups[bar_s] = SymbolGroup(shape, self.config, is_primary=bar_s == self.primary_bar_s)
        return self.groups[bar_s]

    def configure(self, config: DetectionConfig) -> None:
        """Judge by these settings from the next bar on."""
        self.config = config
        for group in self.groups.values():
            group.configure(config)

    @property
    def primary(self) -> SymbolGroup:
        """The group that spends the budget."""
        return self.groups[self.primary_bar_s]

    def open(self, slot: int, symbol: str) -> None:
        """Learn whose series a slot is, before a window closes with a bar of it."""
        self.primary.open(slot, symbol)

    def observe(self, block: BarBlock) -> Observed:
        """Fold bars into the features."""
        return self.group(block.bar_s).observe(block)

    def fault(self, batch: FaultBatch) -> Anomalies:
        """Call bars whose prices cannot be true; nothing else hears of them."""
        is_called = self.config.rule(KINDS[DATA_FAULT]).enabled
        n = len(batch) if is_called else 0
        nan, kind = np.full(n, np.nan), np.full(n, DATA_FAULT, dtype=np.uint8)
        return Anomalies(
            slot=batch.slot[:n], ts=batch.ts[:n], end=batch.ts_end[:n], kind=kind, own_kind=kind, score=np.ones(n),
            p_value=nan, rate=nan, direction=np.zeros(n), price=nan, state=np.full(n, PROVISIONAL, dtype=np.uint8),
            x=np.full((n, N_FEATURES), np.nan), scores=np.full((n, len(KINDS)), np.nan),
        )  # fmt: skip

    def decide(self, observed: Observed) -> Anomalies:
        """Judge what was observed."""
        return self.group(observed.block.bar_s).decide(observed)

    def miss(self, hole: Hole) -> None:
        """Learn that bars are missing: no move is measured across them."""
        for bar_s, group in self.groups.items():
            if not hole.is_filled and hole.bar_s in (0, bar_s):
                group.features.miss(hole.to_ns)

    def close(self, ctx: Contexts) -> Anomalies:
        """Close one window against its context."""
        found = self.primary.close(ctx)
        self.primary.learn_scale(int(ctx.day[0]) + 1, float(ctx.scale[0]))
        return found

    def fold(self, block: BarBlock, ctx: Contexts) -> Anomalies:
        """Fold a block of whole windows of one day with their contexts, those of bare windows before it among them."""
        is_primary = block.bar_s == self.primary_bar_s and len(ctx) > 0
        if is_primary:
            for c in np.flatnonzero(np.diff(ctx.day)).tolist():  # days on which these series had no bar
                self.primary.learn_scale(int(ctx.day[c]) + 1, float(ctx.scale[c]))
        found = self.group(block.bar_s).fold(block, ctx)
        if is_primary:
            self.primary.learn_scale(int(ctx.day[-1]) + 1, float(ctx.scale[-1]))
        return found

    def snapshot(self) -> dict[str, F64]:
        """Give every array of the stage, keyed `bar_s/array`."""
        return {f"{bar_s}/{k}": v for bar_s, g in self.groups.items() for k, v in g.snapshot().items()}

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        for bar_s in sorted({int(k.split("/")[0]) for k in arrays}):
            own = {k.split("/")[1]: v for k, v in arrays.items() if int(k.split("/")[0]) == bar_s}
            self.group(bar_s).restore(own)
