"""Gather what a snapshot of a symbol is made of."""

import asyncio
from dataclasses import dataclass

from features.market.types import NS_PER_S, AssetClass
from ray_apps.simulator import aggs
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.history import day_bar, previous_day
from ray_apps.simulator.market_day import RunningDay, market_day
from ray_apps.simulator.rows import AggRow, agg_rows
from ray_apps.simulator.sources import Bars, Source
from ray_apps.simulator.ticks import Ticks, ticks_of
from ray_apps.simulator.trades import last_tick
from ray_apps.simulator.truth import Truth

CLEARED_NS = 7 * 1_800 * NS_PER_S
"""The day's snapshots are cleared at 03:30 New York, not at midnight."""
_LOOK_BACK_DAYS = 7
_YIELD_EVERY = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One symbol at one time.

    Attributes
    ----------
    row
        Number in its source.
    day, minute
        Its bar of the day so far, and its newest minute of it.
    previous
        Its bar of the last day before with one.
    tick
        Its newest trade and quote.
    """

    row: int
    day: AggRow
    minute: AggRow
    previous: AggRow | None
    tick: Ticks | None

    @property
    def change(self) -> float:
        """Give how far the price is from the last close; 0 where there is none."""
        return 0.0 if self.previous is None else round(self.price - self.previous.c, 6)

    @property
    def change_percent(self) -> float:
        """Give the same in percent of that close."""
        return 0.0 if self.previous is None else round(100 * self.change / self.previous.c, 4)

    @property
    def price(self) -> float:
        """Give the newest price."""
        return self.minute.c if self.tick is None else float(self.tick.price[0])

    def updated_ns(self, bar_s: int) -> int:
        """Give when anything of it was new."""
        end = self.minute.t * 1_000_000 + bar_s * NS_PER_S
        return end if self.tick is None else max(end, int(self.tick.ts[0]))


def day_of_snapshot(source: Source, now_ns: int) -> int:
    """Give the day whose snapshots stand: New York's until 03:30 of the next."""
    is_cleared = source.asset_class.has_sessions and source.asset_class is not AssetClass.FUTURES
    return aggs.day_number(source, now_ns - (CLEARED_NS if is_cleared else 0))


async def see(truth: Truth, row: int, known_ns: int, now_ns: int) -> Seen | None:
    """Give one symbol as it is known at a time, None where it has not traded that day."""
    source = truth.view(now_ns, adjusted=True)
    day = day_of_snapshot(source, known_ns)
    whole = await day_bar(source, row, day, known_ns)
    if not len(whole):
        return None
    bar_s = max(source.lengths_s)
    minutes = source.history(row, bar_s, aggs.day_start(source, day), known_ns - bar_s * NS_PER_S + 1)
    _, before = await previous_day(source, row, aggs.day_start(source, day))
    (today,), (minute,) = agg_rows(whole), agg_rows(minutes.take(slice(-1, None)))
    tick = await last_tick(source, row, known_ns)
    return Seen(row, today, minute, agg_rows(before)[0] if len(before) else None, tick)


class WholeMarket:
    """All symbols of a class, added up as the day goes.

    Last trades of this list are those of the newest whole minute.
    """

    def __init__(self) -> None:
        self._days: dict[AssetClass, tuple[Faults, RunningDay, Bars]] = {}

    async def see(self, source: Truth, known_ns: int, now_ns: int, faults: Faults) -> list[Seen]:
        """Give every symbol that has traded."""
        day = day_of_snapshot(source, known_ns)
        kept = self._days.get(source.asset_class)
        if kept is None or kept[0] is not faults or kept[1].day != day or kept[1].known_ns > known_ns:
            before = await _last_day(source.view(now_ns, adjusted=True), day)
            kept = self._days[source.asset_class] = (faults, RunningDay(source, day), before)
        _, running, before = kept
        await running.upto(known_ns)
        bars, minutes = running.bars(), running.minutes()
        ticks = ticks_of(source, minutes, max(source.lengths_s))
        last = ticks.take(ticks.is_last)
        previous = dict(zip(before.row.tolist(), agg_rows(before), strict=True))
        found = []
        for i, (row, today, minute) in enumerate(
            zip(bars.row.tolist(), agg_rows(bars), agg_rows(minutes), strict=True)
        ):
            found.append(Seen(row, today, minute, previous.get(row), last.take(slice(i, i + 1))))
            if i % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return found


async def _last_day(source: Source, day: int) -> Bars:
    """Give the bars of the last day before that had any."""
    for number in range(day - 1, day - 1 - _LOOK_BACK_DAYS, -1):
        start = aggs.day_start(source, number)
        if any(source.regular(start + k * 3_600 * NS_PER_S) for k in range(24)):
            return await market_day(source, start, aggs.day_start(source, day))
    return await market_day(source, aggs.day_start(source, day), 0)
