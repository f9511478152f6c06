"""What the market did, as it was kept: some of its symbols are folded once more without the others."""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from features.block import DAY_NS, BarBlock
from features.decisions.config import DetectionConfig
from features.market.calendar import ny_day
from features.market.types import I64, NS_PER_S, Bool
from features.stages.context import Contexts
from features.state import SeriesShape


class KnownMarket:
    """Stands where the Market stage does and gives the contexts it is told of, instead of judging a few series.

    A window nobody kept has a context without a value: no shock, no move to be held against; its day's factor on the
    rates is the last that was known. Whether a shock's rate is within the budget is judged by these settings.
    """

    def __init__(self, shape: SeriesShape, config: DetectionConfig) -> None:
        self.shape = shape
        self.config = config
        self.n_unknown = 0
        self._kept = self._unknown(np.empty(0, dtype=np.int64))
        self._scale = 1.0

    def learn(self, kept: Contexts) -> None:
        """Take contexts later than those learnt before, in time order and the columns of the settings' peers."""
        self._kept = Contexts.concat([self._kept, replace(kept, is_shock=kept.rate <= self.config.budget)])

    def close(self, block: BarBlock, closes: Bool) -> Contexts:
        """Give the contexts of the windows that the block's rows close, and of those kept before them."""
        window_ns = self.shape.window_s * NS_PER_S
        newest = np.where(np.isfinite(block.close), block.ts, 0).max(axis=1)[closes] + block.bar_s * NS_PER_S
        ends = -(-newest // window_ns) * window_ns
        n = int(np.searchsorted(self._kept.end, ends[-1], side="right"))
        kept, self._kept = self._kept.take(slice(0, n)), self._kept.take(slice(n, None))
        unknown = ends[~np.isin(ends, kept.end)]
        self.n_unknown += len(unknown)
        both = Contexts.concat([kept, self._unknown(unknown)])
        both = _rows(both, np.argsort(both.end))
        return replace(both, scale=self._scales(both))

    def _unknown(self, end: I64) -> Contexts:
        """Give contexts that say nothing of windows ending at `end` [C]."""
        n = len(end)
        nan, none = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        day = ny_day(end - 1) if self.shape.asset_class.has_sessions else (end - 1) // DAY_NS
        moves = np.full((n, len(self.config.peers)), np.nan)
        return Contexts(end, none, nan, nan, nan, nan, np.zeros(n, dtype=np.bool_), nan, moves, day, nan)

    def _scales(self, ctx: Contexts) -> NDArray[np.float64]:
        """Give the factors [C] with each unknown one the last known before it."""
        values = np.concatenate([[self._scale], ctx.scale])
        at = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
        filled = values[at][1:]
        self._scale = float(filled[-1])
        return filled


def _rows(ctx: Contexts, order: NDArray[np.intp]) -> Contexts:
    return Contexts(*(getattr(ctx, f.name)[order] for f in fields(Contexts)))
