"""Known events on real bars: found where they were, and little else called.

The bars are not part of the project; they lie beside it, or where TAPEWATCH_DATA says.
"""

import importlib.util
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from features.block import align
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass, SlotTable
from features.stages.desk import MARKET, Episode
from features.stages.peers import Peers
from ray_apps.store.files import SeriesFile, read_bars
from tests.support.builders import Run, gather

SHARED = Path(__file__).parents[3] / "shared"
DATA = Path(os.environ.get("TAPEWATCH_DATA", SHARED / "data"))
SCORER = SHARED / "eval" / "pump_eval.py"
NEW_YORK = ZoneInfo("America/New_York")

pytestmark = pytest.mark.integration

if not DATA.is_dir():
    pytest.skip("no real bars beside the project: set TAPEWATCH_DATA to their folder", allow_module_level=True)


def files(folder: str) -> list[SeriesFile]:
    return [read_bars(p) for p in sorted((DATA / folder).glob("*.csv.gz"))]


def columns(f: SeriesFile) -> dict:
    traded = f.volume > 0
    named = {"t": f.ts, "o": f.open, "h": f.high, "l": f.low, "c": f.close, "v": f.volume, "n": f.trades}
    return {name: column[traded] for name, column in named.items()}


def detect(
    series: list[SeriesFile], asset_class: AssetClass, activity: str, pairs: tuple[tuple[str, str], ...] = ()
) -> Run:
    bar_s = series[0].bar_s
    table = SlotTable(asset_class)
    slots = [table.slot(f.symbol, bar_s) for f in series]
    engine = Engine(table, bar_s, activity, DetectionConfig(peers=Peers(pairs=pairs)))
    return gather(engine.fold(align(slots, [columns(f) for f in series], bar_s)))


def start_of(e: Episode, bar_s: int) -> datetime:
    """Give the start of the window an episode opened with, New York time."""
    return datetime.fromtimestamp(e.opened // NS_PER_S - bar_s, NEW_YORK)


def shocks(run: Run, bar_s: int) -> dict[datetime, Episode]:
    return {start_of(e, bar_s): e for e in run.episodes.values() if e.symbol == MARKET}


def test_the_tariff_days_minute_by_minute() -> None:
    found = shocks(detect(files("us_stocks_1m_2025-04_tariff"), AssetClass.STOCKS, "volume"), 60)
    for day in (3, 4):
        opening = found[datetime(2025, 4, day, 9, 30, tzinfo=NEW_YORK)]
        assert opening.members == 16
    late = [e for at, e in found.items() if (at.day, at.hour) == (4, 10) and 51 <= at.minute <= 57]
    assert [e.members for e in late] == [16]
    assert len(found) <= 5


def test_the_shocks_of_april_in_5_minute_bars() -> None:
    series = files("us_stocks_5m_2025H1")
    run = detect(series, AssetClass.STOCKS, "volume")
    found = shocks(run, 300)
    for at in (datetime(2025, 4, 7, 10, 10, tzinfo=NEW_YORK), datetime(2025, 4, 9, 13, 15, tzinfo=NEW_YORK)):
        assert found[at].members == 25
    days = len(np.unique(series[0].ts // (86_400 * NS_PER_S)))
    own = [e for e in run.episodes.values() if e.symbol != MARKET]
    assert len(own) / (days * len(series)) < 0.12
    assert len(found) / days < 0.3


DEPEG = "crypto_1m_2023-03_usdc_depeg"
CALM = datetime(2023, 3, 10, tzinfo=UTC)
"""The bank that held part of the coin's reserve failed that day."""


def breaks(run: Run) -> list[datetime]:
    """Give when the episodes in which BTC/USDC left its reference opened."""
    found = [e for e in run.episodes.values() if (e.symbol, e.kind) == ("BTCUSDC", "correlation_break")]
    return [datetime.fromtimestamp(e.opened // NS_PER_S, UTC) for e in found]


def is_depeg(at: datetime) -> bool:
    return datetime(2023, 3, 11, 4, 10, tzinfo=UTC) <= at <= datetime(2023, 3, 11, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize("pairs", [(), (("BTCUSDC", "BTCUSDT"),)], ids=["market", "pair"])
def test_the_depeg_of_usdc(pairs: tuple[tuple[str, str], ...]) -> None:
    run = detect(files(DEPEG), AssetClass.CRYPTO, "volume", pairs)
    assert sum(is_depeg(at) for at in breaks(run)) == 1
    assert not [e for e in run.episodes.values() if datetime.fromtimestamp(e.opened // NS_PER_S, UTC) < CALM]


def test_two_symbols_are_no_market_but_a_pair() -> None:
    series = [f for f in files(DEPEG) if f.symbol != "BTCUSD"]
    assert breaks(detect(series, AssetClass.CRYPTO, "volume")) == []
    found = breaks(detect(series, AssetClass.CRYPTO, "volume", (("BTCUSDC", "BTCUSDT"),)))
    assert sum(is_depeg(at) for at in found) == 1
    assert min(found) > CALM


def test_quiet_weeks_are_quiet() -> None:
    run = detect(files("us_stocks_1m_2024-06_firstrate"), AssetClass.STOCKS, "volume")
    assert len(run.episodes) <= 4


def scorer():
    spec = importlib.util.spec_from_file_location("pump_eval", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not SCORER.is_file(), reason="no pump_eval.py beside the project")
def test_announced_pumps_are_found_at_few_false_alerts() -> None:
    alerts = []
    for f in files("pnd_binance/bars_1m"):
        found = detect([f], AssetClass.CRYPTO, "trades").anomalies
        alerts += [(f.symbol, end) for end in (found.end // NS_PER_MS).tolist()]
    assert alerts
    score, _ = scorer().score(
        str(DATA / "pnd_binance"), pd.DataFrame(alerts, columns=["event_id", "alert_ms"]), boot=10
    )
    assert score["events"] == 24
    assert score["R"] >= 0.9
    assert score["FA_day"] <= 0.05
