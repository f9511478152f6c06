import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from features.market.polygon import parse
from features.market.types import AssetClass, SlotTable
from tests.ray_apps.simulator.client import START, Running, Stream
from tests.ray_apps.simulator.test_session import ending, play

pytestmark = pytest.mark.integration


async def truth(sim: Running, bar: dict[str, Any]) -> dict[str, Any]:
    """Give REST's bar of the same window."""
    ticker = "X:" + bar["pair"].replace("-", "")
    answer = await sim.get(f"/v2/aggs/ticker/{ticker}/range/1/minute/{bar['s']}/{bar['s']}")
    return answer.json()["results"][0]


@pytest.mark.parametrize(
    ("mode", "code"), [("abort", None), ("1000", 1000), ("1001", 1001), ("1008", 1008), ("1011", 1011)]
)
def test_connections_drop_as_told(mode: str, code: int | None) -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            await stream.bars(1)
            assert (await sim.admin("drop", mode=mode, asset="stocks"))["dropped"] == 0
            assert (await sim.admin("drop", mode=mode))["dropped"] == 1
            assert (await ending(stream))[0] == code

    play(test)


@pytest.mark.parametrize("stage", ["connected", "auth", "before_first_sub_ack", "data"])
def test_connections_drop_at_a_stage(stage: str) -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as stream:
            if stage != "connected":
                await stream.enter()
            if stage in ("before_first_sub_ack", "data"):
                await stream.ask("subscribe", "XA.*")
            code, before = await ending(stream)
            assert code == 1011
            kinds = Counter(event["ev"] if event["ev"] != "status" else event["status"] for event in before)
            assert bool(kinds["XA"]) == (stage == "data")
            assert bool(kinds["connected"]) == (stage == "connected")

    play(test, faults={"drop_after": stage, "drop_mode": "1011"})


def test_connections_drop_every_so_often() -> None:
    async def test(sim: Running) -> None:
        for _ in range(2):
            async with sim.subscribed() as stream:
                assert (await ending(stream))[0] == 1001

    play(test, faults={"drop_every_s": 0.2, "drop_mode": "1001"}, speed=1.0)


def test_connections_drop_when_a_time_has_come() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            code, before = await ending(stream)
            assert code == 1011
            newest = max(event["e"] for event in before if event["ev"] == "XA")
            assert abs(newest - at) < 240_000
        # Once is enough.
        async with sim.subscribed() as stream:
            await stream.bars(50)

    at = START // 10**6 + 1_200_000
    play(test, faults={"drop_at_ms": at, "drop_mode": "1011"}, speed=600.0)


def test_pings_can_go_unanswered() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as stream:
            await stream.enter()
            for is_deaf in (False, True, False):
                await sim.admin("faults", ping_stop=is_deaf)
                pong = await stream.socket.ping()
                if is_deaf:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(pong, 0.5)
                else:
                    await asyncio.wait_for(pong, 5)
            await sim.admin("faults", ping_stop=True)
            await stream.ask("subscribe", "XA.*")
            assert await stream.bars(5)

    play(test)


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        ("bad_key", "auth_failed", None),
        ("no_plan", "auth_failed", None),
        ("realtime_refused", "auth_failed", None),
        ("timeout", "auth_timeout", 1008),
    ],
)
def test_authentication_fails_as_told(fault: str, state: str, code: int | None) -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as stream:
            assert (await stream.enter())["status"] == state
            assert (await ending(stream))[0] == code

    play(test, faults={"auth": fault})


def test_a_client_that_says_nothing_is_timed_out() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as stream:
            code, before = await ending(stream)
            assert (code, before[-1]["status"]) == (1008, "auth_timeout")

    play(test, faults={"auth_timeout_s": 0.1})


def test_a_silent_server_answers_nothing() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.enter(), 0.5)

    play(test, faults={"auth": "silent"})


def test_topics_are_refused_and_swallowed() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.*,XAS.*,XT.*") as stream:
            assert await stream.statuses(2) == ["not authorized", "subscribed to: XT.*"]

    play(test, faults={"refuse_topics": ["XA"], "swallow_topics": ["XAS"]})


def test_silence_ends_when_it_is_switched_off() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            assert await stream.statuses(1) == ["subscribed to: XA.*"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.bars(1), 0.3)
            await sim.admin("faults", silence=False)
            assert await stream.bars(1)

    play(test, faults={"silence": True})


async def minutes(stream: Stream, n: int) -> list[dict[str, Any]]:
    return [bar for bar in await stream.bars(n) if bar["ev"] == "XA"]


def test_duplicates_are_exact() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            bars = await minutes(stream, 20)
            assert set(Counter(str(bar) for bar in bars[:20]).values()) == {2}

    play(test, faults={"duplicate_fraction": 1.0})


