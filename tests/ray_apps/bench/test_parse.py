"""The parse bench runs, and its frames are what the venue sends."""

import json

import pytest

from ray_apps.bench.parse import frames, run


def test_figures_come_out() -> None:
    found = run(n=300, rounds=9)
    assert found["bars"] == 300
    assert found["ratio"] == pytest.approx(found["parse_ms"] / found["decode_ms"], rel=1.0)


def test_frames_split_the_burst_and_repeat_with_the_seed() -> None:
    burst = frames(2_500, frame_bars=1_000)
    assert [len(json.loads(f)) for f in burst] == [1_000, 1_000, 500]
    assert all(len(f) < 256 * 2**10 for f in burst)
    assert burst == frames(2_500, frame_bars=1_000)
