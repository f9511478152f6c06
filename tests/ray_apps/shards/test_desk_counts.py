"""What desks tell the metrics: episodes opened and told of, by kind and severity, and the day's cap."""

from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from features.stages.desk import Episode
from ray_apps import metrics
from ray_apps.hub import Hub
from ray_apps.shards.desk import DeskReport, DeskService
from ray_apps.shards.desk_counts import DeskCounts

STOCKS = AssetClass.STOCKS


def episode(kind: str, severity: str) -> Episode:
    return Episode(kind, "AAPL", kind, 0, 0, 1, 5.0, 1e-6, 0.001, severity, 1.0)


def test_episodes_opened_and_told_are_counted_apart() -> None:
    desks = {a: DeskService(a, "", DetectionConfig(notifications_per_day=9), ()) for a in (STOCKS, AssetClass.CRYPTO)}
    counts, hub = DeskCounts(desks, "1"), Hub()
    a, b = episode("burst_up", "high"), episode("gap", "low")
    counts.take(STOCKS, DeskReport(3, (a, b), (a, b), (a,)))
    counts.take(STOCKS, DeskReport(1, (a,), (), ()))
    hub.put(counts.snapshot())
    labels = {"asset_class": "stocks", "kind": "gap", "severity": "low"}
    assert (hub.value(metrics.EPISODES, **labels), hub.value(metrics.NOTIFIED, **labels)) == (1, 0)
    labels = {"asset_class": "stocks", "kind": "burst_up", "severity": "high"}
    assert (hub.value(metrics.EPISODES, **labels), hub.value(metrics.NOTIFIED, **labels)) == (1, 1)
    assert hub.value(metrics.EPISODES, asset_class="crypto", kind="gap", severity="low") == 0
    assert hub.value(metrics.NOTIFIED_LIMIT) == 9
