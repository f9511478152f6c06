"""Give the rows a detector is fitted on: features of bars, told by the same state that tells them live."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from features.block import CELLS, BarBlock, rows_of
from features.catalog import NAMES
from features.market.types import F64, I64, NS_PER_S, AssetClass, Bool
from features.state import FeatureState, SeriesShape
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.errors import UserError
from training.replay import Loaded

FIRST_DAY = 20_458
"""2026-01-05, a Monday: the day a synthetic market starts to be read."""
HELD_OUT = 0.2
"""The newest part of the rows is kept from the fit: on older ones it would be told of the future."""


@dataclass(frozen=True, slots=True)
class Source:
    """Bars to fit on: blocks in time order over `n_series` slots, and what they are in words."""

    shape: SeriesShape
    n_series: int
    blocks: Iterator[BarBlock]
    told: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows [R, K] of the columns asked for, all with a value, and the ends of their bars [R], UTC ns."""

    names: tuple[str, ...]
    x: F64
    end: I64

    def __len__(self) -> int:
        return len(self.end)

    @property
    def is_held_out(self) -> Bool:
        """Give the newest rows [R], about `HELD_OUT` of them; bars of one instant stay together."""
        out: Bool = self.end > np.quantile(self.end, 1.0 - HELD_OUT, method="lower")
        return out


def synthetic(asset_class: AssetClass, n_symbols: int, n_days: int, seed: int) -> Source:
    """Give `n_days` trading days of a market in which nothing abnormal happens but by chance."""
    tape = Tape(TapeConfig(asset_class, n_symbols, seed))
    first = date(1970, 1, 1) + timedelta(days=FIRST_DAY)
    told = f"synthetic null tape, {n_symbols} symbols, {n_days} trading days from {first}, seed {seed}"
    shape = SeriesShape(asset_class, 60, asset_class.activity)
    return Source(shape, n_symbols, _days(tape, n_days), told)


def _days(tape: Tape, n_days: int) -> Iterator[BarBlock]:
    day, n_open = FIRST_DAY, 0
    slots = np.arange(len(tape.symbols), dtype=np.int32)
    while n_open < n_days:
        t = tape.day(day)
        day += 1
        if len(t):
            n_open += 1
            ts = np.repeat(t.ts[:, None], len(slots), axis=1)
            yield BarBlock(slots, ts, t.open, t.high, t.low, t.close, t.volume, t.trades, 60)


def folder(asset_class: AssetClass, loaded: Loaded) -> Source:
    """Give the bars of a loaded folder."""
    shape = SeriesShape(asset_class, loaded.bar_s, loaded.activity)
    n_bars = sum(s.n_bars for s in loaded.series)
    told = f"folder of {len(loaded.series)} series, {n_bars} bars of {loaded.bar_s} s, activity {loaded.activity}"
    blocks = loaded.spool.blocks([s.number for s in loaded.series], loaded.bar_s)
    return Source(shape, len(loaded.series), blocks, told)


def feature_rows(source: Source, names: tuple[str, ...]) -> Rows:
    """Fold the bars and keep the rows in which every one of the columns `names` has a value.

    Raises
    ------
    UserError
        When there is no such row.
    """
    state = FeatureState(source.shape)
    state.grow(source.n_series)
    columns = [NAMES.index(name) for name in names]
    x: list[F64] = []
    end: list[I64] = []
    for block in source.blocks:
        for part in _parts(block):
            values = state.observe(part.slot.astype(np.int64), part).x[:, :, columns]
            is_known = np.isfinite(values).all(axis=2)
            x.append(values[is_known])
            end.append(part.ts[is_known] + part.bar_s * NS_PER_S)
    if not sum(map(len, end)):
        raise UserError(f"expected bars with values of {', '.join(names)}, was none in the {source.told}")
    return Rows(names, np.concatenate(x), np.concatenate(end).astype(np.int64))


def _parts(block: BarBlock) -> Iterator[BarBlock]:
    t, n = block.shape
    step = max(1, CELLS // max(n, 1))
    yield from (rows_of(block, slice(at, at + step)) for at in range(0, t, step))
