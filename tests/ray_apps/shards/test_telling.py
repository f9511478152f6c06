"""Who is told what: each rule alone, and that storing is never its business."""

from datetime import UTC, datetime

import pytest

from features.market.types import NS_PER_S, AssetClass
from features.stages.desk import MARKET, Episode
from ray_apps.config import Mute, NotificationsConfig, QuietHours, Severity, UniverseConfig
from ray_apps.shards.telling import Telling

NIGHT = int(datetime(2026, 1, 2, 23, 30, tzinfo=UTC).timestamp()) * NS_PER_S


def episode(symbol: str = "AAPL", severity: str = "medium", kind: str = "burst_up") -> Episode:
    return Episode("1", symbol, kind, NIGHT, NIGHT, 1, 5.0, 1e-5, 0.01, severity, 1.0)


def test_everything_is_told_by_default() -> None:
    assert Telling(AssetClass.STOCKS).wants(episode(severity="low"))


@pytest.mark.parametrize(("severity", "told"), [("medium", False), ("high", True), ("critical", True)])
def test_a_least_severity(severity: str, told: bool) -> None:
    rules = NotificationsConfig(min_severity=Severity.HIGH)
    assert Telling(AssetClass.STOCKS, rules).wants(episode(severity=severity)) is told


def test_quiet_hours_let_only_the_gravest_through() -> None:
    rules = NotificationsConfig(quiet=(QuietHours(start="22:00", end="07:00"),))
    assert not Telling(AssetClass.STOCKS, rules).wants(episode(severity="high"))
    assert Telling(AssetClass.STOCKS, rules).wants(episode(severity="critical"))


def test_a_watchlist_leaves_out_other_symbols_but_not_the_market() -> None:
    told = Telling(
        AssetClass.STOCKS,
        NotificationsConfig(watchlists=("mine",)),
        UniverseConfig(watchlists={"mine": ("stocks:AAPL",)}),
    )
    assert told.wants(episode("AAPL"))
    assert not told.wants(episode("MSFT"))
    assert told.wants(episode(MARKET, kind="market_shock"))


@pytest.mark.parametrize(("year", "told"), [(2025, True), (2027, False)])
def test_a_mute_ends(year: int, told: bool) -> None:
    mute = Mute(symbol="AAPL", until=datetime(year, 6, 1, tzinfo=UTC))
    assert Telling(AssetClass.STOCKS, universe=UniverseConfig(mutes=(mute,))).wants(episode()) is told
