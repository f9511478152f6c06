"""Feed time runs with the source, never back, and heals when it was set wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import I64, NS_PER_S
from ray_apps.ingest.clock import FeedClock

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
    assert not clock.is_contradicted(9, 0, 0)


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


def test_set_anew_by_the_median_of_the_newest_frame() -> None:
    clock = Hands().clock()
    clock.observe(ends(10**6))
    clock.set_anew([ends(0, 1, 2), ends(), ends(59, 60, 10**7)])
    assert (clock.now_ns(), clock.resets) == (T0 + 60 * NS_PER_S, 1)


@pytest.mark.parametrize(
    ("future", "too_old", "accepted", "contradicts"),
    [(3, 0, 1, True), (1, 0, 100, False), (0, 5, 5, False), (0, 5, 0, True), (0, 0, 0, False)],
)
def test_what_speaks_against_the_clock(future: int, too_old: int, accepted: int, contradicts: bool) -> None:
    clock = Hands().clock()
    assert not clock.is_contradicted(future, too_old, accepted)  # it knows no time yet
    clock.observe(ends(0))
    assert clock.is_contradicted(future, too_old, accepted) is contradicts


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": float("nan")}, {"speed": 2.0, "is_live": True}])
def test_impossible_sources_are_refused(options: dict[str, float | bool]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Hands().clock(**options)
