"""The benches of the Engine run, and what they say holds together."""

import json

import pytest

from ray_apps.bench import memory, replay
from ray_apps.cli import run

pytestmark = pytest.mark.thorough


def test_replay_gives_figures_wide_and_narrow() -> None:
    found = replay.run(wide=(90, 20), narrow=(200, 1), rounds=1)
    assert (found["wide_symbols"], found["narrow_symbols"]) == (20, 1)
    for name in ("wide", "narrow"):
        assert found[f"{name}_bars_per_s"] > 0
        assert found[f"{name}_ratio"] == pytest.approx(
            found[f"{name}_kernels_bars_per_s"] / found[f"{name}_bars_per_s"]
        )


def test_the_market_is_the_same_each_time_and_has_holes() -> None:
    one, two = replay.market(50, 4), replay.market(50, 4)
    assert repr(one) == repr(two)
    assert 0 < (one.close != one.close).mean() < 0.3
    assert ((one.high >= one.close) | (one.close != one.close)).all()


def test_a_series_costs_less_than_25_kb() -> None:
    small, large = memory.run(n=500), memory.run(n=2_000, symbols=77)
    assert 1_000 < large["bytes_per_series"] < 25_000
    assert large["bytes_per_series"] == pytest.approx(small["bytes_per_series"], rel=0.02)
    assert large["bytes_per_series"] == large["symbols_bytes"] + large["market_bytes"]
    assert 1_000 < large["second_series_bytes"] < 25_000
    assert large["mb_of_77"] == pytest.approx(77 * large["bytes_per_series"] / 1e6)


def test_the_command_prints_a_json_line(capsys) -> None:
    assert run(["bench", "memory", "--symbols", "50", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "memory"
    assert told["mb_of_50"] > 0
