"""What housekeeping does to bars that came late, long ago and too long ago."""

import asyncio

import numpy as np
import pytest

from features.market.bars import BarColumns
from features.market.types import AssetClass
from ray_apps.sinks.house import keep_house
from ray_apps.store.backfills import Span
from ray_apps.store.connect import connect, fetch
from ray_apps.store.history import HistoryWriter, Stretch
from ray_apps.store.migrate import migrate
from ray_apps.store.partitions import partition_name
from ray_apps.store.rollup import DAY_NS, note, rollup_noted
from tests.support.past import walk
from tests.support.postgres import query

pytestmark = pytest.mark.integration
DAY0 = 20_000


def bring(dsn: str, days: int) -> BarColumns:
    """Store the past of one symbol."""
    bars = walk(1, DAY0 * DAY_NS, days * 1_440, missing=0)

    async def main() -> None:
        writer = HistoryWriter(dsn, AssetClass.CRYPTO)
        span = Span(DAY0 * DAY_NS, (DAY0 + days) * DAY_NS)
        await writer.write([Stretch("BTC-USD", 60, span, bars)], span.to_ns)
        await writer.close()

    asyncio.run(main())
    return bars


def test_history_that_was_brought_is_rolled_up_and_the_oldest_days_go(blank_dsn: str) -> None:
    migrate(blank_dsn)
    bars = bring(blank_dsn, 3)
    assert query(blank_dsn, "SELECT * FROM bars_1h") == []
    assert asyncio.run(keep_house(blank_dsn, 2)) == [partition_name(DAY0)]
    hours = query(blank_dsn, "SELECT ts, open, close, volume FROM bars_1h ORDER BY ts")
    assert len(hours) == 72
    assert [h[1] for h in hours] == bars.open[::60].tolist()
    assert [h[2] for h in hours] == bars.close[59::60].tolist()
    assert np.allclose([h[3] for h in hours], bars.volume.reshape(-1, 60).sum(axis=1))
    assert query(blank_dsn, "SELECT count(*) FROM bars") == [(2 * 1_440,)]
    assert query(blank_dsn, "SELECT * FROM unrolled_days") == []


def test_a_day_written_to_while_it_is_rolled_up_is_rolled_up_again(blank_dsn: str) -> None:
    """Who writes holds the note until it commits: the roll-up waits and sees the bars."""
    migrate(blank_dsn)
    bring(blank_dsn, 1)

    async def main() -> int:
        writing, rolling = await connect(blank_dsn, "writing"), await connect(blank_dsn, "rolling")
        async with writing.transaction():
            await writing.execute("UPDATE bars SET high = 1e6")
            await note(writing, {DAY0})
            waiting = asyncio.create_task(rollup_noted(rolling, 5))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        done = await waiting
        assert {r[0] for r in await fetch(writing, "SELECT high FROM bars_5m")} == {1e6}
        await writing.close()
        await rolling.close()
        return done

    assert asyncio.run(main()) == 1


def test_an_empty_store_needs_no_keeping(blank_dsn: str) -> None:
    migrate(blank_dsn)
    assert asyncio.run(keep_house(blank_dsn, 1)) == []
