"""Bars of many series in one write, and the memory of files: what it says, what takes it back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.types import AssetClass
from ray_apps.store import imports, partitions
from ray_apps.store.connect import Conn, connect
from ray_apps.store.history import HistoryWriter, Sheaf, Written
from ray_apps.store.imports import Imported
from tests.support.past import walk
from tests.support.postgres import query
from tests.support.store import MINUTE, T0

pytestmark = pytest.mark.integration
T = TypeVar("T")
STOCKS = AssetClass.STOCKS
DAY = 24 * 60 * MINUTE
NEVER = 2**62


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills, imports")


def on(dsn: str, body: Callable[[Conn], Awaitable[T]]) -> T:
    async def main() -> T:
        conn = await connect(dsn, "test")
        try:
            return await body(conn)
        finally:
            await conn.close()

    return asyncio.run(main())


def sheaf(**series: BarColumns) -> Sheaf:
    row = np.repeat(np.arange(len(series), dtype=np.int32), [len(b) for b in series.values()])
    columns: dict[str, Any] = {c: np.concatenate([getattr(b, c) for b in series.values()]) for c in COLUMN_NAMES}
    return Sheaf([(name, 60) for name in series], row, BarColumns(**columns))


def write(dsn: str, *sheaves: Sheaf, settled_ns: int = NEVER) -> list[Written]:
    async def main() -> list[Written]:
        writer = HistoryWriter(dsn, STOCKS)
        try:
            return [await writer.write_sheaf(s, settled_ns) for s in sheaves]
        finally:
            await writer.close()

    return asyncio.run(main())


def test_a_sheaf_is_stored_once_and_revised_and_covers_nothing(dsn: str) -> None:
    a, b = walk(1, T0, 40, missing=0), walk(2, T0 + 7 * MINUTE, 30, missing=0)
    assert write(dsn, sheaf(A=a, B=b)) == [Written(70, 0, 0)]
    changed = BarColumns(**{c: getattr(b, c).copy() for c in COLUMN_NAMES})
    changed.close[:4] = changed.low[:4]
    later = walk(3, T0 + 60 * MINUTE, 5, missing=0)
    assert write(dsn, sheaf(B=changed, C=later, A=a)) == [Written(5, 4, 66)]
    stored = query(dsn, "SELECT symbol, count(*), sum(revision), bool_or(in_state) FROM bars JOIN series "
                        "ON id = series_id GROUP BY 1 ORDER BY 1")  # fmt: skip
    assert stored == [("A", 40, 0, False), ("B", 30, 4, False), ("C", 5, 0, False)]
    closes = query(dsn, "SELECT close FROM bars JOIN series ON id = series_id WHERE symbol = 'B' ORDER BY ts")
    assert [r[0] for r in closes] == changed.close.tolist()
    assert query(dsn, "SELECT count(*) FROM backfills") == [(0,)]
    assert write(dsn, sheaf(A=changed), settled_ns=T0) == [Written(0, 0, 30)]  # the stream's word is newer


def test_a_file_is_known_as_it_was_read_until_it_changes_or_its_days_are_dropped(dsn: str) -> None:
    file = Imported("/a.csv", "60 s", "10:1", 5, T0, T0 + DAY)

    async def remember(conn: Conn) -> set[tuple[str, str, str]]:
        await imports.remember(conn, STOCKS, file)
        await imports.remember(conn, STOCKS, Imported("/a.csv", "60 s", "11:2", 6, T0, T0 + DAY))
        await imports.remember(conn, STOCKS, Imported("/b.csv", "60 s", "1:1", 6, T0 + 3 * DAY, T0 + 3 * DAY))
        await imports.remember(conn, AssetClass.CRYPTO, Imported("/b.csv", "", "1:9", 6, T0 + 3 * DAY, T0 + 3 * DAY))
        return await imports.known(conn, STOCKS, ["/a.csv", "/b.csv", "/c.csv"])

    assert on(dsn, remember) == {("/a.csv", "60 s", "11:2"), ("/b.csv", "60 s", "1:1")}
    write(dsn, sheaf(A=walk(1, T0, 2), B=walk(1, T0 + 3 * DAY, 2)))

    async def retain(conn: Conn) -> set[tuple[str, str, str]]:
        assert len(await partitions.retention(conn, 2)) == 1
        return await imports.known(conn, STOCKS, ["/a.csv", "/b.csv"])

    assert on(dsn, retain) == {("/b.csv", "60 s", "1:1")}
