"""A market without events, day by day: what every probability and rate is held against."""

from collections.abc import Iterator

import numpy as np

from features.block import BarBlock
from features.market.types import AssetClass
from features.synthetic.tape import Tape, TapeConfig

FIRST_DAY = 20_000
"""2024-10-04."""


def null_days(tape: Tape, n_days: int) -> Iterator[BarBlock]:
    """Give the next days with bars of a tape as blocks of minutes; slot = number of the symbol."""
    day = FIRST_DAY
    slot = np.arange(len(tape.symbols), dtype=np.int32)
    while n_days:
        t = tape.day(day)
        day += 1
        t = t.take(np.flatnonzero(t.present.any(axis=1)))
        if len(t):
            n_days -= 1
            ts = np.repeat(t.ts[:, None], len(slot), axis=1)
            yield BarBlock(slot, ts, t.open, t.high, t.low, t.close, t.volume, t.trades, 60)


def null_tape(asset_class: AssetClass, n_symbols: int, seed: int = 7) -> Tape:
    """Give a tape without anomalies."""
    return Tape(TapeConfig(asset_class, n_symbols, seed))
