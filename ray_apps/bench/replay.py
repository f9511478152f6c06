"""Measure the Engine over made-up bars, without Ray: many symbols wide, and one symbol alone."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from features.block import CELLS, BarBlock, plain, rows_of
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.families.fault import LEVEL
from features.market.types import NS_PER_S, AssetClass, SlotTable
from features.state import FeatureState, SeriesShape
from features.warm import START_NS, warm

_BAR_S = 60
_WIDE = (1_440, 500)
_NARROW = (60_000, 1)
_MISSING = 0.1  # part of the windows without a trade


def run(wide: tuple[int, int] = _WIDE, narrow: tuple[int, int] = _NARROW, rounds: int = 3) -> dict[str, float]:
    """Fold blocks [T, N] of minutes of a round-the-clock market, best of `rounds`.

    The floor is the families' kernels alone on the same cells, once for the symbols and once for the market, cut alike.

    Returns
    -------
    dict
        Bars per second of one core (CPU time: the Engine is one thread) wide and narrow, the same of the floor, and
        how many times the floor the Engine takes.
    """
    warm(AssetClass.CRYPTO, _BAR_S)
    figures: dict[str, float] = {}
    for name, (t, n) in (("wide", wide), ("narrow", narrow)):
        block = market(t, n)
        bars = int(np.isfinite(block.close).sum())
        engine_s = min(_seconds(_engine(block)) for _ in range(rounds))
        kernels_s = min(_seconds(_kernels(block)) for _ in range(rounds))
        figures |= {
            f"{name}_symbols": n,
            f"{name}_bars": bars,
            f"{name}_bars_per_s": bars / engine_s,
            f"{name}_kernels_bars_per_s": bars / kernels_s,
            f"{name}_ratio": engine_s / kernels_s,
        }
    return figures


def market(t: int, n: int, seed: int = 1) -> BarBlock:
    """Give minutes [T, N] of a market with fat tails and a common factor."""
    rng = np.random.default_rng(seed)
    r = 1e-3 * (0.5 * rng.standard_t(5, (t, 1)) + rng.standard_t(5, (t, n)))
    close = 50.0 * np.exp(np.cumsum(r, axis=0))
    open_ = np.concatenate([np.full((1, n), 50.0), close[:-1]])
    high = np.maximum(open_, close) * np.exp(3e-4 * rng.random((t, n)))
    low = np.minimum(open_, close) * np.exp(-3e-4 * rng.random((t, n)))
    volume = np.exp(rng.normal(5.0, 0.5, (t, n)))
    gone = rng.random((t, n)) < _MISSING
    for column in (open_, high, low, close, volume):
        column[gone] = np.nan
    ts = START_NS + np.arange(t, dtype=np.int64) * _BAR_S * NS_PER_S
    slot = np.arange(n, dtype=np.int32)
    return BarBlock(slot, np.repeat(ts[:, None], n, axis=1), open_, high, low, close, volume, np.ceil(volume), _BAR_S)


def _engine(block: BarBlock) -> Callable[[], object]:
    """Give the whole path: market, symbols, verdicts, episodes."""
    asset_class, n = AssetClass.CRYPTO, block.shape[1]
    table = SlotTable(asset_class)
    for i in range(n):
        table.slot(f"S{i}", block.bar_s)
    engine = Engine(table, block.bar_s, asset_class.activity, DetectionConfig())
    return lambda: sum(len(decided.anomalies) for decided in engine.fold(block))


def _kernels(block: BarBlock) -> Callable[[], object]:
    """Give the same cells through the families alone."""
    shape = SeriesShape(AssetClass.CRYPTO, block.bar_s, AssetClass.CRYPTO.activity)
    states = (FeatureState(shape), FeatureState(shape, only=("fault", "window", "returns", "horizon")))
    rows = np.arange(block.shape[1])
    for state in states:
        state.grow(len(rows))

    def fold() -> None:
        for part in _parts(block):
            for state in states:
                revise = np.zeros(len(rows), dtype=np.bool_)
                code = state.fault.fold(rows, part, revise)
                w = state.window.fold(rows, part, part.volume, code, revise)
                why = np.zeros(part.shape, dtype=np.uint8)
                returns = state.returns.fold(rows, w, why)
                state.horizon.fold(rows, w, code == LEVEL, part.open, part.close)
                if "activity" in state.only:
                    state.activity.fold(rows, w, why)
                    state.volatility.fold(rows, w, returns[3], why)
                    state.trials.fold(rows, w)

    return fold


def _parts(block: BarBlock) -> Iterator[BarBlock]:
    step = max(1, CELLS // block.shape[1])
    for start in range(0, len(block.ts), step):
        yield plain(rows_of(block, slice(start, start + step)))


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
