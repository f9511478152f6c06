"""The figures of the live benches come from what the actors say, without bias towards the fast."""

import pytest

from features.market.types import NS_PER_S
from ray_apps.bench.burst import timed
from ray_apps.bench.sustained import IDLE_BARS, Pace, Seen
from ray_apps.ingest.receipts import Receipt

MS = NS_PER_S // 1000


def receipt(stored: int, received: int = 0, closed: int = 0, n_bars: int = 0) -> Receipt:
    """Give a receipt with times in ms."""
    end = 60 * NS_PER_S if closed else 0
    return Receipt(stored * MS, received * MS, end, closed * MS, 0, n_bars, 0)


def test_bars_that_come_after_the_close_count() -> None:
    burst = timed([receipt(150, 90, 95, 10_000), receipt(260, 100, n_bars=1_000)], sent_ns=80 * MS)
    assert burst.bars == pytest.approx(0.160)
    assert burst.close == pytest.approx(0.055)
    assert burst.whole == pytest.approx(0.160)
    assert burst.sent == pytest.approx(0.180)
    assert burst.figure == burst.bars


def test_waiting_for_a_quiet_window_is_in_the_whole_but_not_in_the_figure() -> None:
    burst = timed([receipt(200, 100, n_bars=11_000), receipt(300, closed=255)], sent_ns=100 * MS)
    assert burst.figure == pytest.approx(0.100)
    assert burst.whole == pytest.approx(0.200)


def test_memory_growth_is_told_for_runs_that_are_long_enough() -> None:
    short = Seen(memory=[(float(t), 100) for t in range(0, 360, 5)])
    assert short.growth() is None
    long = Seen(memory=[(float(t), 100 if t < 400 else 103) for t in range(0, 601, 5)])
    assert long.growth() == pytest.approx(0.03)


def test_rates_are_of_whole_ten_seconds() -> None:
    seen = Seen(stored=[(float(t), 30_000 * t) for t in range(35)])
    assert seen.rates() == [30_000.0] * 3


def test_pace_stays_where_little_waits_and_slows_when_the_sender_falls_behind() -> None:
    pace = Pace(10.0)
    assert pace.adjust(IDLE_BARS + 1, 0.0) == 10.0
    assert pace.adjust(0, 2.0) < 10.0
    assert pace.n_slower == 1
