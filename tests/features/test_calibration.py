"""The frozen tails against a market without events: p is the share of bars that score so high."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from features import catalog
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS, MARKET_SHOCK
from features.families.cross_section import Closes
from features.market.types import AssetClass, Series, SlotTable
from features.stages.market import Market
from features.state import FeatureState, SeriesShape
from tests.support.null import null_days, null_tape

pytestmark = pytest.mark.thorough

STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
LEVELS = (1e-2, 1e-3, 1e-4)
RARE = ("gap", KINDS[MARKET_SHOCK])
"""One trial a morning, one a minute: too few for 1 in 10,000."""


@dataclass
class Shares:
    """How many bars were scored by kind, and how many of them fell below each level of p."""

    bars: int = 0
    scored: Counter = field(default_factory=Counter)
    below: Counter = field(default_factory=Counter)

    def add(self, kind: str, p: np.ndarray) -> None:
        p = p[~np.isnan(p)]
        self.scored[kind] += len(p)
        for level in LEVELS:
            self.below[kind, level] += int((p <= level).sum())

    def expected(self, kind: str, level: float) -> float:
        return self.scored[kind] * level

    def ratio(self, kind: str, level: float) -> float:
        return self.below[kind, level] / self.expected(kind, level)


def fold(
    shares: Shares, asset_class: AssetClass, n_symbols: int, n_days: int, warmup: int, seed: int = 7, scale: float = 1.0
) -> None:
    """Score days of a plain tape by every kind, each score times `scale`; the first `warmup` days only teach."""
    shape = SeriesShape(asset_class, 60, asset_class.activity)
    features, market = FeatureState(shape), Market(shape, DetectionConfig())
    features.grow(n_symbols)
    market.grow(SlotTable(asset_class, series=(Series(asset_class, f"S{i}", 60) for i in range(n_symbols))))
    rows = np.arange(n_symbols)
    detectors = DetectionConfig().detectors(shape.activity)
    for day, block in enumerate(null_days(null_tape(asset_class, n_symbols, seed), n_days)):
        ctx = market.observe(rows, block, np.ones(len(block.ts), dtype=np.bool_))
        seen = features.observe(rows, block)
        w, x = seen.windows, seen.x
        against = np.repeat(ctx.moves, n_symbols, axis=1)
        closes = Closes(w.present, w.revise, seen.move, seen.reach, seen.is_cut, against, np.zeros(n_symbols))
        residual, _ = features.close(rows, closes)
        for j, column in enumerate((catalog.RESIDUAL, catalog.RESIDUAL_Z, catalog.BETA)):
            x[:, :, column] = residual[j]
        if day < warmup:
            continue
        shares.bars += int(w.ok.sum())
        for d in detectors:
            shares.add(d.kind, d.tail.p_value(scale * d.score(x)[w.ok]))
        shares.add(KINDS[MARKET_SHOCK], ctx.p_value)


@pytest.mark.integration
def test_ten_million_null_bars_have_the_p_they_are_given() -> None:
    shares = Shares()
    for seed in (
        7,
        8,
    ):  # a universe's own market and sectors colour all of its bars: two count more than one twice as long
        fold(shares, STOCKS, 500, 13, 3, seed)
        fold(shares, CRYPTO, 150, 9, 3, seed)
    assert shares.bars > 10_000_000
    held = {kind: 1e-4 for kind in shares.scored if kind not in RARE and shares.expected(kind, 1e-4) >= 1_000}
    held |= {kind: 1e-2 for kind in RARE if shares.expected(kind, 1e-2) >= 100}
    assert set(held) == set(KINDS) - {"data_fault"}
    ratios = {kind: shares.ratio(kind, level) for kind, level in held.items()}
    assert {kind: r for kind, r in ratios.items() if not 0.7 <= r <= 1.3} == {}


QUICK = {"burst_up": 1e-3, "burst_down": 1e-3, "price_move": 1e-3, "volume_spike": 1e-3, "volatility_spike": 1e-2,
         "correlation_break": 1e-2}  # fmt: skip


def test_a_day_of_null_bars_has_about_the_p_it_is_given() -> None:
    shares = Shares()
    fold(shares, STOCKS, 150, 4, 2)
    fold(shares, CRYPTO, 40, 3, 1)
    assert shares.bars > 300_000
    ratios = {kind: shares.ratio(kind, level) for kind, level in QUICK.items()}
    assert {kind: r for kind, r in ratios.items() if not 0.5 <= r <= 2.0} == {}


def test_scores_too_large_by_two_fifths_are_noticed() -> None:
    shares = Shares()
    fold(shares, STOCKS, 150, 4, 2, scale=1.4)
    ratios = [shares.ratio(kind, level) for kind, level in QUICK.items()]
    assert max(ratios) > 2.0
