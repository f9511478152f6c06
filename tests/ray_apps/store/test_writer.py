"""The shard writer: each batch exactly once, fenced by its lease; revisions kept."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import numpy as np
import psycopg
import pytest

from features.market.types import AssetClass, BarBatch
from ray_apps.store.bars import rounds
from ray_apps.store.copying import encode
from ray_apps.store.errors import LeaseLostError, StoreUnavailableError
from ray_apps.store.lease import Lease
from ray_apps.store.rows import BarRows, ContextRow, OutboxRow, Position
from ray_apps.store.writer import ShardWriter
from tests.support.eventually import eventually
from tests.support.postgres import query
from tests.support.store import MINUTE, T0, anomaly, bars, episode

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE bars, bar_revisions, anomalies, episodes, outbox, contexts, applied, leases")


@asynccontextmanager
async def shard(dsn: str, name: str = "stocks:0"):
    lease = Lease(dsn, name, "me", 60)
    writer = ShardWriter(dsn, name)
    try:
        epoch = await lease.acquire()
        assert epoch is not None
        yield writer, epoch
    finally:
        await writer.close()
        await lease.release()


def run(dsn: str, body: Callable[[ShardWriter, int], Awaitable[None]]) -> None:
    async def main() -> None:
        async with shard(dsn) as (writer, epoch):
            await body(writer, epoch)

    asyncio.run(main())


def stored(dsn: str) -> list[tuple[object, ...]]:
    return query(dsn, "SELECT series_id, close, volume, trades, revision, in_state FROM bars ORDER BY ts, series_id")


def test_a_batch_is_stored_whole(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        assert await w.position() is None
        assert await w.commit(
            epoch=epoch,
            seq=1,
            bars=[bars([0, 1]), bars([0], 1)],
            anomalies=[anomaly(0)],
            contexts=[ContextRow("stocks", 60, T0, b"\x00\xff")],
            outbox=[OutboxRow("redis", "anomaly", "a", {"id": "a"})],
            episodes=[episode(0)],
        )
        assert await w.position() == Position(epoch, 1)

    run(dsn, body)
    assert stored(dsn) == [(0, 100, 500, None, 0, True), (1, 100, 500, None, 0, True), (0, 100, 500, None, 0, True)]
    assert query(dsn, "SELECT scores, features, norms FROM anomalies") == [
        ({"burst": 5.5, "gap": None}, [{"name": "volume_ratio", "value": 9.46}], {"mean": 0.125})
    ]
    assert query(dsn, "SELECT payload FROM contexts") == [(b"\x00\xff",)]
    assert query(dsn, "SELECT sink, key, payload FROM outbox") == [("redis", "a", {"id": "a"})]
    assert query(dsn, "SELECT symbol, n_anomalies FROM episodes") == [("AAPL", 1)]


def test_times_and_values_survive_exactly(dsn: str) -> None:
    rng = np.random.default_rng(1)
    n = 257
    made = bars(list(range(n)))
    sent = BarRows(**{
        **{name: getattr(made, name) for name in ("series_id", "ts", "recv", "in_state")},
        **{name: rng.lognormal(size=n) for name in ("open", "high", "low", "close")},
        **{name: np.where(rng.random(n) < 0.5, np.nan, rng.random(n)) for name in ("volume", "vwap", "trades")},
    })  # fmt: skip

    async def body(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, bars=[sent])

    run(dsn, body)
    got = query(
        dsn,
        "SELECT open, high, low, close, volume, vwap, trades, extract(epoch FROM ts)::bigint "
        "FROM bars ORDER BY series_id",
    )
    for i, name in enumerate(("open", "high", "low", "close", "volume", "vwap", "trades")):
        column = np.array([np.nan if r[i] is None else r[i] for r in got])
        assert np.array_equal(column, getattr(sent, name), equal_nan=True), name
    assert {r[7] for r in got} == {T0 // 10**9}


def test_the_same_number_writes_nothing(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        assert await w.commit(epoch=epoch, seq=5, bars=[bars([0])])
        assert not await w.commit(epoch=epoch, seq=5, bars=[bars([0], close=7), bars([1])], anomalies=[anomaly(0)])
        assert not await w.commit(epoch=epoch, seq=4, bars=[bars([2])])
        assert await w.commit(epoch=epoch, seq=6, bars=[bars([3])])

    run(dsn, body)
    assert [r[0] for r in stored(dsn)] == [0, 3]
    assert query(dsn, "SELECT count(*) FROM anomalies") == [(0,)]


def test_numbers_go_on_under_a_new_epoch(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        assert await w.commit(epoch=epoch, seq=9)

    run(dsn, body)

    async def again(w: ShardWriter, epoch: int) -> None:
        assert epoch == 2
        assert await w.position() == Position(1, 9)
        assert not await w.commit(epoch=epoch, seq=9, bars=[bars([0])])
        assert await w.commit(epoch=epoch, seq=10)

    run(dsn, again)


def test_an_old_holder_writes_nothing(dsn: str) -> None:
    async def main() -> None:
        async with shard(dsn) as (old, epoch):
            assert await old.commit(epoch=epoch, seq=1, bars=[bars([0])])
            query(dsn, "UPDATE leases SET expires_at = now()")
            spare = Lease(dsn, "stocks:0", "spare", 60)
            assert await spare.acquire() == epoch + 1
            with pytest.raises(LeaseLostError, match="expected epoch 1"):
                await old.commit(epoch=epoch, seq=2, bars=[bars([1])])
            await spare.release()

    asyncio.run(main())
    assert [r[0] for r in stored(dsn)] == [0]


def test_without_a_lease_nothing_is_written(dsn: str) -> None:
    async def main() -> None:
        writer = ShardWriter(dsn, "nobody")
        with pytest.raises(LeaseLostError, match="no lease"):
            await writer.commit(epoch=1, seq=1, bars=[bars([0])])
        await writer.close()

    asyncio.run(main())
    assert stored(dsn) == []


def test_a_takeover_waits_for_a_commit_under_way(dsn: str) -> None:
    """The lease's row is locked by the batch: either the batch is in before the takeover, or refused after it."""

    async def main() -> None:
        async with shard(dsn) as (writer, epoch):
            await writer.commit(epoch=epoch, seq=1)
            query(dsn, "UPDATE leases SET expires_at = now()")
            with psycopg.connect(dsn) as blocker:
                blocker.execute("LOCK TABLE anomalies IN SHARE MODE")  # stops the batch after its claim
                commit = asyncio.create_task(writer.commit(epoch=epoch, seq=2, anomalies=[anomaly(0)]))
                spare = Lease(dsn, "stocks:0", "spare", 30)
                waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'anomalies'::regclass"
                await eventually(lambda: query(dsn, waiting))
                take = asyncio.create_task(spare.acquire())
                done, _ = await asyncio.wait([take], timeout=0.3)
                assert not done
                blocker.rollback()
            assert await commit
            assert await take == epoch + 1
            await spare.release()

    asyncio.run(main())
    assert query(dsn, "SELECT seq FROM applied") == [(2,)]


