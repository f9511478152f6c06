"""The feed against a real WebSocket server that follows a script."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from features.market.types import NS_PER_S, AssetClass, SlotTable
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.events import Delivery, EventKind, FatalFeedError, FeedEvent
from ray_apps.ingest.feed import Feed
from tests.support.eventually import eventually
from tests.support.ws_server import START_MS, Peer, Script, ScriptedServer, held_elsewhere, minute, second

pytestmark = pytest.mark.integration

FAST = FeedConfig(
    asset_class=AssetClass.STOCKS,
    url="ws://127.0.0.1:1/stocks",
    api_key="secret-key",
    hello_timeout_s=0.3,
    auth_timeout_s=0.3,
    ack_timeout_s=0.3,
    backoff_base_s=0.02,
    backoff_cap_s=0.05,
    cooldown_s=0.4,
    close_timeout_s=1.0,
    speed=float("inf"),
)


class Rig:
    """A feed with all that it handed on; `gate` holds deliveries back while it is closed."""

    def __init__(self, server: ScriptedServer, **changes: Any) -> None:
        in_session = changes.pop("in_session", None)
        self.server = server
        self.deliveries: list[Delivery] = []
        self.events: list[FeedEvent] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.feed = Feed(
            replace(FAST, **({"url": server.url} | changes)),
            self.deliver,
            SlotTable(AssetClass.STOCKS),
            self.events.append,
            in_session,
            random.Random(5),
        )

    async def deliver(self, delivery: Delivery) -> None:
        await self.gate.wait()
        self.deliveries.append(delivery)

    def minutes(self, bar_s: int = 60) -> list[int]:
        """Give which minutes (or seconds) of the session arrived, in order."""
        starts = [t for d in self.deliveries for b in d.batches if b.bar_s == bar_s for t in b.ts.tolist()]
        return [(t // 10**6 - START_MS) // (bar_s * 1000) for t in starts]

    def of(self, kind: EventKind) -> list[FeedEvent]:
        return [e for e in self.events if e.kind is kind]

    def gaps(self) -> list[tuple[str, float, float]]:
        """Give cause and span of each gap, in minutes of the session."""
        return [(e.message, in_minutes(e.from_ns), in_minutes(e.to_ns)) for e in self.of(EventKind.GAP)]


def in_minutes(ns: int) -> float:
    return (ns / 10**6 - START_MS) / 60_000


def play(script: Script, act: Callable[[Rig], Awaitable[None]], **changes: Any) -> Rig:
    """Run a feed against a script while `act` looks on; then stop it."""

    async def scene() -> Rig:
        async with ScriptedServer(script) as server:
            rig = Rig(server, **changes)
            run = asyncio.create_task(rig.feed.run())
            try:
                await act(rig)
                await asyncio.wait_for(rig.feed.stop(), 5)
                await run
            finally:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
            return rig

    return asyncio.run(asyncio.wait_for(scene(), 30))


def until(check: Callable[[Rig], object]) -> Callable[[Rig], Awaitable[None]]:
    """Give an act that waits for a condition."""

    async def act(rig: Rig) -> None:
        await eventually(lambda: check(rig))

    return act


def test_bars_flow_and_the_end_is_clean() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for k in range(5):
            await peer.send(minute(k), minute(k, "PEP"))

    rig = play(script, until(lambda r: len(r.minutes()) == 10))
    assert rig.minutes() == [k for k in range(5) for _ in range(2)]
    assert [e.kind for e in rig.events] == [EventKind.AUTHENTICATED, EventKind.SUBSCRIBED]
    assert rig.server.peers[0].requests[0] == {"action": "auth", "params": "secret-key"}
    assert rig.server.peers[0].close_code == 1000
    stats = rig.feed.stats()
    assert (stats.bars, stats.sessions, stats.reconnects, stats.errors) == (10, 1, 0, {})
    assert (stats.queue_frames, stats.queue_bars, stats.is_connected) == (0, 0, False)
    assert stats.newest_ns == rig.deliveries[-1].now_ns == (START_MS + 5 * 60_000) * 10**6
    assert all(d.recv_ns >= b.recv_ns > 0 for d in rig.deliveries for b in d.batches)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("auth_failed", "authentication failed"),
        ("auth_failed", "Your plan doesn't include websocket access. Visit https://massive.com/pricing to upgrade."),
        ("error", "You don't have access real-time data. If your plan only includes delayed data, ..."),
    ],
)
def test_a_refused_key_is_tried_once(status: str, message: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.status("connected")
        await peer.hear()
        await peer.status(status, message)
        peer.abort()

    async def scene() -> Rig:
        async with ScriptedServer(script) as server:
            rig = Rig(server)
            with pytest.raises(FatalFeedError, match=message[:20]):
                await asyncio.wait_for(rig.feed.run(), 5)
            await rig.feed.stop()  # already ended: returns at once
            return rig

    rig = asyncio.run(scene())
    assert len(rig.server.peers) == 1
    assert [e.kind for e in rig.events] == [EventKind.FATAL]
    assert "secret-key" not in repr(rig.events) + repr(FAST)


async def _clean(peer: Peer) -> None:
    await peer.close(1000)


async def _policy(peer: Peer) -> None:
    await peer.close(1008)


async def _abort(peer: Peer) -> None:
    peer.abort()


async def _slow(peer: Peer) -> None:
    await peer.status("slow_consumer", "too slow")


@pytest.mark.parametrize("end", [_clean, _policy, _abort, _slow])
def test_every_loss_reconnects_resubscribes_and_records_the_hole(end: Callable[[Peer], Awaitable[None]]) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        if peer.number == 0:
            await peer.send(minute(0), minute(1))
            await end(peer)
        else:
            # A correction of an old minute and a straggler of the last one close nothing: the new minute does.
            await peer.send(minute(0, c=50.75), minute(1, "PEP"))
            await peer.send(minute(5))

    rig = play(script, until(lambda r: 5 in r.minutes()), names=("KO", "PEP"))
    assert [p.subscribed for p in rig.server.peers] == [["AM.KO", "AM.PEP"]] * 2
    assert rig.gaps() == [("reconnect", 2.0, 5.0)]
    assert sorted(rig.minutes()) == [0, 0, 1, 1, 5]
    assert rig.minutes()[-1] == 5
    assert len(rig.of(EventKind.DISCONNECTED)) == 1
    stats = rig.feed.stats()
    assert (stats.sessions, stats.reconnects) == (2, 1)
    assert stats.blind_s > 0


def test_a_hole_stays_open_over_several_losses() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        if peer.number == 0:
            await peer.send(minute(0))
        if peer.number < 3:
            peer.abort()
        else:
            await peer.send(minute(9))

    rig = play(script, until(lambda r: 9 in r.minutes()))
    assert set(rig.gaps()) == {("reconnect", 1.0, 9.0)}
    assert rig.feed.stats().reconnects == 3


def test_a_restart_closes_the_hole_since_the_last_run() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(7))

    newest = (START_MS + 3 * 60_000) * 10**6
    rig = play(script, until(lambda r: r.minutes()), newest_ns=newest)
    assert rig.gaps() == [("restart", 3.0, 7.0)]


def test_losses_at_any_step_of_the_login_are_retried() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            return  # says nothing at all
        if peer.number == 1:
            peer.abort()
            return
        await peer.status("connected")
        await peer.hear()
        if peer.number == 2:
            return  # no verdict on the key
        if peer.number == 3:
            await peer.status("auth_timeout", "No authentication request received.")
            return
        await peer.status("auth_success")
        if peer.number == 4:
            peer.abort()  # between login and the first subscription
            return
        await peer.acknowledge()
        await peer.send(minute(0))

    rig = play(script, until(lambda r: r.minutes() == [0]))
    assert len(rig.server.peers) == 6
    assert rig.server.peers[5].subscribed == ["AM.*"]
    assert [e.kind for e in rig.events].count(EventKind.DISCONNECTED) == 5


def test_nobody_listening_is_retried_until_somebody_does() -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.greet()

        async with ScriptedServer(script) as server:
            rig = Rig(server, url="ws://127.0.0.1:1/stocks")
            run = asyncio.create_task(rig.feed.run())
            await eventually(lambda: len(rig.of(EventKind.DISCONNECTED)) >= 3)
            assert not rig.feed.stats().is_connected
            await rig.feed.stop()
            await run

    asyncio.run(scene())


def test_another_holder_of_the_key_means_a_long_wait() -> None:
    async def act(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        await eventually(lambda: rig.of(EventKind.COOLDOWN))
        began = loop.time()
        await eventually(lambda: 1 in rig.minutes())
        assert loop.time() - began > 0.3  # cooldown_s, less the poll

    rig = play(held_elsewhere, act)
    assert rig.feed.stats().cooldowns == 1
    assert "another instance is using this key" in rig.of(EventKind.COOLDOWN)[0].message


def test_silence_inside_a_session_reconnects() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(peer.number))

    rig = play(script, until(lambda r: 1 in r.minutes()), silence_s=0.3)
    assert "silent" in rig.of(EventKind.DISCONNECTED)[0].message


def test_silence_outside_a_session_is_fine_and_its_end_starts_the_count_anew() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))

    is_open = False
    asked: list[int] = []

    def in_session(now_ns: int) -> bool:
        asked.append(now_ns)
        return is_open

    async def act(rig: Rig) -> None:
        nonlocal is_open
        await eventually(lambda: len(asked) > 8)  # several times silence_s
        assert rig.feed.stats().reconnects == 0
        is_open, before = True, len(asked)
        await eventually(lambda: rig.feed.stats().reconnects == 1)
        assert len(asked) - before >= 4

    rig = play(script, act, silence_s=0.1, in_session=in_session)
    assert rig.feed.stats().reconnects >= 1
    assert asked[-1] == (START_MS + 60_000) * 10**6  # feed time


def test_garbage_is_counted_and_costs_only_itself() -> None:
    async def script(peer: Peer) -> None:
        await peer.status("connected")
        await peer.raw("not json")
        await peer.hear()
        await peer.raw('{"ev":"status","status":"auth_success"}')  # a bare object is no frame
        await peer.status("auth_success")
        await peer.acknowledge()
        await peer.raw("\x00\x01")
        await peer.raw('[{"ev":"AM"},{"ev":"ZZ"},7]')
        await peer.raw("[" + json.dumps(minute(0)) + ',{"ev":"AM","sym":"X","o":NaN}]')
        await peer.raw("x" * 2000)
        await peer.send(minute(1))

    rig = play(script, until(lambda r: r.minutes() == [0, 1]), max_frame_bytes=1000)
    assert rig.feed.stats().errors == {
        "malformed": 2,
        "missing_field": 1,
        "unknown_event": 1,
        "wrong_type": 1,
        "oversize": 1,
    }
    assert rig.feed.stats().reconnects == 0


def test_unanswered_subscriptions_are_reported_and_not_repeated() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.acknowledge("A.KO")
        await peer.status("error", "not authorized")
        await peer.send(minute(0))

    async def act(rig: Rig) -> None:
        await eventually(lambda: rig.of(EventKind.SUBSCRIBED))

    rig = play(script, act, bar_lengths=(60, 1), names=("KO",))
    assert rig.of(EventKind.SUBSCRIBED)[0].refused == ("A.KO",)
    assert rig.feed.stats().refused == ("A.KO",)
    assert len(rig.server.peers[0].requests) == 2
    assert rig.feed.stats().reconnects == 0


def test_large_sets_are_subscribed_in_chunks() -> None:
    names = tuple(f"S{k:04d}" for k in range(1_201))

    async def script(peer: Peer) -> None:
        await peer.log_in()
        for _ in range(3):
            await peer.acknowledge()

    rig = play(script, until(lambda r: r.of(EventKind.SUBSCRIBED)), names=names)
    assert rig.of(EventKind.SUBSCRIBED)[0].refused == ()
    assert rig.server.peers[0].subscribed == [f"AM.{n}" for n in names]
    assert all(len(r["params"].split(",")) <= 500 for r in rig.server.peers[0].requests[1:])


def test_a_burst_beyond_the_frame_queue_sheds_the_oldest_and_records_a_gap() -> None:
    is_stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))
        await is_stuck.wait()
        for k in range(1, 300):
            await peer.send(minute(k))

    async def act(rig: Rig) -> None:
        await eventually(lambda: rig.minutes() == [0])
        rig.gate.clear()  # nobody takes deliveries: bars fill, the parser waits, frames fill
        is_stuck.set()
        await eventually(lambda: rig.feed.stats().shed_frames > 200)
        assert rig.feed.stats().queue_frames <= 20
        assert rig.feed.stats().is_connected  # the reader never blocked
        rig.gate.set()
        await eventually(lambda: 299 in rig.minutes())

    rig = play(script, act, queue_frames=20, queue_bars=10, flush_bars=5)
    got, stats = rig.minutes(), rig.feed.stats()
    assert got == sorted(got)
    assert len(got) + stats.shed_frames == 300
    assert stats.shed_frame_bars == stats.shed_frames  # of one bar each
    # The gaps say exactly which minutes are missing, and how many frames that were.
    missing = [m for cause, a, b in rig.gaps() for m in range(int(a), int(b)) if cause == "shed_frames"]
    assert sorted(missing) == sorted(set(range(300)) - set(got))
    assert sum(e.count for e in rig.of(EventKind.GAP)) == stats.shed_frames
    assert stats.reconnects == 0


def test_frames_are_bounded_by_bytes_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for k in range(50):
            await peer.send(minute(k, pad="x" * 10_000))

    async def act(rig: Rig) -> None:
        rig.gate.clear()
        await eventually(lambda: rig.feed.stats().shed_frames > 30)
        assert rig.feed.stats().queue_bytes <= 100_000
        rig.gate.set()
        await eventually(lambda: 49 in rig.minutes())

    play(script, act, queue_bytes=100_000, queue_bars=2, flush_bars=1)


def test_second_bars_are_shed_before_minutes() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for k in range(120):
            await peer.send(second(k))
        for k in range(8):
            await peer.send(minute(k))

    async def act(rig: Rig) -> None:
        rig.gate.clear()
        await eventually(lambda: rig.feed.stats().shed_bars > 100)
        await eventually(lambda: rig.feed.stats().frames >= 129)
        rig.gate.set()
        await eventually(lambda: 7 in rig.minutes())

    rig = play(script, act, bar_lengths=(60, 1), queue_bars=10, flush_bars=2)
    assert rig.minutes() == list(range(8))
    stats = rig.feed.stats()
    assert len(rig.minutes(1)) + stats.shed_bars == 120
    (gap,) = [e for e in rig.of(EventKind.GAP) if e.message == "shed_bars"]
    assert gap.count == stats.shed_bars
    assert gap.to_ns - gap.from_ns >= stats.shed_bars * NS_PER_S
    assert stats.shed_frames == 0


def test_a_late_shard_shows_as_lag() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))

    async def act(rig: Rig) -> None:
        rig.gate.clear()
        await eventually(lambda: rig.feed.stats().newest_ns)
        began = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() - began > 0.2)
        rig.gate.set()
        await eventually(lambda: rig.minutes())

    rig = play(script, act)
    assert rig.feed.stats().lag_s > 0.15


def test_what_deliver_raises_ends_the_feed() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))

    async def scene() -> None:
        async with ScriptedServer(script) as server:

            async def broken(delivery: Delivery) -> None:
                raise RuntimeError("the shard is gone")

            config = replace(FAST, url=server.url)
            feed = Feed(config, broken, SlotTable(AssetClass.STOCKS), lambda e: None)
            with pytest.raises(RuntimeError, match="the shard is gone"):
                await asyncio.wait_for(feed.run(), 5)
            await eventually(lambda: server.peers[0].close_code is not None)

    asyncio.run(scene())


def test_a_server_that_will_not_close_is_left_after_two_seconds() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))
        peer.stop_reading()

    async def act(rig: Rig) -> None:
        await eventually(lambda: rig.minutes())
        began = asyncio.get_running_loop().time()
        await rig.feed.stop()
        assert asyncio.get_running_loop().time() - began < 1.5

    play(script, act, close_timeout_s=0.5)


def test_a_tape_wound_back_sets_the_clock_anew() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(500))
        if peer.number == 0:
            peer.abort()
            return
        for k in range(8):
            await peer.send(minute(k))

    rig = play(script, until(lambda r: 7 in r.minutes()), speed=600.0)
    assert len(rig.of(EventKind.CLOCK_RESET)) == 1
    assert rig.minutes()[-8:] == list(range(8))
    assert rig.feed.stats().errors == {}
    assert rig.feed.stats().newest_ns == (START_MS + 8 * 60_000) * 10**6


def test_stop_hands_on_what_was_received() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(minute(0))

    async def act(rig: Rig) -> None:
        await eventually(lambda: rig.feed.stats().newest_ns)

    rig = play(script, act, flush_s=0.4)
    assert rig.minutes() == [0]
