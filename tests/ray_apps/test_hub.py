"""The hub: sums over processes and their restarts, knows who is silent, renders as Prometheus reads it."""

import asyncio
import pickle
import socket
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from ray_apps import metrics as m
from ray_apps.hub import EXPECTED_S, Hub
from ray_apps.ingest import counting
from ray_apps.ingest.counting import FeedCounts
from ray_apps.shards import aftermath as aftermath_module
from ray_apps.shards import desk_counts as desk_counts_module
from ray_apps.shards.aftermath import Aftermath
from ray_apps.shards.desk_counts import DeskCounts
from ray_apps.shards.shard import ShardConfig, SymbolShard
from tests.support.eventually import eventually, eventually_sync


def families(hub):
    return {f.name: f for f in text_string_to_metric_families(hub.render())}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=40))
def test_counters_survive_restarts_and_lost_snapshots(steps):
    hub, sets, lost, total = Hub(), {}, {}, 0
    for process, amount, restart in steps:
        if restart and process in sets:
            hub.put(sets.pop(process).snapshot())
        own = sets.setdefault(process, m.MetricSet(process, f"{len(lost)}-{amount}-{restart}"))
        own.inc(m.SINK_FAILURES, amount, sink="webhook")
        lost[len(lost)] = own.snapshot()
        total += amount
    for own in sets.values():
        hub.put(own.snapshot())
        hub.put(own.snapshot())
    assert (hub.value(m.SINK_FAILURES, sink="webhook") or 0) == total


def test_a_hub_started_anew_counts_what_none_before_it_took():
    """What Prometheus takes for a reset, 160 and then 150, would be 150 of an hour's increase."""
    first, second, own = Hub(), Hub(), m.MetricSet("feed-stocks", "1")
    own.inc(m.BLIND, 160, asset_class="stocks")
    own.observe(m.BURST, 0.2, asset_class="stocks")
    first.put(snapshot := own.snapshot())
    own.was_taken(pickle.loads(pickle.dumps(snapshot)))
    own.inc(m.BLIND, 2, asset_class="stocks")  # while there is no hub
    own.snapshot()
    own.observe(m.BURST, 0.2, asset_class="stocks")
    second.put(pickle.loads(pickle.dumps(own.snapshot())))
    assert (first.value(m.BLIND, asset_class="stocks"), second.value(m.BLIND, asset_class="stocks")) == (160, 2)
    counts = [s for s in families(second)["tapewatch_burst_seconds"].samples if s.name.endswith(("_count", "_sum"))]
    assert [s.value for s in counts] == [1, pytest.approx(0.2)]
    own.inc(m.BLIND, 3, asset_class="stocks")
    second.put(own.snapshot())
    assert second.value(m.BLIND, asset_class="stocks") == 5


def test_what_was_counted_before_the_first_hub_is_not_lost():
    hub, own = Hub(), m.MetricSet("feed-stocks", "1")
    own.inc(m.BLIND, 7, asset_class="stocks")
    own.snapshot()  # to nobody
    hub.put(own.snapshot())
    assert hub.value(m.BLIND, asset_class="stocks") == 7


def test_what_a_hub_before_took_counts_as_nought_so_that_the_next_of_it_is_an_increase():
    hub, own = Hub(), m.MetricSet("sinks", "1")
    own.inc(m.SINK_FAILURES, 4, sink="webhook")
    own.was_taken(own.snapshot())
    hub.put(own.snapshot())
    assert hub.value(m.SINK_FAILURES, sink="webhook") == 0


def feed_counts():
    counts = FeedCounts("stocks", 60, "1")
    service = SimpleNamespace(status="spare", is_in_session=False, watch=None, n_bursts=0, bursts=lambda after: [])
    service.stats = lambda: None
    return counts.own, lambda send: counts.run(send, lambda: service)


def desk_counts():
    counts = DeskCounts({}, "1")
    return counts.own, counts.run


def aftermath():
    shard = SymbolShard(ShardConfig(AssetClass.STOCKS, 0, 1, 60, "trades", "", Path(), DetectionConfig(), {}))
    after = Aftermath(shard, None, m.MetricSet("shard-stocks-0", "1"))
    return after.own, after.run


@pytest.mark.parametrize("sender", [feed_counts, desk_counts, aftermath])
def test_who_sends_tells_the_next_hub_what_the_last_one_took(sender, monkeypatch):
    for module in (counting, aftermath_module, desk_counts_module):
        monkeypatch.setattr(module, "EVERY_S", 0.001)
    own, run = sender()
    first, second, hubs, unsent = Hub(), Hub(), [], []

    async def send(snapshot):
        if not hubs:
            unsent.append(snapshot)
            raise ConnectionError("expected a hub, was none")
        hubs[-1].put(pickle.loads(pickle.dumps(snapshot)))

    def late(hub):
        return hub.value(m.BARS_LATE, asset_class="stocks")

    async def scene():
        running = asyncio.create_task(run(send))
        own.inc(m.BARS_LATE, 5, asset_class="stocks")
        await eventually(lambda: unsent)
        hubs.append(first)
        await eventually(lambda: late(first) == 5)
        await eventually(lambda: own.snapshot()["taken"][m.BARS_LATE.name])
        hubs.clear()
        own.inc(m.BARS_LATE, 2, asset_class="stocks")
        hubs.append(second)
        await eventually(lambda: late(second) == 2)
        running.cancel()

    asyncio.run(scene())


