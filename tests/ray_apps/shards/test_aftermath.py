"""What the cache is told after a message: bars, features and scores, those of the models beside the path too."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from features.catalog import NAMES
from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_S, AssetClass, BarBatch, Series
from features.stages.context import Contexts
from features.stages.group import Observed
from ray_apps import metrics
from ray_apps.api.http import _cached
from ray_apps.metrics import MetricSet
from ray_apps.scoring.shadow import Batch
from ray_apps.shards.aftermath import CACHE, Aftermath
from ray_apps.shards.messages import Message, Opened
from ray_apps.shards.shard import ShardConfig, SymbolShard
from ray_apps.sinks.base import SinkUnavailableError
from ray_apps.sinks.redis_sink import Latest
from tests.support.builders import Scene, block, rows_of

pytestmark = pytest.mark.thorough

MINUTE_NS = 60 * NS_PER_S
STOCKS, MODEL = AssetClass.STOCKS, "isolation_forest.stocks.60s"
SCENE = Scene(STOCKS, n_symbols=3, n_windows=3, missing=0.0, bursts=0, shocks=0, faults=0)


@dataclass
class FakeCache:
    """Keeps the newest row of each key."""

    rows: dict[str, Latest] = field(default_factory=dict)
    n_put: int = 0
    is_away: bool = False

    async def put(self, rows: list[Latest]) -> None:
        if self.is_away:
            raise SinkUnavailableError("expected Redis to answer, was none")
        self.n_put += len(rows)
        self.rows.update((r.symbol, r) for r in rows)


class Place:
    """An aftermath and three series whose bars come one row after the other."""

    def __init__(self) -> None:
        config = ShardConfig(STOCKS, 0, 1, 60, "trades", "", Path(), DetectionConfig(), {})
        self.shard = SymbolShard(config)
        self.shard.open(tuple(Opened(i, Series(STOCKS, f"S{i}", 60)) for i in range(3)))
        self.cache = FakeCache()
        self.after = Aftermath(self.shard, self.cache, MetricSet("shard", "1"))  # type: ignore[arg-type]
        self.bars = block(SCENE)

    def message(self, t: int) -> Message:
        """Give a row of bars as it came, with a price by volume that no stage keeps."""
        now = rows_of(self.bars, slice(t, t + 1))
        columns = (getattr(now, name)[0] for name in ("open", "high", "low", "close", "volume"))
        batch = BarBatch(
            now.slot,
            now.ts[0],
            now.ts[0] + MINUTE_NS,
            *columns,
            vwap=now.close[0] - 0.01,
            trades=now.trades[0],
            bar_s=60,
        )  # fmt: skip
        return Message(1, t, (batch,))

    def show(self, t: int) -> Observed:
        observed = self.shard.symbols.observe(rows_of(self.bars, slice(t, t + 1)))
        self.shard.symbols.decide(observed)
        self.after.take(self.message(t), [observed], {})
        return observed

    def publish(self) -> dict[str, Latest]:
        asyncio.run(self.after._publish())
        return self.cache.rows


@pytest.fixture
def place() -> Place:
    return Place()


def batch(o: Observed) -> Batch:
    return Batch(o.block.slot, o.block.ts[-1], o.seen.x[-1])


def test_what_is_put_is_what_the_gateway_gives(place: Place) -> None:
    place.show(0)
    place.after.note(MODEL, batch(place.show(1)), np.array([0.4, np.nan, 0.6]))
    rows = place.publish()
    outs = [_cached(rows[f"S{i}"]) for i in range(3)]
    assert [o.scores.get(MODEL) for o in outs if o] == [0.4, None, 0.6]
    assert outs[0] is not None
    assert outs[0].bar.close == place.bars.close[1, 0]
    assert outs[0].bar.vwap == place.bars.close[1, 0] - 0.01
    assert set(outs[0].features) == set(NAMES)


def test_scores_of_a_bar_that_is_no_longer_the_newest_are_left_out(place: Place) -> None:
    old = batch(place.show(0))
    place.show(1)
    place.after.note(MODEL, old, np.full(3, 0.9))
    assert all(MODEL not in (row.scores or {}) for row in place.publish().values())


def test_a_new_bar_takes_the_old_scores_away(place: Place) -> None:
    place.after.note(MODEL, batch(place.show(0)), np.full(3, 0.9))
    assert place.publish()["S1"].scores == {MODEL: 0.9}
    place.show(1)
    assert MODEL not in (place.publish()["S1"].scores or {})


def test_scores_that_come_after_the_bar_was_put_are_put_too(place: Place) -> None:
    observed = place.show(0)
    place.publish()
    place.after.note(MODEL, batch(observed), np.full(3, 0.9))
    assert place.publish()["S2"].scores == {MODEL: 0.9}
    assert place.cache.n_put == 6
    place.publish()
    assert place.cache.n_put == 6


def test_what_the_cache_does_not_take_is_counted_and_put_again(place: Place) -> None:
    assert [counts(place, m) for m in (metrics.DELIVERED, metrics.SINK_FAILURES)] == [{(CACHE,): 0}] * 2
    place.show(0)
    place.cache.is_away = True
    for _ in range(2):
        with pytest.raises(SinkUnavailableError):
            place.publish()
    place.cache.is_away = False
    assert set(place.publish()) == {"S0", "S1", "S2"}
    assert counts(place, metrics.DELIVERED) == {(CACHE,): 1}
    assert counts(place, metrics.SINK_FAILURES) == {(CACHE,): 2}


def counts(place: Place, metric: metrics.Declared) -> dict:
    return place.after.own.snapshot()["values"].get(metric.name, {})


def context(p_value: float) -> Contexts:
    nan, zero = np.array([np.nan]), np.zeros(1, dtype=np.int64)
    return Contexts(zero, zero, nan, np.array([p_value]), nan, nan, np.array([False]), nan, nan, zero, np.ones(1))


def test_the_p_values_of_a_closed_window_are_counted_once(place: Place) -> None:
    observed = [place.show(t) for t in range(3)]
    group = place.shard.symbols.primary
    group.newest_x[:] = 0.0  # every kind is ready, and nothing happened
    place.after.due(Message(1, 1, ()), observed)
    place.after._count_p_values()
    assert counts(place, metrics.P_VALUE) == {}
    place.after.due(Message(1, 2, (context(0.02),)), [])
    for _ in range(2):
        place.after._count_p_values()
    found = counts(place, metrics.P_VALUE)
    n_rows = sum(len(o.rows) for o in observed)
    assert sum(found["stocks", "burst_up"][:-1]) == n_rows
    assert found["stocks", "market_shock"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0.02]


def test_kinds_are_counted_from_nought_and_messages_by_their_time(place: Place) -> None:
    assert counts(place, metrics.ANOMALIES)["stocks", "gap"] == 0
    place.shard.took_s += [0.02, 0.3]
    place.after.take(place.message(0), [], {("gap", False): 2})
    place.after.take(place.message(0), [], {})
    assert counts(place, metrics.ANOMALIES)["stocks", "gap"] == 2
    assert sum(counts(place, metrics.APPLY)["stocks",][:-1]) == 2