def test_a_revision_replaces_and_keeps_the_superseded_values(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, bars=[bars([0, 1, 2])])
        await w.commit(epoch=epoch, seq=2, bars=[bars([1], close=7, recv=T0 + 9 * MINUTE), bars([0, 1, 2], 1)])
        await w.commit(epoch=epoch, seq=3, bars=[bars([1], close=8, trades=3, in_state=False)])
        await w.commit(epoch=epoch, seq=4, bars=[bars([1], close=8, trades=3)])  # the same again, folded this time

    run(dsn, body)
    assert stored(dsn)[:3] == [(0, 100, 500, None, 0, True), (1, 8, 500, 3, 2, True), (2, 100, 500, None, 0, True)]
    assert query(dsn, "SELECT series_id, close, revision, in_state FROM bar_revisions ORDER BY revision") == [
        (1, 100, 0, True),
        (1, 7, 1, True),
    ]
    assert query(dsn, "SELECT count(*) FROM bar_revisions r JOIN bars b USING (series_id, ts) "
                      "WHERE r.revision = 1 AND r.received_at > b.received_at") == [(1,)]  # fmt: skip


def test_revisions_within_one_batch_count_in_order(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, bars=[bars([0, 1], close=1), bars([1, 0], close=2), bars([1], close=3)])

    run(dsn, body)
    assert [(r[0], r[1], r[4]) for r in stored(dsn)] == [(0, 2, 1), (1, 3, 2)]
    assert query(dsn, "SELECT close FROM bar_revisions WHERE series_id = 1 ORDER BY revision") == [(1,), (2,)]


def test_a_new_writer_meets_stored_bars(dsn: str) -> None:
    """It believes all bars new; those that are not are merged, and nothing is written twice."""

    async def first(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, bars=[bars([0, 1])])

    async def second(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=2, bars=[bars([0], close=5), bars([1]), bars([2])], anomalies=[anomaly(1)])

    run(dsn, first)
    run(dsn, second)
    assert [(r[0], r[1], r[4]) for r in stored(dsn)] == [(0, 5, 1), (1, 100, 0), (2, 100, 0)]
    assert query(dsn, "SELECT count(*) FROM anomalies") == [(1,)]


