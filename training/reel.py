"""Find the part of the database that a replay asks for, and play it: history first, then the bars to be judged."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from features.block import DAY_NS, BarBlock
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import I32, NS_PER_MS, NS_PER_S, AssetClass, Bool, Hole, Series, SlotTable
from features.stages.context import Contexts
from features.stages.known import KnownMarket
from features.state import SeriesShape
from ray_apps.errors import UsageError, UserError
from ray_apps.store import series as series_sql
from ray_apps.store.connect import Conn
from ray_apps.store.contexts import decode, payloads
from ray_apps.store.tape import Span, extent, has_bars, slots_of, tape, was_called
from training.fold import days_of


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What to replay of the database.

    Attributes
    ----------
    bar_s
        Length of the bars, seconds: the one that decides live.
    now_ns
        The wall clock's instant, UTC ns: what lies beyond it, and beyond what is stored, is the future.
    from_ns, to_ns
        Bars that start in between are judged; None: up to the newest, and from where `warm_days` lie before, or from
        the oldest where less is stored.
    symbols
        Some of the class, held against the contexts that were kept of its market; empty: all, which make the market.
    warm_days
        Days before `from_ns` that are folded, and of which nothing is called.
    activity
        The column that says how busy a bar was; None: the one of the class's live feed.
    """

    asset_class: AssetClass
    bar_s: int
    now_ns: int
    from_ns: int | None = None
    to_ns: int | None = None
    symbols: tuple[str, ...] = ()
    warm_days: float = 7.0
    activity: str | None = None
    detection: DetectionConfig = field(default_factory=DetectionConfig)


@dataclass(slots=True)
class StoreSummary:
    """What a replay of the database came to. Times in Unix ms, spans in seconds, speeds in bars a second.

    `windows_unknown` are those of which no context was kept, where some of a class are replayed; `missing_days` those
    of the history that are not stored, where less than one is and a live system called anomalies of the judged bars, or
    where so little is stored that all of it is judged.
    """

    asset_class: str
    series: int
    bar_s: int
    activity: str
    from_ts: int
    to_ts: int
    warm_bars: int = 0
    bars: int = 0
    holes: int = 0
    windows_unknown: int = 0
    missing_days: float = 0.0
    symbol_days: int = 0
    anomalies: int = 0
    own_episodes: int = 0
    market_episodes: int = 0
    own_episodes_per_symbol_day: float = math.nan
    episodes_by_kind: dict[str, int] = field(default_factory=dict)
    engine_s: float = 0.0
    total_s: float = 0.0

    @property
    def engine_bars_per_s(self) -> float:
        """Bars of the Engine alone, history included."""
        return (self.bars + self.warm_bars) / max(self.engine_s, 1e-9)

    @property
    def bars_per_s(self) -> float:
        """Bars from the database to the last anomaly, history included."""
        return (self.bars + self.warm_bars) / max(self.total_s, 1e-9)


class Player(Protocol):
    """Folds what is played."""

    def warm(self, block: BarBlock) -> None:
        """Fold history, of which nothing is called."""

    def take(self, block: BarBlock) -> None:
        """Fold bars and judge them."""

    def miss(self, hole: Hole) -> None:
        """Learn of a hole between the blocks."""


async def find(conn: Conn, plan: StorePlan) -> "Reel":
    """Find what is stored of a plan.

    Raises
    ------
    UserError
        When nothing is stored of it (UsageError where it asks for what cannot be).
    """
    known = await series_sql.load(conn, plan.asset_class)
    _check_symbols(plan, known)
    slots = slots_of(known, plan.bar_s, plan.symbols)
    stored = await extent(conn, plan.asset_class, slots, plan.bar_s)
    if stored is None:
        lengths = sorted({s.bar_s for s in known})
        was = f"bars of {', '.join(map(str, lengths))} s only" if lengths and not len(slots) else "none"
        raise UserError(f"expected stored {plan.asset_class} of {plan.bar_s} s (the longest of bar_lengths), was {was}")
    judged = _judged(plan, stored)
    if not await has_bars(conn, plan.asset_class, slots, judged):
        raise UserError(f"expected stored bars from {_said(judged.from_ns)} to {_said(judged.to_ns)}, was none: "
                        f"stored are {_said(stored.from_ns)} to {_said(stored.to_ns)}")  # fmt: skip
    return Reel(conn, plan, SlotTable(plan.asset_class, series=known), slots, judged, stored)


def _check_symbols(plan: StorePlan, known: list[Series]) -> None:
    names = sorted({s.symbol for s in known if s.bar_s == plan.bar_s})
    for symbol in plan.symbols:
        if symbol not in names:
            close = difflib.get_close_matches(symbol, names, 3)
            hint = f" (stored is {' or '.join(close)})" if close else ""
            raise UsageError(f"--symbols: expected stored {plan.asset_class} of {plan.bar_s} s, was {symbol!r}{hint}")


