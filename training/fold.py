"""Take one Engine over a tape, wherever its blocks come from, and say what it called."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from features import catalog
from features.block import DAY_NS, BarBlock
from features.engine import Decided, Engine
from features.market.calendar import ny_day
from features.market.types import I64, NS_PER_MS, AssetClass, FaultBatch, Hole
from features.stages.desk import MARKET
from training.lines import CONFIRM_NS, AnomalyLine, line_of


@dataclass(frozen=True, slots=True)
class Called:
    """One anomaly, and what it is told from why other settings would not call it.

    Attributes
    ----------
    direction
        1 up, -1 down, 0 none.
    ratio
        Activity over its norm, NaN where not known.
    scale
        The day's factor on every rate, in `line.rate` already.
    """

    line: AnomalyLine
    direction: float
    price: float
    ratio: float
    scale: float


class Counted(Protocol):
    """A summary that holds what was called; filled by `Tally.fill`."""

    anomalies: int
    own_episodes: int
    market_episodes: int
    own_episodes_per_symbol_day: float
    episodes_by_kind: dict[str, int]
    symbol_days: int


@dataclass(slots=True)
class Tally:
    """What was called so far: anomalies, and by id each episode's kind and symbol."""

    anomalies: int = 0
    episodes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def fill(self, summary: Counted) -> None:
        """Count episodes by kind, and a symbol's own apart from the market's."""
        summary.anomalies = self.anomalies
        summary.episodes_by_kind = dict(Counter(kind for kind, _ in self.episodes.values()).most_common())
        summary.market_episodes = sum(symbol == MARKET for _, symbol in self.episodes.values())
        summary.own_episodes = len(self.episodes) - summary.market_episodes
        summary.own_episodes_per_symbol_day = summary.own_episodes / max(summary.symbol_days, 1)


class Folding:
    """An Engine on its way; `give` gets every anomaly by the time it was known, then symbol.

    Anomalies a quarter of an hour before `newest_ns`, where the tape ends, are confirmed. `engine_s` is the Engine's
    own time.
    """

    def __init__(self, engine: Engine, newest_ns: int, give: Callable[[Called], object]) -> None:
        self.engine = engine
        self.tally = Tally()
        self.engine_s = 0.0
        self._newest_ns = newest_ns
        self._give = give

    def warm(self, block: BarBlock) -> None:
        """Fold history, of which nothing is called."""
        start = time.perf_counter()
        self.engine.warm(block)
        self.engine_s += time.perf_counter() - start

    def miss(self, hole: Hole) -> None:
        """Learn of a hole between the blocks."""
        self.engine.miss(hole)

    def take(self, block: BarBlock, faults: FaultBatch | None = None) -> None:
        """Fold a block and give what it shows."""
        parts = self.engine.fold(block, faults)
        while True:
            start = time.perf_counter()
            decided = next(parts, None)
            self.engine_s += time.perf_counter() - start
            if decided is None:
                return
            self._tell(decided)

    def _tell(self, decided: Decided) -> None:
        self.tally.anomalies += len(decided.anomalies)
        self.tally.episodes.update((e.id, (e.kind, e.symbol)) for e in decided.episodes)
        found = [self._called(decided, i) for i in range(len(decided.anomalies))]
        for called in sorted(found, key=lambda c: (c.line.available_ts, c.line.symbol)):
            self._give(called)

    def _called(self, decided: Decided, i: int) -> Called:
        a, engine = decided.anomalies, self.engine
        line = line_of(a, i, engine.table[int(a.slot[i])], engine.desk.config.budget, decided.episode_ids[i])
        if int(a.end[i]) + CONFIRM_NS <= self._newest_ns:
            line = line.confirmed()
        ratio = float(a.x[i, catalog.ACTIVITY_RATIO])
        return Called(line, float(a.direction[i]), float(a.price[i]), ratio, self.scale_at(line))

    def scale_at(self, line: AnomalyLine) -> float:
        """Give the factor on the rates of a bar's day; the bar is of the last fortnight."""
        scales = self.engine.symbols.primary.scales
        end = np.array([line.available_ts * NS_PER_MS - 1])
        known = [d for d in scales if d <= days_of(end, self.engine.shape.asset_class)[0]]
        return scales[max(known)] if known else 1.0


def days_of(ns: I64, asset_class: AssetClass) -> I64:
    """Give the number of the day each instant lies in: New York's where there are sessions, else UTC's."""
    return ny_day(ns) if asset_class.has_sessions else ns // DAY_NS
