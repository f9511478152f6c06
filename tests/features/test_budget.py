"""A market without events costs as many false episodes as the budget says."""

from collections import Counter

import numpy as np
import pytest

from features.decisions.config import BUDGET, DetectionConfig
from features.decisions.peaks import PEAK_RATE, PRIOR_PEAKS, Rescale, peak_level
from features.detectors.base import DATA_FAULT, KINDS, MARKET_SHOCK
from features.engine import Engine
from features.market.types import AssetClass, SlotTable
from features.stages.desk import MARKET, Episode
from tests.support.null import null_days, null_tape

N_SYMBOLS, N_DAYS, WARMUP_DAYS = 200, 100, 5


@pytest.mark.integration
def test_a_null_tape_spends_the_budget() -> None:
    tape, table = null_tape(AssetClass.STOCKS, N_SYMBOLS), SlotTable(AssetClass.STOCKS)
    for symbol in tape.symbols:
        table.slot(symbol, 60)
    engine = Engine(table, 60, AssetClass.STOCKS.activity, DetectionConfig())
    episodes: dict[str, Episode] = {}
    raised_by: set[str] = set()
    symbol_days = 0
    for day, block in enumerate(null_days(tape, N_DAYS)):
        decided = list(engine.fold(block))
        if day < WARMUP_DAYS:
            continue
        symbol_days += int(np.isfinite(block.close).any(axis=0).sum())
        for d in decided:
            episodes |= {e.id: e for e in d.episodes}
            raised_by |= {i for i, kind in zip(d.episode_ids, d.anomalies.kind, strict=True) if kind == MARKET_SHOCK}
    market = [e for e in episodes.values() if e.symbol == MARKET]
    kinds = Counter(e.kind for e in episodes.values() if e.symbol != MARKET)
    faults = kinds.pop(KINDS[DATA_FAULT], 0)
    assert sum(kinds.values()) / symbol_days == pytest.approx(BUDGET, rel=0.2)
    assert max(kinds, key=lambda kind: kinds[kind]) == "burst_up"
    # The market's windows and its mornings have the budget each; whatever they raise is one episode of the market's.
    assert raised_by == {e.id for e in market}
    assert len(market) / (N_DAYS - WARMUP_DAYS) < 4 * BUDGET
    assert all(e.members > N_SYMBOLS / 2 for e in market)
    # Data faults have no share of the budget: a rule says them, and nothing on this tape is wrong.
    assert faults / symbol_days < 0.002


def test_a_day_is_rescaled_by_the_days_up_to_two_before_it() -> None:
    rescale = Rescale()
    assert rescale.factor(100) == 1.0
    for day in (100, 101):
        rescale.credit(day, 30.0, 100.0)
    assert rescale.factor(101) == 1.0
    after_one = (PRIOR_PEAKS + 30.0) / (PRIOR_PEAKS + 100.0 * PEAK_RATE)
    assert rescale.factor(102) == pytest.approx(after_one)
    rescale.credit(102, 0.0, 100.0)
    assert rescale.factor(102) == pytest.approx(after_one)
    assert 0.3 < rescale.factor(103) < after_one
    assert rescale.factor(104) < rescale.factor(103)


def test_peaks_are_nominal_whatever_part_of_the_budget_is_spent() -> None:
    assert peak_level(1.0) == PEAK_RATE
    assert peak_level(0.25) == 4 * PEAK_RATE
    assert peak_level(0.0) == 0.0