def _judged(plan: StorePlan, stored: Span) -> Span:
    """Give the span to judge, in whole windows."""
    limit = max(plan.now_ns, stored.to_ns)
    for option, said in (("--from", plan.from_ns), ("--to", plan.to_ns)):
        if said is not None and said > limit:
            raise UsageError(f"{option}: expected an instant that has come, was {_said(said)}")
    to = stored.to_ns if plan.to_ns is None else plan.to_ns
    first = _first(plan, stored, to) if plan.from_ns is None else plan.from_ns
    if first >= to:
        raise UsageError(f"expected --from before --to, was {_said(first)} and {_said(to)}")
    window_ns = max(plan.bar_s, 60) * NS_PER_S
    return Span(first // window_ns * window_ns, -(-to // window_ns) * window_ns)


def _first(plan: StorePlan, stored: Span, to_ns: int) -> int:
    """Give from where to judge where nobody said: with the history before it, or without any where it is not stored."""
    if stored.from_ns >= to_ns:
        raise UserError(f"expected stored bars before {_said(to_ns)}, was none: they begin at {_said(stored.from_ns)}")
    first = stored.from_ns + int(plan.warm_days * DAY_NS)
    return first if first < to_ns else stored.from_ns


def _said(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Reel:
    """Stored bars of one class that are to be folded, and what was kept of the market they come from."""

    def __init__(self, conn: Conn, plan: StorePlan, table: SlotTable, slots: I32, judged: Span, stored: Span) -> None:
        self.plan = plan
        self.newest_ns = min(judged.to_ns, stored.to_ns)
        self._stored = stored
        self._conn = conn
        self._table = table
        self._slots = slots
        self._judged = judged
        self._warm = Span(judged.from_ns - int(plan.warm_days * DAY_NS), judged.from_ns)
        self._shape = SeriesShape(plan.asset_class, plan.bar_s, plan.activity or plan.asset_class.activity)
        self._learnt_to = self._warm.from_ns
        self._seen: dict[int, Bool] = {}

    def engine(self, detection: DetectionConfig) -> Engine:
        """Give an Engine that has seen nothing; that of a few symbols is told of their market."""
        known = KnownMarket(self._shape, detection) if self.plan.symbols else None
        return Engine(self._table, self.plan.bar_s, self._shape.activity, detection, known)

    async def play(self, into: Player, engines: Sequence[Engine]) -> StoreSummary:
        """Play history and bars into what folds them with these engines; give what was played."""
        plan = self.plan
        summary = StoreSummary(
            plan.asset_class.value, len(self._slots), plan.bar_s, self._shape.activity,
            self._judged.from_ns // NS_PER_MS, self.newest_ns // NS_PER_MS,
        )  # fmt: skip
        for span, fold in ((self._warm, into.warm), (self._judged, into.take)):
            async for item in tape(self._conn, plan.asset_class, self._slots, plan.bar_s, span):
                if isinstance(item, Hole):
                    summary.holes += span is self._judged
                    into.miss(item)
                    continue
                await self._learn(item, engines)
                fold(item)
                n = int(np.isfinite(item.close).sum())
                if span is self._judged:
                    summary.bars += n
                    self._see(item)
                else:
                    summary.warm_bars += n
        summary.missing_days = await self._missing_days()
        summary.symbol_days = sum(int(seen.sum()) for seen in self._seen.values())
        summary.windows_unknown = max(e.known.n_unknown if e.known else 0 for e in engines)
        return summary

    async def _missing_days(self) -> float:
        """Give how much of the history is not stored, where it matters.

        That is where there is a live run to compare with, and where nobody asked for a replay without any.
        """
        is_unasked = self.plan.from_ns is None and self._warm.to_ns <= self._stored.from_ns
        missing_ns = min(self._stored.from_ns, self._warm.to_ns) - self._warm.from_ns
        is_cold = missing_ns > 0 and self._warm.to_ns - self._stored.from_ns < DAY_NS
        matters = is_cold and (is_unasked or await was_called(self._conn, self.plan.asset_class, self._judged))
        return missing_ns / DAY_NS if matters else 0.0

    async def _learn(self, block: BarBlock, engines: Sequence[Engine]) -> None:
        """Tell engines of few symbols what was kept of the market up to a block's end."""
        if not self.plan.symbols:
            return
        end = int(block.ts[-1, 0]) + self._shape.window_s * NS_PER_S + 1_000  # the database counts microseconds
        while self._learnt_to < end:  # a day at a time: these symbols may have had no bar for long
            until = min(end, self._learnt_to + DAY_NS)
            kept = await payloads(self._conn, self.plan.asset_class, self._shape.window_s, self._learnt_to, until)
            self._learnt_to = until
            for engine in engines:
                if kept and engine.known:
                    peers = engine.symbols.config.peers
                    engine.known.learn(Contexts.concat([decode(payload, peers) for payload in kept]))

    def _see(self, block: BarBlock) -> None:
        """Note which series had a bar on which day."""
        days = days_of(block.ts[:, 0], self.plan.asset_class)
        for day in np.unique(days).tolist():
            seen = self._seen.setdefault(day, np.zeros(len(self._table), dtype=np.bool_))
            seen[block.slot] |= np.isfinite(block.close[days == day]).any(axis=0)
