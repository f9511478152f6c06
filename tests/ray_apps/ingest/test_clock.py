"""Feed time runs with the source, never back, and heals when it was set wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import I64, NS_PER_S
from ray_apps.ingest.clock import RESYNC_FRAMES, FeedClock

T0 = 1_789_738_260 * NS_PER_S


class Hands:
    """The two clocks, turned by hand, ns."""

    def __init__(self) -> None:
        self.monotonic_ns = 5
        self.wall_ns = T0

    def clock(self, **options: float | bool) -> FeedClock:
        return FeedClock(**options, monotonic=lambda: self.monotonic_ns, wall=lambda: self.wall_ns)  # type: ignore[arg-type]


def ends(*seconds: float) -> I64:
    return np.array([T0 + int(s * NS_PER_S) for s in seconds], np.int64)


def test_unknown_before_the_first_bar() -> None:
    hands = Hands()
    clock = hands.clock(delay_s=900)
    assert clock.now_ns() == 0
    assert clock.now_or_wall_ns() == T0 - 900 * NS_PER_S
    clock.observe(ends())
    assert clock.now_ns() == 0


@pytest.mark.parametrize("speed", [1.0, 60.0, 0.5])
def test_runs_at_the_sources_speed(speed: float) -> None:
    hands = Hands()
    clock = hands.clock(speed=speed)
    clock.observe(ends(0))
    hands.monotonic_ns += 10 * NS_PER_S
    assert clock.now_ns() == T0 + int(10 * NS_PER_S * speed)


def test_a_tape_as_fast_as_its_reader_stands_between_bars() -> None:
    hands = Hands()
    clock = hands.clock(speed=float("inf"))
    clock.observe(ends(0))
    hands.monotonic_ns += 10 * NS_PER_S
    assert clock.now_ns() == T0


def test_a_live_source_has_the_wall_clock_less_its_delay() -> None:
    hands = Hands()
    clock = hands.clock(delay_s=900, is_live=True)
    clock.observe(ends(10**6))
    assert clock.now_ns() == T0 - 900 * NS_PER_S
    assert not any(clock.contradict(9, 0, 0) for _ in range(20))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(-500, 500)), min_size=1))
def test_never_backwards_and_never_before_a_bar(steps: list[tuple[int, int]]) -> None:
    hands = Hands()
    clock = hands.clock()
    last = 0
    for wait_s, end_s in steps:
        hands.monotonic_ns += wait_s * NS_PER_S
        clock.observe(ends(end_s))
        assert clock.now_ns() >= max(last, T0 + end_s * NS_PER_S)
        last = clock.now_ns()


def test_the_first_frame_is_judged_by_its_median() -> None:
    clock = Hands().clock()
    clock.observe(ends(-600, 0, 0, 0, 10**7))
    assert clock.now_ns() == T0


def test_a_clock_set_by_an_old_correction_heals() -> None:
    clock = Hands().clock()
    clock.observe(ends(-600))
    told = [clock.contradict(3, 0, 1) for _ in range(RESYNC_FRAMES)]
    assert told == [False] * (RESYNC_FRAMES - 1) + [True]
    assert (clock.now_ns(), clock.resets) == (0, 1)


def test_one_poisoned_bar_among_good_frames_changes_nothing() -> None:
    hands = Hands()
    clock = hands.clock()
    clock.observe(ends(0))
    for minute in range(1, 50):
        hands.monotonic_ns += 60 * NS_PER_S
        assert not clock.contradict(1, 0, 100)
        clock.observe(ends(60 * minute + 1))
    assert clock.resets == 0


def test_late_bars_beside_good_ones_are_no_contradiction() -> None:
    clock = Hands().clock()
    clock.observe(ends(0))
    assert not any(clock.contradict(0, 5, 5) for _ in range(100))
    assert not any(clock.contradict(0, 0, 0) for _ in range(100))


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": float("nan")}, {"speed": 2.0, "is_live": True}])
def test_impossible_sources_are_refused(options: dict[str, float | bool]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Hands().clock(**options)
