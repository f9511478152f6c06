"""A frame against the clock waits until it is clear who is wrong; nothing of a stream that stood still is lost."""

import json

from features.market.polygon import Limits, parse
from features.market.types import NS_PER_S, AssetClass, SlotTable
from ray_apps.ingest.clock import FeedClock
from ray_apps.ingest.doubts import RESYNC_FRAMES, Doubts, Read
from ray_apps.ingest.queue import Frame

START_MS = 1_789_738_200_000


def frame(minute: int, n: int = 3) -> Frame:
    bars = [
        {"ev": "AM", "sym": f"S{i}", "v": 9, "o": 2, "c": 2, "h": 2, "l": 2, "s": START_MS + minute * 60_000}
        for i in range(n)
    ]
    for bar in bars:
        bar["e"] = bar["s"] + 60_000  # type: ignore[operator]
    return Frame(json.dumps(bars).encode(), 0, 0, 1, "stream")


def doubts(now: list[int] | None = None) -> tuple[Doubts, FeedClock]:
    hands = now or [0]
    clock = FeedClock(1.0, monotonic=lambda: hands[0])
    table = SlotTable(AssetClass.STOCKS)
    return Doubts(clock, lambda f, now_ns: parse(f.data, table, now_ns, f.recv_ns, Limits())), clock


def minutes(found: list[Read]) -> list[int]:
    starts = {t for r in found for b in r.parsed.batches for t in (b.ts // 10**6).tolist()}
    return sorted((t - START_MS) // 60_000 for t in starts)


def test_minutes_that_waited_while_the_process_stood_still_are_all_used() -> None:
    held, clock = doubts()
    told = [minutes(held.take(frame(m))) for m in range(1 + RESYNC_FRAMES)]
    assert told == [[0], *[[]] * (RESYNC_FRAMES - 1), list(range(1, 1 + RESYNC_FRAMES))]
    assert clock.now_ns() // 10**6 == START_MS + (1 + RESYNC_FRAMES) * 60_000


def test_a_poisoned_frame_waits_for_the_next_good_one_and_is_counted() -> None:
    now = [1]
    held, clock = doubts(now)
    assert minutes(held.take(frame(0))) == [0]
    assert held.take(frame(10**6)) == []
    assert minutes(held.take(frame(0))) == [0]  # seen before: it may be the clock that is late
    now[0] += 60 * NS_PER_S
    poisoned, good = held.take(frame(1))
    assert (poisoned.parsed.errors["future"], minutes([good])) == (3, [1])
    assert clock.resets == 0


def test_a_frame_without_bars_settles_no_doubt_and_waits_for_none() -> None:
    held, _ = doubts()
    held.take(frame(0))
    assert held.take(frame(9)) == []
    status = Frame(b'[{"ev": "status", "status": "connected", "message": ""}]', 0, 0, 1, "stream")
    assert [len(r.parsed.statuses) for r in held.take(status)] == [1]
    assert len(held.settle()) == 1


def test_a_tape_wound_back_is_followed() -> None:
    held, clock = doubts()
    held.take(frame(500))
    found = [r for m in range(RESYNC_FRAMES) for r in held.take(frame(m))]
    assert minutes(found) == list(range(RESYNC_FRAMES))
    assert clock.now_ns() // 10**6 == START_MS + RESYNC_FRAMES * 60_000
