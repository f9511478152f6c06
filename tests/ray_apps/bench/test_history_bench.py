"""The bench of the past brings what it serves and compares like with like."""

import pytest

from ray_apps.bench.history import backfill_rate


@pytest.mark.integration
def test_it_brings_every_bar_and_pairs_its_copies():
    found = backfill_rate(symbols=2, bars=1_500)
    assert found["bars"] == 3_000
    assert min(found.values()) > 0
