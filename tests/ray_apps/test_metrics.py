"""Metrics: declared once, counted by processes with bounded labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps import metrics as m


def test_names_have_units_and_no_symbol_label():
    names = [d.name for d in m.METRICS]
    assert len(set(names)) == len(names)
    for declared in m.METRICS:
        assert declared.name.startswith("tapewatch_")
        assert "symbol" not in declared.labels
        assert declared.name.endswith("_total") == (declared.kind == "counter")
        assert bool(declared.buckets) == (declared.kind == "histogram")


def test_a_cleared_gauge_is_gone_a_counter_cannot_be():
    own = m.MetricSet("p", "1")
    own.set(m.CHECKPOINT_AGE, 5, stage="market", asset_class="stocks")
    own.clear(m.CHECKPOINT_AGE)
    assert own.snapshot()["values"][m.CHECKPOINT_AGE.name] == {}
    with pytest.raises(TypeError, match="expected a gauge"):
        own.clear(m.BARS_LATE)


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
