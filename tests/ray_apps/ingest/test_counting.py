"""What a feed's totals become as metrics: silence, the newest window, increases from nought."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ray_apps import metrics
from ray_apps.ingest.counting import FEW, FeedCounts
from ray_apps.ingest.events import FeedStats


@dataclass
class Feed:
    """A feed as its counts see it."""

    status: str = "live"
    is_in_session: bool = True
    is_in_regular_hours: bool = True
    now: FeedStats = field(default_factory=FeedStats)
    watch: Any = field(default_factory=lambda: watch_of())
    n_bursts: int = 0

    def stats(self) -> FeedStats:
        return self.now

    def bursts(self, after: int) -> list[float]:
        return [0.2] * (self.n_bursts - after)


def watch_of(completeness: float = float("nan"), breadth: float = float("nan"), n_series: int = 1_000) -> Any:
    newest_ts = np.append(np.ones(n_series, np.int64), 0)
    stream = SimpleNamespace(n_late=0, n_revised=0, n_older=0, newest_ts=newest_ts)
    router = SimpleNamespace(n_bars=0)
    return SimpleNamespace(stream=stream, router=router, completeness=completeness, breadth=breadth)


class Place:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.feed = Feed()
        self.counts = FeedCounts("stocks", 60, "1", lambda: self.now_s)

    def value(self, metric: metrics.Declared, *labels: str) -> float | None:
        return self.counts.snapshot(self.feed)["values"].get(metric.name, {}).get(labels or ("stocks",))


def test_silence_grows_inside_a_session_until_a_bar_comes() -> None:
    place = Place()
    place.now_s = 50.0
    assert place.value(metrics.SILENT) == 50.0
    place.feed.now.bars = 3
    assert place.value(metrics.SILENT) == 0.0
    place.now_s = 80.0
    assert place.value(metrics.SILENT) == 30.0
    place.feed.is_in_session = False
    assert place.value(metrics.SILENT) == 0.0
    place.feed.is_in_session = True
    place.now_s = 90.0
    assert place.value(metrics.SILENT) == 10.0


@pytest.mark.parametrize(("n_series", "silent_s"), [(FEW, 50.0), (FEW - 1, 0.0)])
def test_few_series_are_due_in_regular_hours_only(n_series: int, silent_s: float) -> None:
    place = Place()
    place.feed.watch, place.feed.is_in_regular_hours, place.now_s = watch_of(n_series=n_series), False, 50.0
    assert place.value(metrics.SILENT) == silent_s


def test_the_usual_wait_for_a_bar_is_learned() -> None:
    place = Place()
    assert place.value(metrics.BAR_INTERVAL) == 0.6
    place.feed.watch = watch_of(n_series=1)
    assert place.value(metrics.BAR_INTERVAL) == 600.0
    for _ in range(200):
        place.now_s += 60.0
        place.feed.now.bars += 1
        place.value(metrics.SILENT)
    usual = place.value(metrics.BAR_INTERVAL)
    assert usual == pytest.approx(69, abs=1)
    place.now_s += 5_000.0
    assert place.value(metrics.BAR_INTERVAL) == usual  # a silence that lasts is not usual
    place.feed.now.bars += 10_000  # a backlog
    assert place.value(metrics.BAR_INTERVAL) == pytest.approx(83, abs=3)


def test_totals_are_counted_from_nought() -> None:
    place = Place()
    assert place.value(metrics.BLIND) == 0.0
    assert place.value(metrics.BARS_DROPPED, "stocks", "shed_bars") == 0.0
    place.feed.now.shed_bars = 4
    assert place.value(metrics.BARS_DROPPED, "stocks", "shed_bars") == 4.0


def test_frames_lost_are_told_in_bars() -> None:
    place = Place()
    place.feed.now.shed_frames, place.feed.now.shed_frame_bars = 7, 3_010
    assert place.value(metrics.BARS_DROPPED, "stocks", "shed_frames") == 3_010.0


def test_the_newest_window_is_told_of_once_there_is_one() -> None:
    place = Place()
    assert place.value(metrics.COMPLETENESS) is None
    place.feed.watch = watch_of(0.98, 0.1)
    assert (place.value(metrics.COMPLETENESS), place.value(metrics.BREADTH)) == (0.98, 0.1)


def test_no_bar_is_due_while_the_state_is_warming() -> None:
    place = Place()
    place.feed.status, place.feed.watch, place.now_s = "warming", None, 500.0
    assert place.value(metrics.SILENT) == 0.0


def test_a_key_refused_before_the_state_was_there_is_silence() -> None:
    place = Place()
    place.feed.status, place.feed.watch = "warming", None
    assert place.value(metrics.SILENT) == 0.0
    place.feed.status, place.now_s = "refused", 500.0
    assert place.value(metrics.SILENT) == 500.0


@pytest.mark.parametrize(("status", "in_session", "at_night"), [
    ("live", 0.0, 0.0), ("spare", 0.0, 0.0), ("warming", 1.0, 0.0), ("reconnecting", 1.0, 0.0),
    ("not storing", 1.0, 0.0), ("failed", 1.0, 0.0), ("refused", 1.0, 1.0),
])  # fmt: skip
def test_a_feed_is_missed_where_bars_should_come(status: str, in_session: float, at_night: float) -> None:
    place = Place()
    place.feed.status = status
    assert place.value(metrics.NOT_LIVE) == in_session
    place.feed.is_in_session = False
    assert place.value(metrics.NOT_LIVE) == at_night
