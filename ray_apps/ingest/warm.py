"""Give the bars from before a feed's start, day by day, as blocks over the feed's slots."""

from collections.abc import Iterator

import numpy as np

from features.block import BarBlock
from features.market.types import I32, NS_PER_S, AssetClass, SlotTable
from features.synthetic.schedule import InjectedTape
from ray_apps.ingest.plan import WarmPlan

MINUTE_NS = 60 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
BLOCK_CELLS = 500_000
"""Bars a block holds at most: some 30 MB on its way to a shard, whatever the size of the universe."""


def blocks(plan: WarmPlan, asset_class: AssetClass, table: SlotTable) -> Iterator[BarBlock]:
    """Give the minutes before `plan.until_ns` in blocks of a day at most, without empty rows."""
    from ray_apps.simulator.config import SimulatorConfig  # the server's packages take a second to import
    from ray_apps.simulator.server import injected_tape

    played = injected_tape(SimulatorConfig(symbols=plan.n_symbols, seed=plan.seed, per_day=plan.per_day), asset_class)
    slots = np.array([table.slot(name, 60) for name in played.symbols], dtype=np.int32)
    until = plan.until_ns // MINUTE_NS * MINUTE_NS
    n_minutes = min(DAY_NS // MINUTE_NS, max(1, BLOCK_CELLS // len(slots)))
    for start in range(until - plan.days * DAY_NS, until, n_minutes * MINUTE_NS):
        yield from _part(played, slots, start, min(n_minutes, (until - start) // MINUTE_NS))


def _part(tape: InjectedTape, slots: I32, start_ns: int, n_minutes: int) -> Iterator[BarBlock]:
    made = tape.block(start_ns, n_minutes)
    rows = np.flatnonzero(made.present.any(axis=1))
    if not len(rows):
        return
    t = made.take(rows)
    ts = np.broadcast_to(t.ts[:, None], t.close.shape)
    yield BarBlock(slots, ts, t.open, t.high, t.low, t.close, t.volume, t.trades, 60)
