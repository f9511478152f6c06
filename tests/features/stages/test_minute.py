"""When a window counts as complete."""

import numpy as np

from features.stages.minute import LONGEST_S, QUIET_S, Completeness

MINUTE = 60_000_000_000
ALL = np.arange(100, dtype=np.int32)


def learnt(windows: int = 12, on_time: int = 100) -> Completeness:
    """Give a watch that saw `windows`; of each the first `on_time` series came before it closed."""
    minute = Completeness()
    for w in range(1, windows + 1):
        minute.arrive(ALL[:on_time], w * MINUTE, 0.0)
        minute.close()
        minute.arrive(ALL[on_time:], w * MINUTE, 0.0)
    return minute


def test_a_window_closes_when_the_usual_came() -> None:
    minute = learnt()
    minute.arrive(ALL[:98], 13 * MINUTE, 0.0)
    assert not minute.is_due(0.0)
    minute.arrive(ALL[98:99], 13 * MINUTE, 0.0)
    assert minute.is_due(0.0)


def test_what_is_received_already_is_waited_for_but_not_for_ever() -> None:
    minute = learnt()
    minute.arrive(ALL, 13 * MINUTE, 0.0)
    assert not minute.is_due(2 * QUIET_S, has_more=True)
    assert minute.is_due(LONGEST_S, has_more=True)


def test_a_quiet_window_closes() -> None:
    minute = learnt()
    minute.arrive(ALL[:10], 13 * MINUTE, 0.0)
    assert not minute.is_due(0.9 * QUIET_S)
    assert minute.is_due(QUIET_S)


def test_who_comes_just_too_late_is_waited_for_in_the_next_window() -> None:
    minute = learnt(on_time=40)
    minute.arrive(ALL[:40], 13 * MINUTE, 0.0)
    assert not minute.is_due(0.0)
    minute.arrive(ALL[40:], 13 * MINUTE, 0.0)
    assert minute.is_due(0.0)
