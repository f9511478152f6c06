"""What processes share: the numbers of series, a key's calls, claims."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from features.market.types import AssetClass
from ray_apps.store import call_budget, series
from ray_apps.store.claims import Claims
from ray_apps.store.connect import Conn, connect
from ray_apps.store.errors import SlotTakenError, StoreUnavailableError
from tests.support.eventually import eventually
from tests.support.postgres import query

pytestmark = pytest.mark.integration
T = TypeVar("T")
CRYPTO = AssetClass.CRYPTO


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE series, call_budgets")


def on(dsn: str, body: Callable[[Conn], Awaitable[T]]) -> T:
    async def main() -> T:
        conn = await connect(dsn, "test")
        try:
            return await body(conn)
        finally:
            await conn.close()

    return asyncio.run(main())


def test_new_series_are_numbered_after_all_others(dsn: str) -> None:
    on(dsn, lambda c: series.register(c, CRYPTO, [(0, "A", 60), (1, "B", 60)]))
    wanted = [("C", 60), ("B", 60), ("A", 1), ("C", 60)]
    assert on(dsn, lambda c: series.allocate(c, CRYPTO, wanted)) == [2, 1, 3, 2]
    assert on(dsn, lambda c: series.allocate(c, CRYPTO, wanted)) == [2, 1, 3, 2]
    assert on(dsn, lambda c: series.allocate(c, AssetClass.FOREX, [("C", 60)])) == [0]
    assert on(dsn, lambda c: series.allocate(c, CRYPTO, [])) == []
    assert len(on(dsn, lambda c: series.load(c, CRYPTO))) == 4


def test_a_table_read_before_another_numbered_is_refused_whole(dsn: str) -> None:
    on(dsn, lambda c: series.register(c, CRYPTO, [(0, "A", 60)]))
    on(dsn, lambda c: series.allocate(c, CRYPTO, [("B", 60)]))
    with pytest.raises(SlotTakenError, match="every slot to keep its series"):
        on(dsn, lambda c: series.register(c, CRYPTO, [(1, "C", 60), (2, "D", 60)]))
    with pytest.raises(SlotTakenError, match="every series to keep its slot"):
        on(dsn, lambda c: series.register(c, CRYPTO, [(2, "D", 60), (3, "B", 60)]))
    assert [s.symbol for s in on(dsn, lambda c: series.load(c, CRYPTO))] == ["A", "B"]
    on(dsn, lambda c: series.register(c, CRYPTO, [(1, "B", 60), (2, "D", 60)]))


def test_numbering_at_once_leaves_no_hole_and_no_double(dsn: str) -> None:
    async def one(k: int) -> list[int]:
        conn = await connect(dsn, "test")
        try:
            found: list[int] = []
            for i in range(15):
                found += await series.allocate(conn, CRYPTO, [(f"OWN{k}-{i}", 60), (f"SHARED{i}", 60)])
            return found
        finally:
            await conn.close()

    async def main() -> list[list[int]]:
        return await asyncio.gather(*(one(k) for k in range(4)))

    found = asyncio.run(main())
    assert len({slots[1::2][7] for slots in found}) == 1  # all got the same slot of a shared series
    assert len(on(dsn, lambda c: series.load(c, CRYPTO))) == 4 * 15 + 15


GRANTS = """
import asyncio, sys, time
from features.market.types import AssetClass
from ray_apps.store.call_budget import grant
from ray_apps.store.connect import connect

async def main():
    conn = await connect(sys.argv[1], "grants")
    for _ in range(8):
        wait_s = await grant(conn, "key", AssetClass.CRYPTO, 5, 60.0)
        print(time.time() + wait_s, flush=True)
    await conn.close()

asyncio.run(main())
"""


def test_processes_together_never_call_more_often_than_the_plan_allows(dsn: str) -> None:
    started = time.time()
    running = [subprocess.Popen([sys.executable, "-c", GRANTS, dsn], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    times = sorted(float(line) for process in running for line in process.communicate(timeout=60)[0].splitlines())
    assert len(times) == 16
    assert times[4] < time.time()  # the first five at once
    assert all(later - earlier > 59.9 for earlier, later in zip(times, times[5:], strict=False))
    assert times[-1] < started + 3 * 60 + 60  # and no later than need be


def test_a_key_has_a_budget_for_each_market(dsn: str) -> None:
    async def body(conn: Conn) -> list[float]:
        waits = [await call_budget.grant(conn, "k", CRYPTO, 2, 60) for _ in range(3)]
        waits.append(await call_budget.grant(conn, "k", AssetClass.STOCKS, 2, 60))
        waits.append(await call_budget.grant(conn, "other", CRYPTO, 2, 60))
        return waits

    waits = on(dsn, body)
    assert waits[:2] == [0, 0]
    assert 59 < waits[2] <= 60
    assert waits[3:] == [0, 0]
    assert query(dsn, "SELECT cardinality(granted) FROM call_budgets ORDER BY 1") == [(1,), (1,), (2,)]


def test_a_smaller_plan_waits_for_the_calls_of_a_larger_one(dsn: str) -> None:
    async def body(conn: Conn) -> float:
        for _ in range(10):
            await call_budget.grant(conn, "k", CRYPTO, 10, 60)
        return await call_budget.grant(conn, "k", CRYPTO, 2, 60)

    assert 59 < on(dsn, body) <= 60


def test_a_claim_is_one_process_s_until_its_connection_ends(dsn: str) -> None:
    async def main() -> None:
        one, two = Claims(dsn, "one"), Claims(dsn, "two")
        assert await one.take("crypto:BTC-USD:60")
        assert not await two.take("crypto:BTC-USD:60")
        assert await two.take("crypto:ETH-USD:60")
        await one.give_back("crypto:BTC-USD:60")
        assert await two.take("crypto:BTC-USD:60")
        query(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tapewatch-claims-two'",
        )

        async def is_free() -> bool:
            return await one.take("crypto:BTC-USD:60")

        await eventually(is_free)
        with pytest.raises(StoreUnavailableError):
            await two.take("crypto:BTC-USD:60")
        assert not await two.take("crypto:BTC-USD:60")
        await one.close()
        assert await two.take("crypto:BTC-USD:60")
        await two.close()

    asyncio.run(main())
