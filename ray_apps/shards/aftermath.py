"""What follows a stored message and must never hold up the next: the cache of newest values, the counts."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import numpy as np

from features import catalog
from features.detectors.base import KINDS, MARKET_SHOCK
from features.market.types import F64, I64, NS_PER_MS, BarBatch, Bool
from features.stages.context import Contexts
from features.stages.group import Observed
from ray_apps import metrics
from ray_apps.metrics import MetricSet, Snapshot
from ray_apps.scoring.shadow import Batch
from ray_apps.shards.messages import Message
from ray_apps.shards.shard import SymbolShard
from ray_apps.sinks.base import SinkUnavailableError
from ray_apps.sinks.redis_sink import Latest, RedisCache

LOG = logging.getLogger(__name__)

EVERY_S = 1.0
QUIET_S, PATIENCE_S = 0.3, 3.0
"""The cache waits until no message came for so long, but not longer than the other."""
CHUNK = 250
"""Symbols put into the cache in one go: a message that comes meanwhile waits for a few milliseconds."""
MOST_ROWS = 20_000
"""Symbols put into the cache at once; the others wait a second."""
MOST_P = 1_000
"""Bars of a window whose p-values are counted: spread over all series, a millisecond of work a kind."""
CACHE = "redis_cache"
"""What the cache is called among the sinks."""
BAR = ("ts", "open", "high", "low", "close", "volume", "trades", "vwap")
VWAP = BAR.index("vwap")


class Aftermath:
    """Keeps the newest bar of each series, and what models said of it, until the cache has it; and counts.

    Features, scores and readiness are the stage's own, as they stand when they are put.
    """

    def __init__(self, shard: SymbolShard, cache: RedisCache | None, own: MetricSet) -> None:
        self.shard = shard
        self.cache = cache
        self.own = own
        self.bars: F64 = np.zeros((0, len(BAR)))
        self.is_new: Bool = np.zeros(0, dtype=np.bool_)
        self._took_s = 0.0
        self._is_cached = True
        self._collected: list[Observed] = []
        self._judged: list[I64] = []
        self._shock_p: list[float] = []
        self.models: dict[str, F64] = {}
        for kind in KINDS:  # from 0 on, so that the first of a kind is an increase
            for counter in (metrics.ANOMALIES, metrics.RETRACTED):
                own.inc(counter, 0, asset_class=shard.config.asset_class.value, kind=kind)
        if cache is not None:
            for counter in (metrics.DELIVERED, metrics.SINK_FAILURES):
                own.inc(counter, 0, sink=CACHE)

    def take(self, message: Message, seen: list[Observed], n_anomalies: dict[tuple[str, bool], int]) -> None:
        """Note what a message showed, with its anomalies by kind and whether retracted; cheap, once per message."""
        asset_class = self.shard.config.asset_class.value
        self._took_s = time.monotonic()
        for seconds in self.shard.took_s:
            self.own.observe(metrics.APPLY, seconds, asset_class=asset_class)
        self.shard.took_s.clear()
        for o in seen:
            self._keep(o)
        for item in message.items:
            if isinstance(item, BarBatch):
                self._keep_vwap(item)
        for (kind, is_retracted), n in n_anomalies.items():
            self.own.inc(
                metrics.RETRACTED if is_retracted else metrics.ANOMALIES, n, asset_class=asset_class, kind=kind
            )

    def _keep(self, o: Observed) -> None:
        slots = o.block.slot
        self._grow(int(slots.max(initial=-1)) + 1)
        columns = (o.block.ts, o.block.open, o.block.high, o.block.low, o.block.close, o.block.volume, o.block.trades)
        self.bars[slots, :VWAP] = np.stack([c[-1] for c in columns], axis=1)
        self.bars[slots, VWAP] = np.nan
        self.is_new[slots] = True
        for said in self.models.values():
            said[slots] = np.nan

    def _keep_vwap(self, batch: BarBatch) -> None:
        """Note what the stages have no use for, of bars that are the newest of their series."""
        known = batch.slot < len(self.bars)
        slot, ts, vwap = batch.slot[known], batch.ts[known], batch.vwap[known]
        is_newest = self.bars[slot, 0] == ts
        self.bars[slot[is_newest], VWAP] = vwap[is_newest]

    def due(self, message: Message, seen: list[Observed]) -> list[Observed]:
        """Collect what was seen until its window has closed: whoever scores it then does not slow a burst down."""
        self._collected += seen
        is_full = sum(len(o.rows) for o in self._collected) > MOST_ROWS
        if not is_full and not any(isinstance(item, Contexts) for item in message.items):
            return []
        due, self._collected = self._collected, []
        self._judged = [o.rows for o in due if o.block.bar_s == self.shard.config.primary_bar_s]
        if self.shard.config.shard == 0:  # the market's own is the same in every shard
            self._shock_p += [float(item.p_value[0]) for item in message.items if isinstance(item, Contexts)]
        return due

    def note(self, model: str, batch: Batch, score: F64) -> None:
        """Take a fitted detector's scores [N] of bars that are still the newest of their series."""
        is_newest = self.bars[batch.slot, 0] == batch.ts
        said = self.models.setdefault(model, np.full(len(self.is_new), np.nan))
        said[batch.slot[is_newest]] = score[is_newest]
        self.is_new[batch.slot[is_newest]] = True

    def _grow(self, n: int) -> None:
        if n > len(self.is_new):
            room = max(n, 2 * len(self.is_new)) - len(self.is_new)
            self.bars = np.concatenate([self.bars, np.zeros((room, len(BAR)))])
            self.is_new = np.concatenate([self.is_new, np.zeros(room, dtype=np.bool_)])
            self.models = {name: np.concatenate([v, np.full(room, np.nan)]) for name, v in self.models.items()}

    async def run(self, send: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Bring the cache and the hub up to date every second, until cancelled; what fails comes again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._publish()
                self._is_cached = True
            except SinkUnavailableError as e:
                if self._is_cached:  # once: the counter tells the rest
                    LOG.warning("newest values not cached, all else goes on", extra={"error": str(e)})
                self._is_cached = False
            self._count_p_values()
            self._count_ready()
            await self.own.tell(send, self.own.snapshot)

    async def _publish(self) -> None:
        rows: I64 = np.flatnonzero(self.is_new)[:MOST_ROWS]
        if self.cache is None or not len(rows):
            return
        deadline = time.monotonic() + PATIENCE_S
        for start in range(0, len(rows), CHUNK):
            while time.monotonic() < min(self._took_s + QUIET_S, deadline):  # noqa: ASYNC110 (silence is no event)
                await asyncio.sleep(QUIET_S / 3)
            part = rows[start : start + CHUNK]
            lengths = np.array([self.shard.series[slot].bar_s for slot in part.tolist()])
            for bar_s in np.unique(lengths).tolist():
                await self._put(self.cache, part[lengths == bar_s], bar_s)

    async def _put(self, cache: RedisCache, slots: I64, bar_s: int) -> None:
        """Put series of one bar length, counted as one delivery; those it does not take stay new."""
        self.is_new[slots] = False  # a bar that comes meanwhile is new again
        try:
            await cache.put(self._latest(slots, bar_s))
        except SinkUnavailableError:
            self.is_new[slots] = True
            self.own.inc(metrics.SINK_FAILURES, sink=CACHE)
            raise
        self.own.inc(metrics.DELIVERED, sink=CACHE)

    def _latest(self, slots: I64, bar_s: int) -> list[Latest]:
        """Give the newest of series of one bar length."""
        group = self.shard.symbols.group(bar_s)
        rows = group.rows(slots.astype(np.int32))
        x, why, left = group.newest_x[rows], group.newest_why[rows], group.windows_left(rows)
        scores = group.every.scores(x)
        out = []
        for i, slot in enumerate(slots.tolist()):
            series = self.shard.series[slot]
            bar = {name: _number(v) for name, v in zip(BAR, self.bars[slot].tolist(), strict=True)}
            bar["ts"] = int(self.bars[slot, 0]) // NS_PER_MS
            features = {n: _number(v) for n, v in zip(catalog.NAMES, x[i].tolist(), strict=True)}
            reasons = {n: catalog.REASONS[w] for n, w in zip(catalog.NAMES, why[i].tolist(), strict=True) if w}
            said = {k: _number(v) for k, v in zip(KINDS, scores[i].tolist(), strict=True) if v == v}
            said |= {name: float(v[slot]) for name, v in self.models.items() if v[slot] == v[slot]}
            waiting = {kind: int(n[i]) for kind, n in left.items() if n[i]}
            out.append(Latest(series.asset_class.value, series.symbol, bar_s, bar, features, said, reasons, waiting))
        return out

    def _count_p_values(self) -> None:
        """Count how likely each kind holds the bars of the window closed last, from a sample of its series."""
        if not self._judged:
            return
        rows, self._judged = np.concatenate(self._judged), []
        group, asset_class = self.shard.symbols.primary, self.shard.config.asset_class.value
        x = group.newest_x[rows[:: -(-len(rows) // MOST_P) or 1]]
        found = {d.kind: d.tail.p_value(d.score(x)) for d in group.every.detectors}
        found[KINDS[MARKET_SHOCK]], self._shock_p = np.array(self._shock_p), []
        for kind, p in found.items():
            known = p[np.isfinite(p)]
            if len(known):
                self.own.observe_many(metrics.P_VALUE, known, asset_class=asset_class, kind=kind)

    def _count_ready(self) -> None:
        """Say of how many series each kind can be called."""
        group, asset_class = self.shard.symbols.primary, self.shard.config.asset_class.value
        rows = np.arange(len(group.slot_of))
        self.own.set(metrics.SERIES, len(rows), asset_class=asset_class)
        self.own.set(metrics.BUDGET, self.shard.config.detection.budget, asset_class=asset_class)
        for kind, left in group.windows_left(rows).items():
            self.own.set(metrics.SERIES_READY, int((left == 0).sum()), asset_class=asset_class, kind=kind)


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
