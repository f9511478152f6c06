"""What the user may rule: price, turnover, switches, the classic volume alert."""

import numpy as np
import pytest

from features.block import BarBlock
from features.decisions.config import DetectionConfig, DetectorRule
from features.detectors.base import KINDS
from features.engine import Engine
from features.market.types import AssetClass, SlotTable
from tests.support.builders import one_series, with_bars

LAST = 199


def quiet(**last: float) -> BarBlock:
    """Give 200 minutes around 100 dollars with 50 to 150 shares each, the last one changed."""
    rng = np.random.default_rng(3)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0, 5e-4, 200)))
    return with_bars(one_series(closes, volume=rng.uniform(50, 150, 200)), (LAST, 0), **last)


def kinds(block: BarBlock, **config: object) -> list[str]:
    table = SlotTable(AssetClass.STOCKS)
    table.slot("AAPL", 60)
    engine = Engine(table, 60, "volume", DetectionConfig(**config))  # type: ignore[arg-type]
    return [KINDS[k] for part in engine.fold(block) for k in part.anomalies.kind]


BURST = {"open": 100.0, "high": 108.0, "low": 99.5, "close": 107.0, "volume": 50_000.0}


def test_a_jump_is_called_without_rules() -> None:
    assert kinds(quiet(**BURST)) == ["price_move"]


@pytest.mark.parametrize("config", [{"min_price": 150.0}, {"min_dollar_volume": 1e8}])
def test_a_cheap_or_thin_symbol_is_not_judged(config: dict[str, float]) -> None:
    assert kinds(quiet(**BURST), **config) == []


def test_a_symbol_that_turns_over_enough_is_judged() -> None:
    assert kinds(quiet(**BURST), min_dollar_volume=1e5) == ["price_move"]


def test_the_wrong_side_is_not_called() -> None:
    rules = {k: DetectorRule(direction="down") for k in ("burst_up", "price_move")}
    rules["burst_down"] = DetectorRule(enabled=False)
    assert kinds(quiet(**BURST), rules=rules) == []


def test_a_fault_is_called_unless_switched_off() -> None:
    slip = {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0}
    assert kinds(quiet(**slip)) == ["data_fault"]
    assert kinds(quiet(**slip), rules={"data_fault": DetectorRule(enabled=False)}) == []


def test_the_classic_switch_calls_every_spike_at_the_ratio() -> None:
    spike = quiet(volume=100.0 * 5)
    assert "volume_spike" in kinds(spike, volume_classic=True)
    assert "volume_spike" not in kinds(quiet(volume=100.0), volume_classic=True)


def test_the_classic_switch_does_not_mind_the_days_factor() -> None:
    table = SlotTable(AssetClass.STOCKS)
    table.slot("AAPL", 60)
    engine = Engine(table, 60, "volume", DetectionConfig(volume_classic=True))
    engine.symbols.primary.learn_scale(0, 50.0)
    found = [KINDS[k] for part in engine.fold(quiet(volume=100.0 * 5)) for k in part.anomalies.kind]
    assert "volume_spike" in found
