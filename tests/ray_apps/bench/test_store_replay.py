"""The bench of a replay of the database runs, and what it says holds together."""

import pytest

from ray_apps.bench.store_replay import store_replay_rate

pytestmark = pytest.mark.integration


def test_it_gives_a_rate_and_where_the_time_went() -> None:
    found = store_replay_rate(symbols=10, days=2, rounds=1)
    assert 0.85 * 7_800 < found["bars"] < 0.95 * 7_800
    assert found["bars_per_s"] > 0
    assert found["bars_per_cpu_s"] > 0
    assert found["read_share"] + found["fold_share"] == pytest.approx(1.0)
    assert 0 < found["read_share"] < 1
