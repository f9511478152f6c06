"""Both queues stay within their bounds and say exactly what they shed."""

import asyncio
import json
import random
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.bars import BarColumns
from features.market.pushed import encode_pushed
from features.market.types import NS_PER_S, AssetClass, BarBatch, Hole
from ray_apps.ingest.backoff import full_jitter
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.holes import Holes
from ray_apps.ingest.queue import BarQueue, Frame, FrameQueue
from ray_apps.ingest.session import chunks


def frame(number: int, size: int = 10) -> Frame:
    return Frame(bytes(size), number, number, 1)


def batch(n: int, bar_s: int = 60, start_s: int = 0) -> BarBatch:
    """Give n bars of as many slots, all of the window that starts at `start_s`."""
    ts = np.full(n, start_s * NS_PER_S, np.int64)
    ones = np.ones(n)
    end = ts + bar_s * NS_PER_S
    return BarBatch(np.arange(n, dtype=np.int32), ts, end, ones, ones, ones, ones, ones, ones, ones, bar_s=bar_s)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 10), st.integers(1, 200))
def test_frames_are_bounded_and_the_newest_stay(sizes: list[int], max_frames: int, max_bytes: int) -> None:
    async def scene() -> None:
        queue = FrameQueue(max_frames, max_bytes)
        for number, size in enumerate(sizes):
            queue.put(frame(number, size))
            assert len(queue) <= max_frames
            assert queue.bytes <= max_bytes or len(queue) == 1
        left = len(queue)
        got, lost = [], 0
        for _ in range(left):
            item, before = await queue.get()
            got.append(item.recv_ns)
            lost += before
        assert got == list(range(len(sizes)))[len(sizes) - left :]
        assert lost == queue.shed == len(sizes) - left
        assert queue.bytes == 0

    asyncio.run(scene())


def test_frames_that_go_are_counted_by_their_bars() -> None:
    now_ns = 1_789_738_200 * NS_PER_S
    ones = np.ones(430)
    columns = BarColumns(np.full(430, now_ns), ones, ones, ones, ones, ones, ones, ones)
    body = encode_pushed(AssetClass.STOCKS, ["AAPL"] * 430, columns, 60)
    stream = json.dumps([{"ev": "AM", "sym": f"S{i}"} for i in range(7)]).encode()
    queue = FrameQueue(1, 10**6)
    for data, form in ((body, "rows"), (stream, "stream"), (stream, "stream")):
        queue.put(Frame(data, 0, 0, 1, form))
    assert (queue.shed, queue.shed_bars) == (2, 430 + 7)


def test_drained_waits_until_the_last_frame_is_done_with() -> None:
    async def scene() -> None:
        queue = FrameQueue(5, 100)
        queue.put(frame(0))
        await queue.get()
        assert not await queue.drained(0.01)  # got, but not asked for the next
        waiter = asyncio.create_task(queue.get())
        assert await queue.drained(1)
        queue.put(frame(1))
        await waiter
        assert queue.oldest is None

    asyncio.run(scene())


async def sizes(queue: BarQueue, flush_s: float, flush_bars: int) -> list[int]:
    taken = await queue.take(flush_s, flush_bars)
    return [len(item[1]) for item in taken if not isinstance(item, Hole)]


