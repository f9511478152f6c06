"""Writing the past: revisions, what is known complete, beside a live writer, on a full disk."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import pytest

from features.market.bars import BarColumns
from features.market.types import NS_PER_S, AssetClass
from ray_apps.store import backfills, partitions, recovery, series
from ray_apps.store.backfills import Covered, Span
from ray_apps.store.connect import Conn, connect
from ray_apps.store.errors import DiskFullError, StoreUnavailableError
from ray_apps.store.history import HistoryWriter, Stretch, Written
from ray_apps.store.lease import Lease
from ray_apps.store.rows import BarRows
from ray_apps.store.writer import ShardWriter
from tests.support.eventually import eventually
from tests.support.postgres import query
from tests.support.store import MINUTE, T0, bars

pytestmark = pytest.mark.integration
T = TypeVar("T")
STOCKS = AssetClass.STOCKS
NEVER = 2**62
DAY = 24 * 60


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills, leases, applied")


def columns(minutes: range, close: float = 100.0, **changed: Any) -> BarColumns:
    """Give one bar a minute after T0; any column may be set."""
    n = len(minutes)
    made: dict[str, Any] = {name: np.full(n, close) for name in ("open", "high", "low", "close", "vwap")}
    made |= {"volume": np.full(n, 500.0), "trades": np.full(n, np.nan), "high": np.full(n, close + 1)}
    made |= {name: np.full(n, value) for name, value in changed.items()}
    return BarColumns(ts=T0 + np.array(minutes, dtype=np.int64) * MINUTE, **made)


def stretch(symbol: str, minutes: range, close: float = 100.0, **changed: Any) -> Stretch:
    span = Span(T0 + minutes.start * MINUTE, T0 + minutes.stop * MINUTE)
    return Stretch(symbol, 60, span, columns(minutes, close, **changed))


def write(dsn: str, *stretches: Stretch, settled_ns: int = NEVER) -> list[Written]:
    async def main() -> list[Written]:
        writer = HistoryWriter(dsn, STOCKS)
        try:
            return await writer.write(stretches, settled_ns)
        finally:
            await writer.close()

    return asyncio.run(main())


def on(dsn: str, body: Callable[[Conn], Awaitable[T]]) -> T:
    async def main() -> T:
        conn = await connect(dsn, "test")
        try:
            return await body(conn)
        finally:
            await conn.close()

    return asyncio.run(main())


def missing(dsn: str, symbol: str, minutes: range) -> list[tuple[int, int]]:
    span = Span(T0 + minutes.start * MINUTE, T0 + minutes.stop * MINUTE)
    found = on(dsn, lambda c: backfills.missing(c, STOCKS, symbol, 60, span))
    return [((s.from_ns - T0) // MINUTE, (s.to_ns - T0) // MINUTE) for s in found]


def test_new_changed_and_same_bars_are_told_apart(dsn: str) -> None:
    first = write(dsn, stretch("A", range(10)), stretch("B", range(5)), stretch("NOPE", range(0)))
    assert first == [Written(10, 0, 0), Written(5, 0, 0), Written(0, 0, 0)]
    again = write(dsn, stretch("B", range(5), close=7), stretch("A", range(8, 14)))
    assert again == [Written(0, 5, 0), Written(4, 0, 2)]
    assert query(dsn, "SELECT symbol, slot FROM series ORDER BY slot") == [("A", 0), ("B", 1)]
    rows = query(dsn, "SELECT series_id, count(*), max(revision), bool_or(in_state) FROM bars GROUP BY 1 ORDER BY 1")
    assert rows == [(0, 14, 0, False), (1, 5, 1, False)]
    assert query(dsn, "SELECT DISTINCT series_id, close, revision, in_state FROM bar_revisions") == [(1, 100, 0, False)]


def test_absent_values_are_null(dsn: str) -> None:
    write(dsn, stretch("A", range(3), vwap=np.array([1.0, np.nan, 3.0]), volume=np.nan))
    assert query(dsn, "SELECT vwap, volume FROM bars ORDER BY ts") == [(1, None), (None, None), (3, None)]


def test_a_newer_window_is_added_and_left_to_the_stream(dsn: str) -> None:
    write(dsn, stretch("A", range(10)))
    settled = T0 + 8 * MINUTE
    assert write(dsn, stretch("A", range(4, 12), close=7), settled_ns=settled) == [Written(2, 4, 2)]
    closes = [r[0] for r in query(dsn, "SELECT close FROM bars ORDER BY ts")]
    assert closes == [100] * 4 + [7] * 4 + [100] * 2 + [7] * 2
    query(dsn, "TRUNCATE backfills")
    write(dsn, stretch("A", range(4, 12), close=7), settled_ns=settled)
    assert missing(dsn, "A", range(20)) == [(0, 4), (8, 20)]


def test_what_is_complete_is_not_missing(dsn: str) -> None:
    assert missing(dsn, "A", range(50)) == [(0, 50)]
    write(dsn, stretch("A", range(10, 20)), stretch("B", range(50)))
    write(dsn, Stretch("A", 60, Span(T0 + 20 * MINUTE, T0 + 25 * MINUTE), columns(range(0))))  # no bars at all
    write(dsn, stretch("A", range(40, 45)))
    assert missing(dsn, "A", range(50)) == [(0, 10), (25, 40), (45, 50)]
    assert missing(dsn, "A", range(12, 18)) == []
    assert missing(dsn, "A", range(18, 12)) == []
    on(dsn, lambda c: backfills.cover(c, STOCKS, [Covered("A", 60, Span(T0, T0 + 60 * MINUTE))]))
    assert missing(dsn, "A", range(50)) == []
    on(dsn, lambda c: backfills.forget(c, T0 + 5 * MINUTE))
    assert missing(dsn, "A", range(50)) == [(0, 5)]
    assert missing(dsn, "B", range(50)) == [(0, 5)]


def test_retention_makes_dropped_days_missing_again(dsn: str) -> None:
    write(dsn, stretch("A", range(0, 4 * DAY, 60)))
    on(dsn, lambda c: partitions.retention(c, 2))
    midnight = (T0 // partitions.DAY_NS + 3) * partitions.DAY_NS
    assert missing(dsn, "A", range(4 * DAY)) == [(0, (midnight - T0) // MINUTE)]
    assert write(dsn, stretch("A", range(60))) == [Written(60, 0, 0)]


def test_many_days_at_once(dsn: str) -> None:
    """More days than one transaction may make tables for."""
    minutes = range(-300 * DAY, 0, DAY // 2)
    assert write(dsn, stretch("A", minutes), stretch("B", minutes)) == [Written(600, 0, 0)] * 2
    assert query(dsn, "SELECT count(*) FROM bars WHERE tableoid <> 'bars'::regclass") == [(1200,)]


def test_a_bar_the_stream_folds_after_history_brought_it_is_the_states(dsn: str) -> None:
    write(dsn, stretch("A", range(6)))

    async def main() -> None:
        lease = Lease(dsn, "s", "me", 60)
        writer = ShardWriter(dsn, "s")
        assert await lease.acquire() == 1
        await writer.commit(epoch=1, seq=1, bars=[as_history(m) for m in range(3)])
        await writer.commit(epoch=1, seq=2, bars=[as_history(3, in_state=False)])
        await writer.close()
        await lease.release()

    asyncio.run(main())
    rows = query(dsn, "SELECT in_state, revision FROM bars ORDER BY ts")
    assert rows == [(True, 0)] * 3 + [(False, 0)] * 3

    async def folded(conn: Conn) -> list[BarRows]:
        return [b async for b in recovery.bars_since(conn, STOCKS, np.array([0], dtype=np.int32), 0)]

    assert sum(len(b) for b in on(dsn, folded)) == 3


def as_history(minute: int, in_state: bool = True) -> BarRows:
    """Give the stream's bar of series 0 with the values history has."""
    return bars([0], minute, high=101.0, low=100.0, trades=np.nan, in_state=in_state)


