"""Leases: one holder, an epoch that only grows, takeover within the time to live."""

import asyncio
import time

import pytest

from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.lease import Lease
from tests.support.postgres import query

pytestmark = pytest.mark.integration


def test_one_holder_at_a_time(dsn: str) -> None:
    async def main() -> None:
        a, b = Lease(dsn, "feed:one", "a", 60), Lease(dsn, "feed:one", "b", 60)
        assert await a.acquire() == 1
        assert await b.acquire() is None
        assert await a.renew()
        assert not await b.renew()
        await a.release()
        assert await b.acquire() == 2
        assert not await a.renew()
        await b.release()

    asyncio.run(main())


def test_the_same_holder_again_gets_a_new_epoch(dsn: str) -> None:
    async def main() -> None:
        former, now = Lease(dsn, "feed:same", "a", 60), Lease(dsn, "feed:same", "a", 60)
        assert (await former.acquire(), await now.acquire()) == (1, 2)
        assert not await former.renew()
        assert await now.renew()
        await former.release()  # not its own any more: changes nothing
        assert await now.renew()
        await now.release()

    asyncio.run(main())


def test_a_warm_spare_takes_over_within_the_ttl(dsn: str) -> None:
    async def main() -> float:
        a, b = Lease(dsn, "feed:spare", "a", 0.8), Lease(dsn, "feed:spare", "b", 0.8)
        await a.acquire()
        spare = asyncio.create_task(b.wait(20))
        for _ in range(4):
            await asyncio.sleep(0.3)
            assert await a.renew()
        assert not spare.done()
        start = time.monotonic()  # a dies here
        assert await spare == 2
        took = time.monotonic() - start
        assert not await a.renew()
        await a.release()
        await b.release()
        return took

    assert asyncio.run(main()) < 0.8 * 1.25 + 0.5


def test_many_that_want_it_at_once_get_it_once(dsn: str) -> None:
    async def main() -> list[int | None]:
        leases = [Lease(dsn, "feed:many", f"h{i}", 60) for i in range(12)]
        got = await asyncio.gather(*(lease.acquire() for lease in leases))
        await asyncio.gather(*(lease.release() for lease in leases))
        return list(got)

    got = asyncio.run(main())
    assert [e for e in got if e is not None] == [1]


def test_waiting_ends_with_none(dsn: str) -> None:
    async def main() -> None:
        a, b = Lease(dsn, "feed:full", "a", 60), Lease(dsn, "feed:full", "b", 60)
        await a.acquire()
        assert await b.wait(0.1) is None
        await a.release()
        await b.release()

    asyncio.run(main())


def test_renew_survives_a_lost_connection(dsn: str) -> None:
    async def main() -> None:
        lease = Lease(dsn, "feed:cut", "a", 60)
        await lease.acquire()
        query(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tapewatch-lease-feed:cut'",
        )
        with pytest.raises(StoreUnavailableError):
            await lease.renew()
        assert await lease.renew()
        await lease.release()

    asyncio.run(main())
