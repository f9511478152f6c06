import asyncio

from ray_apps.simulator.clock import Clock

SECOND = 10**9


def test_a_running_clock_comes_to_its_time() -> None:
    async def go() -> None:
        clock = Clock(1_000 * SECOND, speed=1_000)
        assert await clock.wait(999 * SECOND)
        assert await asyncio.wait_for(clock.wait(clock.now() + 20 * SECOND), 5)
        assert clock.now() >= 1_020 * SECOND

    asyncio.run(go())


def test_waiters_wake_when_time_is_changed() -> None:
    async def go() -> None:
        clock = Clock(0, speed=0)
        waiting = asyncio.create_task(clock.wait(SECOND))
        await asyncio.sleep(0)
        clock.set(speed=1e-9)
        assert await asyncio.wait_for(waiting, 5) is False
        waiting = asyncio.create_task(clock.wait(SECOND))
        await asyncio.sleep(0)
        clock.set(now_ns=2 * SECOND, speed=0)
        assert await asyncio.wait_for(waiting, 5) is False
        assert await clock.wait(SECOND)
        assert (clock.now(), clock.jumps) == (2 * SECOND, 1)

    asyncio.run(go())


def test_a_standing_clock_moves_forward_only() -> None:
    async def go() -> None:
        clock = Clock(5 * SECOND, speed=0)
        clock.advance(7 * SECOND)
        clock.advance(6 * SECOND)
        assert (clock.now(), clock.jumps) == (7 * SECOND, 0)

    asyncio.run(go())