def test_a_late_word_of_history_keeps_what_was_folded(dsn: str) -> None:
    on(dsn, lambda c: series.allocate(c, STOCKS, [("A", 60)]))

    async def main() -> None:
        lease = Lease(dsn, "s", "me", 60)
        writer = ShardWriter(dsn, "s")
        await lease.acquire()
        await writer.commit(epoch=1, seq=1, bars=[as_history(0)])
        await writer.close()
        await lease.release()

    asyncio.run(main())
    assert write(dsn, stretch("A", range(1), close=7)) == [Written(0, 1, 0)]

    async def folded(conn: Conn) -> list[BarRows]:
        return [b async for b in recovery.bars_since(conn, STOCKS, np.array([0], dtype=np.int32), 0)]

    assert [b.close.tolist() for b in on(dsn, folded)] == [[100.0]]


def test_beside_a_live_writer_nobody_is_stopped_and_nothing_doubled(dsn: str) -> None:
    """Both write the same newest windows of the same series at once, the stream in no order of series."""
    names, n_minutes = [f"S{i}" for i in range(60)], 40
    rng = np.random.default_rng(3)
    now, settled = [0], T0 + 20 * MINUTE

    async def stream(writer: ShardWriter) -> None:
        for m in range(n_minutes):
            now[0] = m
            ids = rng.permutation(len(names)).tolist()
            nulls = rng.random(len(ids)) < 0.3
            made = bars(ids, m, close=m + 1.0)
            rows = {name: getattr(made, name) for name in made.__slots__}
            await writer.commit(epoch=1, seq=m, bars=[BarRows(**rows | {"vwap": np.where(nulls, np.nan, made.vwap)})])

    async def past(writer: HistoryWriter) -> None:
        while now[0] < n_minutes - 1:
            minutes = range(max(0, now[0] - 1), min(now[0] + 3, n_minutes))
            with suppress(StoreUnavailableError):  # it gave way
                await writer.write([stretch(name, minutes, close=5.0) for name in names], settled)

    async def main() -> None:
        lease = Lease(dsn, "s", "me", 60)
        live, writer = ShardWriter(dsn, "s"), HistoryWriter(dsn, STOCKS)
        await lease.acquire()
        async with asyncio.timeout(60):
            await asyncio.gather(stream(live), past(writer))  # the stream is never refused
        await live.close()
        await writer.close()
        await lease.release()

    on(dsn, lambda c: series.allocate(c, STOCKS, [(name, 60) for name in names]))
    asyncio.run(main())
    rows = query(
        dsn, "SELECT count(*), count(DISTINCT (series_id, ts)), bool_and(close IN (5, minute + 1)), "
        "bool_and(close = minute + 1 AND in_state) FILTER (WHERE minute >= 20) "
        "FROM (SELECT *, extract(epoch FROM ts - to_timestamp(%s)) / 60 AS minute FROM bars) AS m", T0 // NS_PER_S,
    )  # fmt: skip
    assert rows == [(len(names) * n_minutes, len(names) * n_minutes, True, True)]


