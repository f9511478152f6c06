"""Metrics: declared once, summed over processes and their restarts, rendered as Prometheus reads it."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ray_apps import metrics as m


def families(hub):
    return {f.name: f for f in text_string_to_metric_families(hub.render())}


def test_names_have_units_and_no_symbol_label():
    names = [d.name for d in m.METRICS]
    assert len(set(names)) == len(names)
    for declared in m.METRICS:
        assert declared.name.startswith("tapewatch_")
        assert "symbol" not in declared.labels
        assert declared.name.endswith("_total") == (declared.kind == "counter")
        assert bool(declared.buckets) == (declared.kind == "histogram")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=40))
def test_counters_survive_restarts_and_lost_snapshots(steps):
    hub, sets, lost, total = m.Hub(), {}, {}, 0
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


def test_an_older_snapshot_is_left_out():
    hub, own = m.Hub(), m.MetricSet("p", "1")
    own.inc(m.BARS_LATE, asset_class="stocks")
    old = own.snapshot()
    own.inc(m.BARS_LATE, asset_class="stocks")
    hub.put(own.snapshot())
    hub.put(old)
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2


def test_gauges_are_joined_as_declared_and_forgotten():
    hub = m.Hub()
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
    hub.forget("b")
    hub.forget("never seen")
    assert hub.value(m.READY, part="feed") == 1
    assert hub.value(m.BARS_LATE, asset_class="stocks") == 2


def test_how_long_each_process_is_silent_is_known():
    now = [0.0]
    hub = m.Hub(lambda: now[0])
    for at, name in ((0.0, "a"), (4.0, "b")):
        now[0] = at
        hub.put(m.MetricSet(name, "1").snapshot())
    now[0] = 10.0
    assert [hub.value(m.PROCESS_SILENT, process=name) for name in "ab"] == [10.0, 6.0]
    hub.forget("a")
    assert hub.value(m.PROCESS_SILENT, process="a") is None


def test_a_cleared_gauge_is_gone_a_counter_cannot_be():
    own = m.MetricSet("p", "1")
    own.set(m.CHECKPOINT_AGE, 5, stage="market", asset_class="stocks")
    own.clear(m.CHECKPOINT_AGE)
    assert own.snapshot()["values"][m.CHECKPOINT_AGE.name] == {}
    with pytest.raises(TypeError, match="expected a gauge"):
        own.clear(m.BARS_LATE)


def test_histograms_are_cumulative_text():
    hub = m.Hub()
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
    assert set(families(m.Hub())) == {d.name.removesuffix("_total") for d in m.METRICS}


def test_labels_are_bounded_and_named():
    own = m.MetricSet("p", "1")
    for i in range(m.MAX_SERIES + 50):
        own.inc(m.BARS_DROPPED, asset_class="stocks", reason=str(i))
    values = own.snapshot()["values"][m.BARS_DROPPED.name]
    assert len(values) == m.MAX_SERIES + 1
    assert values["other", "other"] == 50
    with pytest.raises(TypeError, match="expected the labels"):
        own.inc(m.BARS_LATE)
    with pytest.raises(TypeError, match="expected a gauge"):
        own.set(m.BARS_LATE, 1, asset_class="stocks")
    with pytest.raises(ValueError, match="to grow"):
        own.inc(m.BARS_LATE, -1, asset_class="stocks")


@given(st.lists(st.sampled_from([1e-7, 1e-6, 0.004, 0.03, 0.5, 1.0, 2.0]), max_size=30))
def test_many_values_count_like_one_after_the_other(values):
    one, many = m.MetricSet("p", "1"), m.MetricSet("p", "1")
    for value in values:
        one.observe(m.SHADOW_P, value, model="a")
    many.observe_many(m.SHADOW_P, np.array(values), model="a")
    expected = one.snapshot()["values"].get(m.SHADOW_P.name, {("a",): [0.0] * (len(m.SHADOW_P.buckets) + 2)})
    assert many.snapshot()["values"][m.SHADOW_P.name]["a",] == pytest.approx(expected["a",])
