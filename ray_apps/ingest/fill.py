"""Fetch from the vendor's past what a hole in the stream took, as far as the plan and the memory allow."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from features.market.bars import waves
from features.market.types import DTYPES, I64, NS_PER_S, BarBatch, Hole, SlotTable
from features.stages.market_stream import MarketStream
from ray_apps.ingest.held import Held
from ray_apps.ingest.history import History, Page
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.verdict import HistoryError
from ray_apps.store.connect import connect
from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.recovery import blocks_since
from ray_apps.store.tape import Span

MINUTE_NS = 60 * NS_PER_S
BEFORE_NS = 15 * MINUTE_NS
"""For so long after a window's end the vendor sends late bars and corrections; those of a lost connection are lost."""
RESTART_NS = 20 * MINUTE_NS
"""The same for a process that died: its shards may have stored less than it had received."""
PATIENCE_S = 600.0
"""Live bars wait for the hole to be filled, but not longer: 11,000 symbols at 90 calls a second take two minutes."""
MOST_BARS = 3_000_000
"""Bars of a hole held in memory until they are in order, some 400 MB: a session of 11,000 stocks fits."""
MOST_CALLS = 900
"""So many series are asked for after any break: ten seconds of calls."""
USUAL = 0.9
"""A series prints in nearly every window where it printed in more than this part of its last ones."""
VALUES = ("open", "high", "low", "close", "volume", "vwap", "trades")


@dataclass(slots=True)
class Filling:
    """What history gave of a hole: batches of one window each, oldest first; `missing` says what it did not give."""

    batches: list[BarBatch] = field(default_factory=list)
    n_bars: int = 0
    missing: str = ""


class Filler:
    """Fills the holes of one asset class's feed.

    Parameters
    ----------
    plan
        How to ask the vendor.
    table
        The feed's series: those it has seen are asked for.
    bar_lengths
        Of the bars the feed reads, seconds.
    in_session
        Whether the market should print at a feed time, UTC ns.
    """

    def __init__(
        self, plan: HistoryPlan, table: SlotTable, bar_lengths: tuple[int, ...], in_session: Callable[[int], bool]
    ) -> None:
        self._plan = plan
        self._history = History(plan)
        self._table = table
        self._bar_lengths = bar_lengths
        self._in_session = in_session

    async def fill(self, hole: Hole, stream: MarketStream) -> Filling:
        """Give the bars of a hole that the store does not have, or has otherwise; all that came before are stored.

        They reach to the end of the first window after the hole: the connection may have come up in the middle of it.
        """
        filling = Filling()
        if not self._is_trading(hole):
            return filling
        lengths = self._bar_lengths if hole.bar_s == 0 else (hole.bar_s,)
        try:
            async with asyncio.timeout(PATIENCE_S):
                for bar_s in sorted(lengths):
                    await self._fetch(filling, hole, bar_s, stream)
        except TimeoutError:
            filling.missing = f"expected all of it in {PATIENCE_S:.0f} s, was not all there"
        except (HistoryError, StoreUnavailableError) as e:
            filling.missing = str(e)
        filling.batches.sort(key=lambda b: (int(b.ts_end[0]), b.bar_s))
        return filling

    async def close(self) -> None:
        """Make no more calls."""
        await self._history.close()

    def _is_trading(self, hole: Hole) -> bool:
        """Say whether the market printed in any minute of the hole; one without width is taken for a minute."""
        first, last = hole.from_ns // MINUTE_NS, max(hole.to_ns, hole.from_ns + 1) // MINUTE_NS
        return any(self._in_session(minute * MINUTE_NS) for minute in range(first, last + 1))

    def _asked(self, hole: Hole, bar_s: int, stream: MarketStream) -> dict[str, int]:
        """Give the series to ask for, symbol to slot.

        All, where they are few or a whole window is missing. Of many, after a break without a missing window, only
        those that print in nearly every window and did not in the last: the live bars cannot wait for thousands.
        """
        of_length = {s.symbol: i for i, s in enumerate(self._table.since(0)) if s.bar_s == bar_s}
        if hole.to_ns > hole.from_ns or len(of_length) <= MOST_CALLS or bar_s != stream.market.shape.bar_s:
            return of_length
        presence, newest_ts = stream.minute.presence, stream.newest_ts
        late_ns = hole.from_ns - bar_s * NS_PER_S
        usual = [i < len(presence) and presence[i] > USUAL and newest_ts[i] < late_ns for i in of_length.values()]
        return {symbol: i for (symbol, i), is_usual in zip(of_length.items(), usual, strict=True) if is_usual}

    async def _fetch(self, filling: Filling, hole: Hole, bar_s: int, stream: MarketStream) -> None:
        step_ns = bar_s * NS_PER_S
        newest_ts = stream.newest_ts if bar_s == stream.market.shape.bar_s else None
        before = 0 if newest_ts is None else RESTART_NS if hole.cause == "restart" else BEFORE_NS
        start, end = (hole.from_ns - before) // step_ns * step_ns, -(-hole.to_ns // step_ns) * step_ns + step_ns
        slot_of = self._asked(hole, bar_s, stream)
        held = await self._held(slot_of, bar_s, Span(start, end)) if newest_ts is not None else Held()
        found: list[tuple[int, Page]] = []
        n_bars = 0
        async with aclosing(self._history.many(list(slot_of), bar_s, start, end)) as pages:
            async for page in pages:
                if page.failure is not None:
                    filling.missing = str(page.failure)
                slot = slot_of[page.symbol]
                fresh = _fresh(page, slot, newest_ts, held)
                n_bars += len(fresh.bars)
                if n_bars > MOST_BARS:
                    filling.missing = f"expected at most {MOST_BARS:,} bars, was more: `tapewatch backfill` stores them"
                    return
                if len(fresh.bars):
                    found.append((slot, fresh))
        filling.n_bars += n_bars
        filling.batches += _batches(found, bar_s)

    async def _held(self, slot_of: dict[str, int], bar_s: int, span: Span) -> Held:
        """Read what is stored of the series over a span."""
        slots = np.fromiter(slot_of.values(), dtype=DTYPES["slot"], count=len(slot_of))
        conn = await connect(self._plan.dsn, "fill")
        try:
            blocks = blocks_since(conn, self._plan.asset_class, slots, bar_s, span.from_ns, span.to_ns)
            return Held.of([b async for b in blocks])
        finally:
            await conn.close()


def _fresh(page: Page, slot: int, newest_ts: I64 | None, held: Held) -> Page:
    """Leave out the bars that the state and the store have."""
    if newest_ts is None or slot >= len(newest_ts):
        return page
    is_new = (page.bars.ts > newest_ts[slot]) | held.lacks(slot, page.bars)
    return Page(page.symbol, page.span, page.bars.take(is_new), page.errors, page.failure)


def _batches(found: list[tuple[int, Page]], bar_s: int) -> list[BarBatch]:
    """Lay the pages of many series out by window."""
    if not found:
        return []
    slot = np.concatenate([np.full(len(page.bars), slot, dtype=DTYPES["slot"]) for slot, page in found])
    columns = {name: np.concatenate([getattr(page.bars, name) for _, page in found]) for name in ("ts", *VALUES)}
    order = np.lexsort((slot, columns["ts"]))
    rows = {name: column[order] for name, column in columns.items()}
    rows["slot"], rows["ts_end"] = slot[order], rows["ts"] + bar_s * NS_PER_S
    return list(waves(rows, bar_s, time.time_ns()))