def test_where_both_would_wait_for_each_other_the_stream_goes_on(dsn: str) -> None:
    on(dsn, lambda c: series.allocate(c, STOCKS, [("A", 60), ("B", 60)]))
    write(dsn, stretch("A", range(5, 6)))  # makes the day

    async def main() -> None:
        live, writer = await connect(dsn, "live"), HistoryWriter(dsn, STOCKS)
        row = "INSERT INTO bars (series_id, ts, open, high, low, close, received_at, in_state) " \
              f"VALUES (%s, to_timestamp({T0 // NS_PER_S}), 1, 1, 1, 1, now(), true)"  # fmt: skip
        async with asyncio.timeout(20), live.transaction():
            await live.execute(row.encode(), (1,))
            history = asyncio.create_task(writer.write([stretch("B", range(1)), stretch("A", range(1))], NEVER))
            waits = (
                "SELECT 1 FROM pg_stat_activity "
                "WHERE application_name = 'tapewatch-history-stocks' AND wait_event_type = 'Lock'"
            )
            await eventually(lambda: query(dsn, waits))
            await live.execute(row.encode(), (0,))  # history has it, and waits for the other
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await history
        assert await writer.write([stretch("B", range(1)), stretch("A", range(1))], NEVER) == [Written(0, 1, 0)] * 2
        await live.close()
        await writer.close()

    asyncio.run(main())


def test_a_writer_gives_way_to_who_holds_the_same_windows(dsn: str) -> None:
    write(dsn, stretch("A", range(3)))

    async def main() -> None:
        holder, writer = await connect(dsn, "holder"), HistoryWriter(dsn, STOCKS)
        async with holder.transaction():
            await holder.execute("UPDATE bars SET close = 9")
            with pytest.raises(StoreUnavailableError, match="lock timeout"):
                await writer.write([stretch("A", range(3), close=7)], NEVER)
        assert await writer.write([stretch("A", range(3), close=7)], NEVER) == [Written(0, 3, 0)]
        await writer.close()
        await holder.close()

    asyncio.run(main())


def test_a_full_disk_says_so_and_stores_nothing(dsn: str) -> None:
    query(dsn, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$")  # fmt: skip
    query(dsn, "CREATE TRIGGER full_disk BEFORE INSERT ON bars FOR EACH ROW EXECUTE FUNCTION full_disk()")
    try:
        with pytest.raises(DiskFullError, match="out of disk space: could not extend file"):
            write(dsn, stretch("A", range(3)))
    finally:
        query(dsn, "DROP TRIGGER full_disk ON bars")
        query(dsn, "DROP FUNCTION full_disk")
    assert missing(dsn, "A", range(3)) == [(0, 3)]
    assert write(dsn, stretch("A", range(3))) == [Written(3, 0, 0)]


def test_writing_goes_on_after_the_connection_died(dsn: str) -> None:
    async def main() -> None:
        writer = HistoryWriter(dsn, STOCKS)
        await writer.write([stretch("A", range(3))], NEVER)
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tapewatch-history-stocks'"
        )
        query(dsn, kill)
        gone = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tapewatch-history-stocks'"
        await eventually(lambda: not query(dsn, gone))
        with pytest.raises(StoreUnavailableError):
            await writer.write([stretch("A", range(3, 6))], NEVER)
        assert await writer.write([stretch("A", range(3, 6))], NEVER) == [Written(3, 0, 0)]
        await writer.close()

    asyncio.run(main())