def test_an_anomaly_again_is_amended_and_keeps_its_episode(dsn: str) -> None:
    async def body(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, anomalies=[anomaly(0), anomaly(0, episode_id="e1")])
        await w.commit(epoch=epoch, seq=2, anomalies=[anomaly(0, state="amended", score=9.0)])

    run(dsn, body)
    assert query(dsn, "SELECT state, score, episode_id FROM anomalies") == [("amended", 9.0, "e1")]


def test_partitions_are_made_on_demand(dsn: str) -> None:
    day = 24 * 60

    async def body(w: ShardWriter, epoch: int) -> None:
        await w.commit(epoch=epoch, seq=1, bars=[bars([0], 3 * day), bars([0], -400 * day)])
        await w.commit(epoch=epoch, seq=2, bars=[bars([0], 9 * day)])

    run(dsn, body)
    names = [r[0] for r in query(dsn, "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")]
    assert {"bars_p20250405", "bars_p20250406", "bars_p20240227", "bars_p20250411"} <= set(names)
    assert len(stored(dsn)) == 3


def test_two_shards_make_the_same_partition_at_once(dsn: str) -> None:
    async def main() -> None:
        async with shard(dsn, "a") as (one, e1), shard(dsn, "b") as (two, e2):
            for k in range(8):
                minute = (500 + k) * 24 * 60
                await asyncio.gather(
                    one.commit(epoch=e1, seq=k + 1, bars=[bars([0], minute)]),
                    two.commit(epoch=e2, seq=k + 1, bars=[bars([1], minute)]),
                )

    asyncio.run(main())
    assert len(stored(dsn)) == 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exactly_once_however_often_the_connection_dies(dsn: str, seed: int) -> None:
    """Backends are killed at random moments; each batch is sent again until it is acknowledged."""
    rng = np.random.default_rng(seed)
    n_batches = 25

    async def killer() -> None:
        for _ in range(20):
            await asyncio.sleep(float(rng.uniform(0.005, 0.08)))
            query(
                dsn,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tapewatch-shard%'",
            )

    async def main() -> int:
        attempts = 0
        async with shard(dsn) as (writer, epoch):
            task = asyncio.create_task(killer())
            for seq in range(n_batches):
                batch = bars(list(range(300)), seq, close=seq + 1)
                message = OutboxRow("redis", "anomaly", str(seq), {})
                async with asyncio.timeout(30):
                    while True:
                        attempts += 1
                        with suppress(StoreUnavailableError):
                            await writer.commit(
                                epoch=epoch, seq=seq, bars=[batch], anomalies=[anomaly(seq)], outbox=[message]
                            )
                            break
            await task
        return attempts

    attempts = asyncio.run(main())
    assert attempts > n_batches
    assert query(dsn, "SELECT epoch, seq FROM applied") == [(1, n_batches - 1)]
    assert query(dsn, "SELECT count(*), max(revision) FROM bars") == [(300 * n_batches, 0)]
    assert query(dsn, "SELECT count(*) FROM anomalies UNION ALL SELECT count(*) FROM outbox") == [(n_batches,)] * 2


def test_a_lost_server_is_a_transient_error(dsn: str) -> None:
    async def main() -> None:
        writer = ShardWriter("postgresql://x:y@127.0.0.1:1/z", "a")
        with pytest.raises(StoreUnavailableError, match="expected the database to take a connection"):
            await writer.commit(epoch=1, seq=1, bars=[bars([0])])

    asyncio.run(main())


def test_rows_of_a_batch() -> None:
    made = bars([3, 4])
    batch = BarBatch(
        slot=made.series_id, ts=made.ts, ts_end=made.ts + MINUTE, open=made.open, high=made.high, low=made.low,
        close=made.close, volume=made.volume, vwap=made.vwap, trades=made.trades, bar_s=60, recv_ns=7,
    )  # fmt: skip
    rows = BarRows.of(AssetClass.CRYPTO, batch, np.array([True, False]))
    assert rows.series_id.tolist() == [10_000_003, 10_000_004]
    assert rows.series_id.dtype == np.int32
    assert rows.recv.tolist() == [7, 7]
    assert rows.in_state.tolist() == [True, False]
    assert BarRows.of(AssetClass.CRYPTO, batch).in_state.tolist() == [True, True]
    assert encode(rows)


def test_rounds_keep_the_order_of_a_window() -> None:
    many = BarRows.concat([bars([0, 1]), bars([1], 1), bars([1, 2]), bars([1])])
    assert [r.tolist() for r in rounds(many) if r is not None] == [[0, 1, 2, 4], [3], [5]]
    assert rounds(bars([0, 1])) == [None]


def test_encode_is_one_fixed_record_a_row() -> None:
    full = encode(bars([0, 1], trades=1.0))
    assert len(full) == 19 + 2 + 2 * (2 + 11 * 4 + 4 + 8 * 9 + 1)
    assert len(encode(bars([0, 1]))) == len(full) - 16