def test_seconds_go_first_and_minutes_wait() -> None:
    async def scene() -> None:
        queue = BarQueue(10)
        await queue.put([batch(4, 60), batch(3, 1, 5), batch(3, 1, 6)])
        await queue.put([batch(4, 60)])  # both batches of seconds go for it
        assert (queue.bars, queue.shed) == (8, 6)
        loss = queue.losses()
        assert loss is not None
        assert (loss.count, loss.bar_s, loss.from_ns, loss.to_ns) == (6, 1, 5 * NS_PER_S, 7 * NS_PER_S)
        assert queue.losses() is None
        await queue.put([batch(3, 1, 9)])  # no room and none older: it goes itself
        assert (queue.bars, queue.shed) == (8, 9)
        waiting = asyncio.create_task(queue.put([batch(5, 60)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert await sizes(queue, 0.01, 4) == [4]
        await waiting
        assert queue.bars == 9

    asyncio.run(scene())


def test_a_batch_larger_than_the_bound_passes_alone() -> None:
    async def scene() -> None:
        queue = BarQueue(10)
        await queue.put([batch(50)])
        assert await sizes(queue, 0.01, 4) == [50]

    asyncio.run(scene())


def test_take_fills_up_until_it_is_due() -> None:
    async def scene() -> None:
        queue = BarQueue(100)

        async def later() -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                await queue.put([batch(2)])

        task = asyncio.create_task(later())
        assert sum(await sizes(queue, 5, 6)) == 6  # full before the time is up
        await task
        await queue.put([batch(1)])
        assert sum(await sizes(queue, 0.01, 6)) == 1  # due before it is full

    asyncio.run(scene())


def test_backoff_doubles_its_bound_up_to_the_cap() -> None:
    bounds = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    draws = [list(islice(full_jitter(random.Random(seed)), 9)) for seed in range(300)]
    for waits, bound in zip(zip(*draws, strict=True), bounds, strict=True):
        assert 0.95 * bound < max(waits) <= bound
        assert min(waits) < 0.05 * bound


@given(st.lists(st.text("ABC.", min_size=1, max_size=9), max_size=50), st.integers(1, 9), st.integers(1, 40))
def test_chunks_keep_order_and_bounds(items: list[str], max_items: int, max_bytes: int) -> None:
    found = list(chunks(items, max_items, max_bytes))
    assert [i for c in found for i in c.split(",")] == items
    assert all(c.count(",") < max_items and (len(c) <= max_bytes or "," not in c) for c in found)


def test_a_hole_ends_at_the_first_new_window() -> None:
    holes = Holes()
    holes.lose("reconnect")  # before the first bar: nothing known to miss
    assert holes.see([batch(2, 60, 0)]) == []
    holes.lose("reconnect")
    assert holes.see([batch(2, 60, 0)]) == []  # a correction
    holes.lose("shed_frames", 4)
    minute = 60 * NS_PER_S
    expected = [Hole("reconnect", minute, 5 * minute), Hole("shed_frames", minute, 5 * minute, 4)]
    assert holes.see([batch(1, 60, 300), batch(1, 60, 360)]) == expected
    assert holes.newest_ns == 7 * minute
    assert holes.see([batch(1, 60, 420)]) == []


def test_a_loss_within_a_minute_is_a_hole_without_length() -> None:
    holes = Holes(60 * NS_PER_S)
    assert holes.see([batch(1, 60, 60)]) == [Hole("restart", 60 * NS_PER_S, 60 * NS_PER_S)]
    # A window that began before the newest end but ended after it (a minute after seconds) starts no earlier.
    holes = Holes(90 * NS_PER_S)
    assert holes.see([batch(1, 60, 60)]) == [Hole("restart", 90 * NS_PER_S, 90 * NS_PER_S)]


def test_frames_lost_before_the_first_bar_are_still_told() -> None:
    holes = Holes()
    holes.lose("shed_frames", 3)
    assert holes.see([batch(1, 60, 60)]) == [Hole("shed_frames", 60 * NS_PER_S, 60 * NS_PER_S, 3)]
    holes.lose("reconnect")
    holes.forget()
    assert holes.see([batch(1, 60, 0)]) == []


def test_a_config_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a ws://, wss://, http:// or https:// address, was 'ftp://x'"):
        FeedConfig(AssetClass.STOCKS, "ftp://x", "k")
    with pytest.raises(ValueError, match="expected at least one bar length"):
        FeedConfig(AssetClass.STOCKS, "ws://x", "k", bar_lengths=())
    with pytest.raises(ValueError, match="expected a symbol of crypto"):
        FeedConfig(AssetClass.CRYPTO, "ws://x", "k", names=("BTCUSD",))
    assert "hidden" not in repr(FeedConfig(AssetClass.STOCKS, "ws://x", "hidden"))
