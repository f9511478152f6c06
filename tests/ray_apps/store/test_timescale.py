"""Bars in a hypertable read as those in plain tables do; a database of plain tables stays one.

What needs the extension runs where `TAPEWATCH_TIMESCALE` is the address of a server that has it:
postgresql://USER@HOST:PORT, of a user who may make databases.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from alembic import command
from sqlalchemy import create_engine, make_url

from features.market.bars import BarColumns
from features.market.types import AssetClass
from ray_apps.sinks.house import keep_house
from ray_apps.store import partitions, timescale
from ray_apps.store.backfills import Span
from ray_apps.store.connect import connect, fetch
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import config, migrate, newest
from ray_apps.store.series import newest_end
from ray_apps.store.writer import ShardWriter
from tests.support.past import walk
from tests.support.postgres import query
from tests.support.store import bars

SERVER = os.environ.get("TAPEWATCH_TIMESCALE", "")
DAY_NS = partitions.DAY_NS
DAY0 = 20_000
ROLLED = "SELECT series_id, ts, open, high, low, close, volume, vwap, trades FROM {} ORDER BY series_id, ts"

extended = pytest.mark.skipif(not SERVER, reason="no server with TimescaleDB: TAPEWATCH_TIMESCALE")


@pytest.fixture
def hyper_dsn() -> Iterator[str]:
    """Give a database of its own on the server with the extension."""
    name = f"test_{secrets.token_hex(4)}"
    query(f"{SERVER}/postgres", f"CREATE DATABASE {name}")
    yield f"{SERVER}/{name}"
    query(f"{SERVER}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


def test_what_is_dropped_is_made_again_under_its_name() -> None:
    made = timescale.statements()
    assert [s for s in made if s.startswith("DROP")] == ["DROP TABLE bars, bars_5m, bars_1h"]
    assert "ALTER TABLE hyper_bars RENAME TO bars" in made
    for name in ("bars_5m", "bars_1h"):
        assert any(s.startswith(f"CREATE VIEW {name} AS SELECT * FROM all_{name} ") for s in made)
    assert all("WITH NO DATA" in s for s in made if s.startswith("CREATE MATERIALIZED"))  # else no transaction takes it
    with pytest.raises(ValueError, match="at least 1 day"):
        timescale.statements(0)


@pytest.mark.integration
def test_a_server_without_the_extension_keeps_plain_tables(blank_dsn: str) -> None:
    assert migrate(blank_dsn) == newest()
    assert query(blank_dsn, timescale.IS_OFFERED) == [(False,)]
    assert query(blank_dsn, timescale.IS_HYPER) == [(False,)]


async def bring(dsn: str, days: int, symbol: str, bar_s: int = 60, first: int = DAY0) -> BarColumns:
    """Store the past of one symbol."""
    made = walk(1, first * DAY_NS, days * 86_400 // bar_s, bar_s=bar_s, missing=0)
    writer = HistoryWriter(dsn, AssetClass.CRYPTO)
    await writer.write([Stretch(symbol, bar_s, Span(first * DAY_NS, (first + days) * DAY_NS), made)], 2**62)
    await writer.close()
    return made


async def fill(dsn: str) -> None:
    """Store three days of a symbol by minute, of another by minute and second, of a third by five minutes."""
    await bring(dsn, 3, "BTC-USD")
    await bring(dsn, 3, "ETH-USD")
    await bring(dsn, 1, "ETH-USD", 1, DAY0 + 2)
    await bring(dsn, 3, "SOL-USD", 300)


@extended
@pytest.mark.integration
def test_both_kinds_of_tables_read_the_same(blank_dsn: str, hyper_dsn: str) -> None:
    found = []
    for dsn in (blank_dsn, hyper_dsn):
        migrate(dsn)
        asyncio.run(fill(dsn))
        kept = [asyncio.run(keep_house(dsn, 2))]
        rows = [np.array(query(dsn, ROLLED.format(t)), dtype=object) for t in ("bars", "bars_5m", "bars_1h")]
        found.append((kept, rows))
    assert query(blank_dsn, timescale.IS_HYPER) == [(False,)]
    assert query(hyper_dsn, timescale.IS_HYPER) == [(True,)]
    (kept, plain), (hyper_kept, hyper) = found
    assert kept == hyper_kept == [[partitions.partition_name(DAY0)]]
    for a, b in zip(plain, hyper, strict=True):
        assert len(a) > 100
        assert np.array_equal(a[:, :2], b[:, :2])
        assert np.allclose(a[:, 2:].astype(float), b[:, 2:].astype(float), rtol=1e-12, equal_nan=True)


@extended
@pytest.mark.integration
def test_days_of_a_hypertable_are_found_measured_and_dropped(hyper_dsn: str) -> None:
    migrate(hyper_dsn)

    async def main() -> None:
        made = await bring(hyper_dsn, 3, "BTC-USD")
        conn = await connect(hyper_dsn, "test")
        assert await partitions.days_present(conn) == [DAY0, DAY0 + 1, DAY0 + 2]
        assert await partitions.newest_ts(conn) == made.ts[-1]
        assert await newest_end(conn, AssetClass.CRYPTO) == made.ts[-1] + 60 * 10**9
        await conn.execute("SELECT compress_chunk(c) FROM show_chunks('bars') c")
        assert await partitions.newest_ts(conn) == made.ts[-1]
        size = await partitions.db_size(conn)
        assert size.tables["bars"] >= size.bars_per_day > 0
        assert {"bars_5m", "bars_1h"} <= set(size.tables)
        assert await partitions.retention(conn, 1) == [partitions.partition_name(d) for d in (DAY0, DAY0 + 1)]
        assert await partitions.days_present(conn) == [DAY0 + 2]
        await conn.close()

    asyncio.run(main())


@extended
@pytest.mark.integration
def test_a_compressed_day_takes_revisions(hyper_dsn: str) -> None:
    migrate(hyper_dsn)
    query(hyper_dsn, "INSERT INTO leases VALUES ('s', 'test', 1, 'infinity')")

    async def main() -> None:
        writer = ShardWriter(hyper_dsn, "s")
        conn = await connect(hyper_dsn, "test")
        for seq, close in enumerate((100.0, 50.0)):
            await writer.commit(epoch=1, seq=seq, bars=[bars([0], m, close=close) for m in range(3)])
            await conn.execute("SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('bars') c")
        assert await fetch(conn, "SELECT close, revision FROM bars ORDER BY ts") == [(50.0, 1)] * 3
        assert await fetch(conn, "SELECT count(*) FROM bar_revisions") == [(3,)]
        await writer.close()
        await conn.close()

    asyncio.run(main())


@extended
@pytest.mark.integration
def test_a_plain_database_stays_plain_where_the_extension_comes_later(hyper_dsn: str) -> None:
    engine = create_engine(make_url(hyper_dsn).set(drivername="postgresql+psycopg"))
    with engine.connect() as conn:
        command.upgrade(config(conn), "0004")
        conn.commit()
    engine.dispose()
    made = asyncio.run(bring(hyper_dsn, 1, "BTC-USD"))
    assert migrate(hyper_dsn) == newest()
    assert query(hyper_dsn, timescale.IS_HYPER) == [(False,)]
    assert query(hyper_dsn, "SELECT count(*) FROM bars") == [(len(made),)]


@extended
@pytest.mark.integration
def test_the_way_back_keeps_what_was_rolled_up(hyper_dsn: str) -> None:
    migrate(hyper_dsn)
    asyncio.run(bring(hyper_dsn, 1, "BTC-USD"))
    asyncio.run(keep_house(hyper_dsn, 2))
    before = query(hyper_dsn, ROLLED.format("bars_1h"))
    engine = create_engine(make_url(hyper_dsn).set(drivername="postgresql+psycopg"))
    with engine.connect() as conn:
        command.downgrade(config(conn), "0004")
        conn.commit()
        assert query(hyper_dsn, ROLLED.format("bars_1h")) == before
        assert len(before) == 24
        command.downgrade(config(conn), "base")
        conn.commit()
    engine.dispose()