def test_corrections_end_with_the_truth_of_rest() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD") as stream:
            bars = await minutes(stream, 10)
            first = [bar for bar in bars if bar["s"] == START // 10**6]
            assert len(first) == 2
            right = await truth(sim, first[1])
            assert first[1]["v"] == right["v"]
            assert first[1]["c"] == right["c"]
            assert first[0]["v"] < right["v"]

    play(test, faults={"correction_fraction": 1.0})


def test_a_correction_may_come_a_quarter_of_an_hour_late() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD") as stream:
            found = []
            while not found or found[-1]["s"] != START // 10**6 or len({bar["s"] for bar in found}) < 10:
                found += await minutes(stream, 1)
        first, second = [bar for bar in found if bar["s"] == START // 10**6]
        # The bar of this very minute's end may go out before or after it.
        assert max(bar["e"] for bar in found) - first["e"] in (13 * 60_000, 14 * 60_000)
        right = await truth(sim, second)
        assert (second["v"], second["c"]) == (right["v"], right["c"])
        assert first["v"] < right["v"]

    play(test, faults={"correction_fraction": 1.0, "correction_s": 840.0})


def test_late_and_out_of_order_bars_come_after_younger_ones() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            starts = [bar["s"] for bar in await minutes(stream, 60)]
            assert starts != sorted(starts)

    for faults in ({"late_fraction": 0.5, "late_s": 90}, {"out_of_order_fraction": 0.5}):
        play(test, faults=faults)


def test_missing_bars_never_come() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.BTC-USD") as stream:
            starts = [bar["s"] for bar in await minutes(stream, 20)]
            assert max(b - a for a, b in pairwise(starts)) > 60_000

    play(test, faults={"missing_fraction": 0.5})


def test_garbage_and_drift_do_not_hide_good_bars() -> None:
    play(_garbage, faults={"garbage_fraction": 0.5, "field_drift": True})


async def _garbage(sim: Running) -> None:
    table = SlotTable(AssetClass.CRYPTO)
    good, errors = 0, Counter[str]()
    async with sim.subscribed() as stream:
        while good < 100 or not errors:
            async with asyncio.timeout(20):
                frame = await stream.socket.recv()
            found = parse(frame, table, now_ns=0, recv_ns=0)
            good += sum(len(batch) for batch in found.batches)
            errors += found.errors
        assert (await sim.admin("send", frame="no JSON", asset="crypto"))["clients"] == 1
    assert len(table) == 5


def test_a_frame_may_exceed_a_megabyte() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            async with asyncio.timeout(10):
                frames = [await stream.socket.recv() for _ in range(2)]
            assert len(frames[1]) > 2**20

    play(test, faults={"oversize": True})


def test_frames_hold_no_more_than_the_batch() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            sizes = [len(await stream.recv()) for _ in range(6)]
            assert max(sizes) == 7

    play(test, symbols=20, faults={"batch": 7})


def test_a_slow_consumer_is_told_and_cut() -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            code, before = await ending(stream)
            assert (code, before[-1].get("status")) == (1008, "slow_consumer")

    play(test, faults={"slow_s": 0.2, "slow_consumer_bytes": 20_000}, symbols=50, speed=600.0)


def test_a_limit_of_connections_can_be_set() -> None:
    async def test(sim: Running) -> None:
        async with sim.stream() as a, sim.stream() as b:
            for stream in (a, b):
                assert (await stream.enter())["status"] == "auth_success"
            await a.ask("subscribe", "XA.*")
            assert await a.statuses(1) == ["subscribed to: XA.*"]

    play(test, faults={"max_connections": 2})


@pytest.mark.parametrize(
    ("room", "body", "said"),
    [
        *(
            ("clock", {"now_ms": ms}, "now_ms: expected a time from 1971 to 2100")
            for ms in (-1, 253370764800000, 10**17 - 1)
        ),
        ("burst", {"ts_ms": 10**17 - 1, "asset": "crypto"}, "ts_ms: expected a time from 1971 to 2100"),
        ("faults", {"drop_at_ms": 10**17 - 1}, "fault drop_at_ms: expected `int` <= 4102444800000"),
        ("faults", {"split_event": [{"symbol": "A", "date": "9999-01-01", "split_to": 2}]}, "expected a date like"),
    ],
)
def test_a_time_no_market_has_is_refused_and_the_play_goes_on(room: str, body: dict[str, Any], said: str) -> None:
    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            await stream.bars(1)
            answer = await sim.http.post(f"/admin/{room}", json=body)
            assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text
            await stream.bars(6)

    play(test)


def test_steering_nested_too_deep_is_refused() -> None:
    async def test(sim: Running) -> None:
        for room in ("faults", "clock", "send"):
            answer = await sim.http.post(f"/admin/{room}", content='{"x":' + "[" * 5_000)
            assert answer.status_code == 400, room

    play(test)


def test_unknown_faults_are_refused_in_one_line() -> None:
    async def test(sim: Running) -> None:
        answer = await sim.http.post("/admin/faults", json={"no_such": 1})
        assert answer.status_code == 400
        assert "no_such" in answer.json()["error"]
        assert (await sim.admin("faults", late_fraction=0.5))["late_fraction"] == 0.5
        assert (await sim.admin("faults", reset=True))["late_fraction"] == 0

    play(test)