def test_an_older_snapshot_is_left_out():
    hub, own = Hub(), m.MetricSet("p", "1")
    own.inc(m.BARS_LATE, asset_class="stocks")
    old = own.snapshot()
    own.inc(m.BARS_LATE, asset_class="stocks")
    hub.put(own.snapshot())
    hub.put(old)
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2


def test_gauges_are_joined_as_declared_and_forgotten():
    hub = Hub()
    for name, ready, lag, depth in (("a", 1, 0.5, 3), ("b", 0, 2.0, 4)):
        own = m.MetricSet(name, "1")
        own.set(m.READY, ready, part="feed")
        own.set(m.LAG, lag, asset_class="stocks")
        own.set(m.QUEUE_DEPTH, depth, queue="raw")
        own.inc(m.BARS_LATE, asset_class="stocks")
        hub.put(pickle.loads(pickle.dumps(own.snapshot())))
    assert hub.value(m.READY, part="feed") == 0
    assert hub.value(m.LAG, asset_class="stocks") == 2.0
    assert hub.value(m.QUEUE_DEPTH, queue="raw") == 7
    hub.forget(["b", "never seen"])
    assert hub.value(m.READY, part="feed") == 1
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2


def test_how_long_each_process_is_silent_is_known():
    now = [0.0]
    hub = Hub(lambda: now[0])
    for at, name in ((0.0, "a"), (4.0, "b")):
        now[0] = at
        hub.put(m.MetricSet(name, "1").snapshot())
    now[0] = 10.0
    assert [hub.value(m.PROCESS_SILENT, process=name) for name in "ab"] == [10.0, 6.0]
    hub.forget(["a"])
    assert hub.value(m.PROCESS_SILENT, process="a") is None


def test_what_left_is_counted_to_its_end_and_heard_again_once_it_was_started_anew():
    now = [0.0]
    hub, own = Hub(lambda: now[0]), m.MetricSet("feed-stocks", "1")
    own.inc(m.BARS_LATE, asset_class="stocks")
    own.set(m.LAG, 3, asset_class="stocks")
    hub.put(own.snapshot())
    hub.forget(["feed-stocks"])
    now[0] = 2.0
    own.inc(m.BARS_LATE, asset_class="stocks")  # it goes on until its pod is gone
    hub.put(own.snapshot())
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2
    assert hub.value(m.LAG, asset_class="stocks") is None
    assert hub.value(m.PROCESS_SILENT, process="feed-stocks") is None
    hub.put(m.MetricSet("feed-stocks", "2").snapshot())
    now[0] = 12.0
    assert hub.value(m.PROCESS_SILENT, process="feed-stocks") == 10.0
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2


def test_who_is_expected_and_not_heard_is_silent_as_long_as_somebody_expects():
    now = [0.0]
    hub = Hub(lambda: now[0])

    def silent():
        return hub.value(m.PROCESS_SILENT, process="a")

    hub.expect(["a"])
    now[0] = EXPECTED_S - 1
    hub.expect(["a"])
    assert silent() == EXPECTED_S - 1
    hub.put(m.MetricSet("a", "1").snapshot())
    hub.expect(["a"])
    assert silent() == 0
    now[0] += 5
    assert silent() == 5  # since it was heard
    hub.forget(["a"])
    assert silent() is None
    hub.expect(["a"])  # it was to come back
    now[0] += EXPECTED_S - 1
    assert silent() == EXPECTED_S - 1
    now[0] += 1
    assert silent() is None  # whoever expected it is gone too: all is closed
    hub.expect(["a"])
    assert silent() == 0


def test_histograms_are_cumulative_text():
    hub = Hub()
    for process in "ab":
        own = m.MetricSet(process, "1")
        for value in (0.01, 0.26, 99.0):
            own.observe(m.BURST, value, asset_class="stocks")
        hub.put(own.snapshot())
    samples = families(hub)["tapewatch_burst_seconds"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert (buckets["0.01"], buckets["0.2"], buckets["0.3"], buckets["+Inf"]) == (2, 2, 4, 6)
    assert [s.value for s in samples if s.name.endswith("_count")] == [6]
    assert [s.value for s in samples if s.name.endswith("_sum")] == [pytest.approx(2 * 99.27)]


def test_every_metric_is_rendered_even_before_it_is_counted():
    assert set(families(Hub())) == {d.name.removesuffix("_total") for d in m.METRICS}


@pytest.mark.integration
def test_a_taken_port_is_listened_at_as_soon_as_it_is_free(caplog):
    hub = Hub()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        hub.serve("127.0.0.1", port)
        eventually_sync(lambda: caplog.records)  # it was tried

    def answer() -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        except httpx.TransportError:
            return ""

    assert "tapewatch_" in eventually_sync(answer, 20)
