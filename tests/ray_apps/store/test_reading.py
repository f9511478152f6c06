"""Reading back: pages, bars, what was folded, roll-ups, retention, sizes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest

from features.market.types import AssetClass
from ray_apps.store import feeds, partitions, recovery, series
from ray_apps.store.connect import Conn, Pool, connect
from ray_apps.store.errors import StoreError, StoreUnavailableError
from ray_apps.store.filters import AnomalyFilter, Cursor, CursorError, EpisodeFilter
from ray_apps.store.reader import Reader
from ray_apps.store.rollup import rollup
from ray_apps.store.rows import BarRows
from ray_apps.store.writer import ShardWriter
from tests.support.postgres import query
from tests.support.store import MINUTE, T0, anomaly, bars, episode

pytestmark = pytest.mark.integration
T = TypeVar("T")
DAY = 24 * 60


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(
        dsn, "TRUNCATE series, bars, bar_revisions, bars_5m, bars_1h, anomalies, episodes, applied, leases, gaps, feeds"
    )
    query(dsn, "INSERT INTO leases VALUES ('s', 'me', 1, 'infinity')")


def write(dsn: str, **rows: object) -> None:
    async def main() -> None:
        writer = ShardWriter(dsn, "s")
        position = await writer.position()
        await writer.commit(epoch=1, seq=0 if position is None else position.seq + 1, **rows)  # type: ignore[arg-type]
        await writer.close()

    asyncio.run(main())


def on(dsn: str, body: Callable[[Conn], Awaitable[T]]) -> T:
    async def main() -> T:
        conn = await connect(dsn, "test")
        try:
            return await body(conn)
        finally:
            await conn.close()

    return asyncio.run(main())


def ask(dsn: str, body: Callable[[Reader], Awaitable[T]]) -> T:
    async def main() -> T:
        reader = Reader(dsn, size=2)
        try:
            return await body(reader)
        finally:
            await reader.close()

    return asyncio.run(main())


def folded(dsn: str, slots: list[int], since: int, **options: int) -> list[BarRows]:
    async def body(conn: Conn) -> list[BarRows]:
        ids = np.array(slots, dtype=np.int32)
        return [b async for b in recovery.bars_since(conn, AssetClass.STOCKS, ids, since, **options)]

    return on(dsn, body)


def test_an_anomaly_comes_back_as_it_was_written(dsn: str) -> None:
    row = anomaly(3, scores={"a": 0.1 + 0.2}, episode_id="e")
    write(dsn, anomalies=[row])
    assert ask(dsn, lambda r: r.anomaly(row.id)) == row
    assert ask(dsn, lambda r: r.anomaly("nothing\0")) is None
    written = episode(1, symbol=None, leaders=["AAPL"], members=[{"symbol": "A"}], closed_at=T0)
    write(dsn, episodes=[written])
    assert ask(dsn, lambda r: r.episode(written.id)) == written


def test_pages_meet_every_row_once_while_rows_are_added(dsn: str) -> None:
    write(dsn, anomalies=[anomaly(n, ts=T0 + n // 3 * MINUTE) for n in range(20)])

    async def body(reader: Reader) -> list[str]:
        seen: list[str] = []
        after: Cursor | None = None
        while True:
            page = await reader.anomalies(after=after, limit=3)
            seen += [r.id for r in page.rows]
            if page.next is None:
                return seen
            after = Cursor.decode(page.next.encode())
            query(dsn, "UPDATE anomalies SET ts = ts + interval '1 day', id = 'new' || id "
                       "WHERE id = (SELECT max(id) FROM anomalies WHERE id NOT LIKE 'new%%')")  # fmt: skip

    seen = ask(dsn, body)
    assert seen == [anomaly(n).id for n in reversed(range(20))][: len(seen)]
    assert len(seen) == 20


def test_filters(dsn: str) -> None:
    write(
        dsn,
        anomalies=[
            anomaly(0, severity="low", symbol="A"),
            anomaly(1, severity="medium", kind="market_shock", episode_id="m"),
            anomaly(2, severity="critical", asset_class="crypto"),
            anomaly(3, state="retracted"),
        ],
    )

    def ids(**wanted: object) -> list[int]:
        page = ask(dsn, lambda r: r.anomalies(AnomalyFilter(**wanted)))  # type: ignore[arg-type]
        return [int(r.id, 16) for r in page.rows]

    assert ids() == [3, 2, 1, 0]
    assert ids(symbol="A") == [0]
    assert ids(asset_class="crypto") == [2]
    assert ids(severity_min="high") == [3, 2]
    assert ids(kind="burst_up") == [3, 2, 1, 0]  # the shock's member was a burst of its own
    assert ids(kind="market_shock") == [1]
    assert ids(state="retracted") == [3]
    assert ids(episode_id="m") == [1]
    assert ids(from_ts=T0 + MINUTE, to_ts=T0 + 3 * MINUTE) == [2, 1]
    assert ids(from_ts=-(2**62), to_ts=2**62) == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="expected a severity of low, medium, high, critical, was 'huge'"):
        ids(severity_min="huge")
    with pytest.raises(ValueError, match="expected a limit"):
        ask(dsn, lambda r: r.anomalies(limit=0))


def test_episodes_page(dsn: str) -> None:
    write(dsn, episodes=[episode(n, closed_at=T0 if n % 2 else None) for n in range(5)])
    page = ask(dsn, lambda r: r.episodes(EpisodeFilter(is_open=True), limit=2))
    assert [r.opened_at for r in page.rows] == [T0 + 4 * MINUTE, T0 + 2 * MINUTE]
    assert page.next is not None
    rest = ask(dsn, lambda r: r.episodes(EpisodeFilter(is_open=True), after=page.next, limit=2))
    assert [r.opened_at for r in rest.rows] == [T0]
    assert rest.next is None


@pytest.mark.parametrize("token", ["", "x", "AAAA", "ü", "NXwA", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5fGE"])
def test_a_foreign_cursor_is_refused(token: str) -> None:
    with pytest.raises(CursorError, match="expected a cursor"):
        Cursor.decode(token)


def test_bars_of_a_symbol(dsn: str) -> None:
    on(dsn, lambda c: series.register(c, AssetClass.STOCKS, [(0, "AAPL", 60), (1, "AAPL", 1)]))
    write(dsn, bars=[bars([0], m, close=m + 1) for m in range(600)])
    got = ask(dsn, lambda r: r.bars("AAPL", limit=3))
    assert [(b.close, b.volume, b.trades, b.revision) for b in got] == [(c, 500, None, 0) for c in (598, 599, 600)]
    some = ask(dsn, lambda r: r.bars("AAPL", "stocks", 60, T0 + 2 * MINUTE, T0 + 4 * MINUTE))
    assert [b.ts for b in some] == [T0 + 2 * MINUTE, T0 + 3 * MINUTE]
    assert ask(dsn, lambda r: r.bars("AAPL", "crypto")) == []
    assert ask(dsn, lambda r: r.bars("MSFT\0")) == []
    on(dsn, lambda c: rollup(c, T0, T0 + 600 * MINUTE))
    hours = ask(dsn, lambda r: r.bars("AAPL", bar_s=3600))
    assert len(hours) == 11
    assert (hours[0].open, hours[0].close, hours[0].high, hours[0].low, hours[0].volume) == (1, 40, 41, 0, 40 * 500)
    fives = ask(dsn, lambda r: r.bars("AAPL", bar_s=300, limit=2))
    assert [(b.open, b.close) for b in fives] == [(591, 595), (596, 600)]


def test_rollup_again_is_the_same_and_takes_late_bars(dsn: str) -> None:
    on(dsn, lambda c: series.register(c, AssetClass.STOCKS, [(0, "A", 60), (1, "B", 300), (2, "C", 1)]))
    write(dsn, bars=[bars([0, 1, 2], m, volume=m, vwap=10 + m, trades=1) for m in (0, 1, 7)])
    for _ in range(2):
        assert on(dsn, lambda c: rollup(c, T0, T0 + 8 * MINUTE)) == (4, 2)
    rows = query(dsn, "SELECT series_id, volume, vwap, trades FROM bars_5m ORDER BY series_id, ts")
    assert rows == [(0, 1, 11, 2), (0, 7, 17, 1), (2, 1, 11, 2), (2, 7, 17, 1)]
    write(dsn, bars=[bars([0], 3, volume=3, vwap=14)])
    on(dsn, lambda c: rollup(c, T0, T0 + 8 * MINUTE))
    assert query(dsn, "SELECT volume, vwap, trades FROM bars_5m WHERE series_id = 0 ORDER BY ts")[0] == (4, 13.25, 2)
    assert query(dsn, "SELECT volume, trades FROM bars_1h WHERE series_id = 0") == [(11, 3)]


@pytest.mark.parametrize("block", [10, 200_000])
def test_bars_since_gives_what_was_folded(dsn: str, block: int) -> None:
    write(dsn, bars=[bars([0, 1, 2], m, close=m + 1) for m in range(40)])
    write(dsn, bars=[bars([1], 39, close=500)])  # newest bar revised: folded again
    write(dsn, bars=[bars([1], 20, close=600, in_state=False), bars([2], -5, in_state=False)])  # stored, not folded
    write(dsn, bars=[bars([0], 20, close=700), bars([0], 20, close=800, in_state=False)])
    blocks = folded(dsn, [0, 1], T0 + 10 * MINUTE, block_rows=block)
    all_ = BarRows.concat(blocks)
    assert (np.diff(all_.ts) >= 0).all()
    assert sorted(set(all_.series_id.tolist())) == [0, 1]
    assert len(all_) == 60
    close = {(int(s), int(t - T0) // MINUTE): c for s, t, c in zip(all_.series_id, all_.ts, all_.close, strict=True)}
    assert (close[1, 39], close[1, 20], close[0, 20], close[0, 39]) == (500, 21, 700, 40)
    assert np.isnan(all_.trades).all()
    assert all_.in_state.all()
    for a, b in itertools.pairwise(blocks):
        assert a.ts[-1] < b.ts[0]
    assert {name: getattr(all_, name).dtype for name in ("ts", "close", "series_id", "in_state")} == {
        "ts": np.int64, "close": np.float64, "series_id": np.int32, "in_state": np.bool_,
    }  # fmt: skip


def test_bars_since_of_an_empty_store(dsn: str) -> None:
    assert folded(dsn, [0], T0) == []
    write(dsn, bars=[bars([0])])
    assert folded(dsn, [], T0) == []
    assert folded(dsn, [5], 0) == []


def test_retention_drops_whole_old_days(dsn: str) -> None:
    write(dsn, bars=[bars([0], d * DAY) for d in range(6)])
    write(dsn, bars=[bars([0], d * DAY, close=5) for d in (0, 5)])
    before = on(dsn, lambda c: partitions.db_size(c))
    dropped = on(dsn, lambda c: partitions.retention(c, 2))
    assert "bars_p20250405" in dropped
    assert "bars_p20250406" not in dropped
    assert query(dsn, "SELECT extract(day FROM ts)::int FROM bars ORDER BY ts") == [(6,), (7,)]
    assert query(dsn, "SELECT count(*) FROM bar_revisions") == [(1,)]
    assert on(dsn, lambda c: partitions.retention(c, 2)) == []
    assert before.tables["bars"] > 0
    assert before.bars_per_day > 0
    assert set(before.tables) >= {"anomalies", "outbox", "bars_5m"}
    with pytest.raises(ValueError, match="at least 1 day"):
        on(dsn, lambda c: partitions.retention(c, 0))


def test_a_writer_goes_on_after_retention(dsn: str) -> None:
    async def main() -> None:
        writer = ShardWriter(dsn, "s")
        for k, day in enumerate((0, 5, 0)):
            await writer.commit(epoch=1, seq=k, bars=[bars([0], day * DAY, close=k + 1)])
            conn = await connect(dsn, "job")
            await partitions.retention(conn, 1)
            await conn.close()
        await writer.close()

    asyncio.run(main())
    assert query(dsn, "SELECT close FROM bars") == [(2,)]  # the late old bar came, and went with its day


def test_series_keep_their_slots(dsn: str) -> None:
    table = [(0, "AAPL", 60), (1, "MSFT", 60), (2, "AAPL", 1)]
    on(dsn, lambda c: series.register(c, AssetClass.CRYPTO, table[:2]))
    on(dsn, lambda c: series.register(c, AssetClass.CRYPTO, table))
    on(dsn, lambda c: series.register(c, AssetClass.CRYPTO, []))
    loaded = on(dsn, lambda c: series.load(c, AssetClass.CRYPTO))
    assert [(s.symbol, s.bar_s) for s in loaded] == [("AAPL", 60), ("MSFT", 60), ("AAPL", 1)]
    assert query(dsn, "SELECT id FROM series ORDER BY id") == [(10_000_000,), (10_000_001,), (10_000_002,)]
    with pytest.raises(StoreError, match="every slot to keep its series"):
        on(dsn, lambda c: series.register(c, AssetClass.CRYPTO, [(1, "TSLA", 60)]))
    with pytest.raises(StoreError, match="every series to keep its slot"):
        on(dsn, lambda c: series.register(c, AssetClass.CRYPTO, [(3, "MSFT", 60)]))
    query(dsn, "DELETE FROM series WHERE slot = 1")
    with pytest.raises(StoreError, match="expected slot 1 of crypto next, was 2"):
        on(dsn, lambda c: series.load(c, AssetClass.CRYPTO))
    symbols = ask(dsn, lambda r: r.symbols("crypto", "AA"))
    assert [(s.symbol, s.bar_s) for s in symbols] == [("AAPL", [1, 60])]


def test_feeds_and_gaps(dsn: str) -> None:
    first = feeds.FeedRow("stocks", "live", "ws://x", "advanced", connected_at=T0, newest_ts=T0)
    on(dsn, lambda c: feeds.put_feed(c, first))
    on(dsn, lambda c: feeds.put_feed(c, feeds.FeedRow("stocks", "down", "ws://x", "advanced", lag_s=2.5, detail="cut")))
    (row,) = ask(dsn, lambda r: r.feeds())
    assert (row.status, row.newest_ts, row.lag_s, row.detail) == ("down", T0, 2.5, "cut")
    gap = feeds.GapRow("stocks", T0, T0 + MINUTE, "disconnected")
    for _ in range(2):
        on(dsn, lambda c: feeds.put_gaps(c, [gap]))
    (stored,) = ask(dsn, lambda r: r.gaps("stocks", T0))
    assert (stored.from_ts, stored.to_ts, stored.reason) == (T0, T0 + MINUTE, "disconnected")
    assert ask(dsn, lambda r: r.gaps("stocks", T0 + MINUTE)) == []


def test_the_pool_is_bounded_and_replaces_broken_connections(dsn: str) -> None:
    async def main() -> None:
        pool = Pool(dsn, "small", size=1, wait_s=0.1)
        async with pool.connection():
            with pytest.raises(StoreUnavailableError, match="free connection"):
                async with pool.connection():
                    pass
        query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tapewatch-small'")
        with pytest.raises(StoreUnavailableError):
            async with pool.connection() as conn:
                await conn.execute("SELECT 1")
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
        await pool.close()

    asyncio.run(main())


def test_a_reader_says_when_the_database_is_away() -> None:
    with pytest.raises(StoreUnavailableError):
        ask("postgresql://x:y@127.0.0.1:1/z", lambda r: r.ping())
