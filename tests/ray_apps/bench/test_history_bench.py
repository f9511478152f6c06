"""The bench of the past brings what it serves and compares like with like."""

import pytest

from ray_apps.bench.history import backfill_rate, import_rate


@pytest.mark.integration
def test_it_brings_every_bar_and_pairs_its_copies():
    found = backfill_rate(symbols=2, bars=1_500)
    assert found["bars"] == 3_000
    assert min(found.values()) > 0


@pytest.mark.integration
def test_it_imports_every_bar_and_copies_as_many():
    found = import_rate(symbols=40, minutes=50, files=1)
    assert found["bars"] == 2_000
    assert found["of_copy"] == pytest.approx(found["bars_per_s"] / found["copy_bars_per_s"])
    assert min(found.values()) > 0
