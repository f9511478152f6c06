"""Bringing the past: everything once, whatever is killed, lost, full or done twice at the same time."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.types import AssetClass
from ray_apps.ingest.backfill import Backfill, Order, Tally
from ray_apps.ingest.history import History
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.verdict import KeyRefusedError, VendorAwayError
from ray_apps.local.postgres import LocalPostgres
from ray_apps.store.backfills import Span
from ray_apps.store.errors import DiskFullError
from ray_apps.store.migrate import migrate
from tests.ray_apps.simulator.client import START, Running, running
from tests.support.eventually import eventually
from tests.support.http_server import ScriptedHttp, answer
from tests.support.past import plan, walk, write_folder
from tests.support.postgres import query

pytestmark = pytest.mark.integration

MINUTE = 60 * 10**9
DAY = 24 * 60 * MINUTE
CRYPTO = AssetClass.CRYPTO
NAMES = tuple(f"C{i:02d}-USD" for i in range(12))
FROM = START - 8 * 60 * MINUTE
LONG_FROM = START - 60_000 * MINUTE


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills")


@pytest.fixture(scope="module")
def past() -> dict[str, BarColumns]:
    """Give twelve symbols' last eight hours."""
    return {name: walk(i, FROM, 480) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def folder(past: dict[str, BarColumns], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("past"), past)


@dataclass
class Vendor:
    """A simulator behind a door that counts who asks for what, refuses or keeps them waiting."""

    sim: Running
    url: str = ""
    asked: list[str] = field(default_factory=list)
    refuse: Callable[[str], bytes | None] = lambda _: None
    waits: Callable[[str], bool] = lambda _: False
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def times(self) -> Counter[str]:
        """Give how often each symbol's bars were asked for."""
        return Counter(m[1] for path in self.asked if (m := re.search(r"ticker/X:(C\d\d|BTC)USD/.*limit=50000", path)))


@asynccontextmanager
async def vendor(folder: Path, **how: Any) -> AsyncIterator[Vendor]:
    async with running(source=str(folder), start_ns=START, **how) as sim:
        found = Vendor(sim)

        async def forward(path: str) -> bytes:
            found.asked.append(path)
            if found.waits(path):
                await found.opened.wait()
            refused = found.refuse(path)
            if refused is not None:
                return refused
            said = await sim.http.get(httpx.URL(sim.rest + path), headers={"Authorization": "Bearer sim-advanced"})
            return answer(said.content, said.status_code)

        async with ScriptedHttp(lambda path, _: forward(path)) as door:
            found.url = door.url
            yield found


async def bring(made: HistoryPlan, order: Order) -> list[Tally]:
    history = History(made)
    try:
        async with asyncio.timeout(60):
            running_ = Backfill(history, order)
            await running_.run()
            return running_.tallies
    finally:
        await history.close()


def order(names: Sequence[str] = NAMES, from_ns: int = FROM, **changed: Any) -> Order:
    return Order(**{"symbols": names, "bar_s": 60, "span": Span(from_ns, START), "settled_ns": START} | changed)


def assert_stored(dsn: str, past: dict[str, BarColumns]) -> None:
    """Say that the store holds the vendor's bars, all and each once."""
    assert query(dsn, "SELECT count(*) FROM bars") == [(sum(len(b) for b in past.values()),)]
    for symbol, expected in past.items():
        rows = query(
            dsn, "SELECT extract(epoch FROM ts)::bigint * 1000000000, open, high, low, close, volume, vwap, trades "
            "FROM bars JOIN series ON series_id = id WHERE symbol = %s ORDER BY ts", symbol,
        )  # fmt: skip
        for name, column in zip(COLUMN_NAMES, zip(*rows, strict=True), strict=True):
            np.testing.assert_array_equal(np.array(column, float), getattr(expected, name).astype(float), err_msg=name)


def test_everything_comes_once_and_then_only_what_is_new(dsn: str, folder: Path, past: dict[str, BarColumns]) -> None:
    async def main() -> None:
        async with vendor(folder) as v:
            made = plan(v.url, dsn)
            first = await bring(made, order(settled_ns=START - 20 * MINUTE))
            assert [(t.symbol, t.new, t.failure) for t in first] == [(n, len(b), "") for n, b in past.items()]
            assert [(t.first_ns, t.last_ns) for t in first] == [(b.ts[0], b.ts[-1]) for b in past.values()]
            assert_stored(dsn, past)
            v.asked.clear()
            again = await bring(made, order())
            assert all((t.new, t.revised) == (0, 0) and 10 <= t.same <= 20 for t in again)
            assert all(str((START - 20 * MINUTE) // 10**6) in path for path in v.asked)
            v.asked.clear()
            third = await bring(made, order())
            assert [t.todo_ns for t in third] == [0] * len(NAMES)
            assert v.asked == []
            older = await bring(made, order(from_ns=FROM - DAY))  # an empty day is fine
            assert {(t.n_bars, t.failure, t.is_over) for t in older} == {(0, "", True)}
            assert len(v.asked) == len(NAMES)

    asyncio.run(main())


def test_changed_bars_become_revisions(dsn: str, folder: Path, past: dict[str, BarColumns], tmp_path: Path) -> None:
    changed = {name: BarColumns(**{c: getattr(b, c).copy() for c in COLUMN_NAMES}) for name, b in past.items()}
    for bars in changed.values():
        bars.close[100:107] = bars.low[100:107]

    async def main() -> None:
        async with vendor(folder) as v:
            await bring(plan(v.url, dsn), order())
        query(dsn, "UPDATE bars SET in_state = true")  # as if the stream had brought them
        query(dsn, "TRUNCATE backfills")
        async with vendor(write_folder(tmp_path, changed)) as v:
            tallies = await bring(plan(v.url, dsn), order())
        assert {(t.new, t.revised) for t in tallies} == {(0, 7)}

    asyncio.run(main())
    assert_stored(dsn, changed)
    kept = query(dsn, "SELECT count(*), bool_and(in_state) FROM bar_revisions")
    assert kept == [(7 * len(NAMES), True)]
    assert query(dsn, "SELECT count(*) FROM bars WHERE NOT in_state") == [(7 * len(NAMES),)]


def test_two_at_once_share_the_work(dsn: str, folder: Path, past: dict[str, BarColumns]) -> None:
    async def main() -> None:
        async with vendor(folder, faults={"rest_latency_s": 0.1}) as v:
            both = await asyncio.gather(bring(plan(v.url, dsn), order()), bring(plan(v.url, dsn), order(NAMES[::-1])))
            assert all(not t.failure for tallies in both for t in tallies)
            assert v.times() == dict.fromkeys((n[:3] for n in NAMES), 1)

    asyncio.run(main())
    assert_stored(dsn, past)


def test_a_symbol_that_fails_stops_no_other_and_comes_next_time(
    dsn: str, folder: Path, past: dict[str, BarColumns]
) -> None:
    async def main() -> None:
        async with vendor(folder) as v:
            v.refuse = lambda path: answer(b"", 502) if "C03" in path else None
            made = plan(v.url, dsn, tries=2)
            tallies = {t.symbol: t for t in await bring(made, order([*NAMES, "NOPE-USD"]))}
            assert [(t.symbol, t.is_unknown) for t in tallies.values() if t.failure] == [
                ("C03-USD", False), ("NOPE-USD", True),
            ]  # fmt: skip
            assert "in 2 tries: 502" in tallies["C03-USD"].failure
            assert (tallies["NOPE-USD"].n_bars, tallies["NOPE-USD"].is_over) == (0, True)
            v.refuse, v.asked[:] = lambda _: None, []
            again = await bring(made, order())
            assert [t.failure for t in again] == [""] * len(NAMES)
            assert v.times() == {"C03": 1}

    asyncio.run(main())
    assert_stored(dsn, past)


def test_a_vendor_that_is_gone_is_not_asked_for_every_symbol(dsn: str, folder: Path) -> None:
    async def main() -> None:
        async with vendor(folder) as v:
            v.refuse = lambda _: answer(b"", 500)
            with pytest.raises(VendorAwayError):
                await bring(plan(v.url, dsn, tries=1, in_flight=1), order())
            assert len(v.asked) == 5
            v.refuse, v.asked[:] = lambda _: answer(b"", 401), []
            with pytest.raises(KeyRefusedError):
                await bring(plan(v.url, dsn, in_flight=1), order())
            assert len(v.asked) == 1

    asyncio.run(main())


def test_a_database_that_is_lost_and_comes_back_costs_nothing(
    folder: Path, past: dict[str, BarColumns], tmp_path: Path
) -> None:
    async def main(server: LocalPostgres) -> None:
        async with vendor(folder, faults={"rest_latency_s": 0.2}) as v:
            bringing = asyncio.create_task(bring(plan(v.url, server.dsn, in_flight=2), order()))
            await eventually(lambda: query(server.dsn, "SELECT count(*) FROM backfills")[0][0] >= 2)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1.0)  # long enough that both symbols in flight find nobody
            assert not bringing.done()
            await asyncio.to_thread(server.start)
            assert [t.failure for t in await bringing] == [""] * len(NAMES)
            assert v.times() == dict.fromkeys((n[:3] for n in NAMES), 1)

    with LocalPostgres(tmp_path) as server:
        migrate(server.dsn)
        asyncio.run(main(server))
        assert_stored(server.dsn, past)


def test_a_full_disk_ends_it_and_the_rest_comes_later(dsn: str, folder: Path, past: dict[str, BarColumns]) -> None:
    quota = """
    CREATE FUNCTION quota() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM backfills) >= 4 THEN
            RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER quota BEFORE INSERT ON backfills FOR EACH ROW EXECUTE FUNCTION quota()
    """
    query(dsn, quota)

    async def main() -> None:
        async with vendor(folder) as v:
            with pytest.raises(DiskFullError, match="out of disk space"):
                await bring(plan(v.url, dsn, in_flight=1), order())
            stored = query(dsn, "SELECT count(DISTINCT series_id) FROM bars")
            query(dsn, "DROP TRIGGER quota ON backfills; DROP FUNCTION quota()")
            assert stored == query(dsn, "SELECT count(*) FROM backfills") == [(4,)]
            await bring(plan(v.url, dsn), order())

    asyncio.run(main())
    assert_stored(dsn, past)


async def command(url: str, dsn: str, *args: str) -> asyncio.subprocess.Process:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_"))}
    environ |= {"POLYGON_API_KEY": "sim-advanced", "POLYGON_REST_URL": url, "DATABASE_URL": dsn}
    environ |= {"TAPEWATCH_RETENTION_DAYS": "400"}
    line = [str(Path(sys.executable).with_name("tapewatch")), "backfill", "--asset", "crypto", *args]
    return await asyncio.create_subprocess_exec(*line, env=environ, stdout=-1, stderr=-1)


def test_killed_in_the_middle_it_goes_on_where_it_stopped(
    dsn: str, past: dict[str, BarColumns], tmp_path: Path
) -> None:
    """One long symbol of two pages and twelve short ones; kill -9 when about half is stored."""
    past = {**past, "BTC-USD": walk(99, LONG_FROM, 60_000)}
    asked = ("--symbols", ",".join(["BTC-USD", *NAMES]), "--from", "2026-08-04", "--to", "2026-09-15T14:00")

    async def main() -> None:
        async with vendor(write_folder(tmp_path, past)) as v:
            # the second page of the long one, and the last four of the others
            v.waits = lambda path: v.times()["BTC"] == 2 if "BTC" in path else bool(re.search("C08|C09|C1.", path))
            started = await command(v.url, dsn, *asked)
            await eventually(lambda: query(dsn, "SELECT count(*) FROM backfills") == [(9,)], 40)
            started.send_signal(signal.SIGKILL)
            await started.wait()
            stored = {str(r[0])[:3] for r in query(dsn, "SELECT symbol FROM backfills")}
            before, v.asked[:] = v.times(), []
            v.opened.set()
            async with asyncio.timeout(40):
                out, err = await (await command(v.url, dsn, *asked)).communicate()
            assert b"error" not in err, err
            assert "13 symbols" in out.decode()
            again = v.times()
            assert (before + again)["BTC"] <= 2 + 1  # the first is stored, the second was asked for
            assert again.keys() == {"BTC", "C08", "C09", "C10", "C11"}
            assert stored == {"BTC", *(name[:3] for name in NAMES[:8])}

    asyncio.run(main())
    assert_stored(dsn, {name: b.take(b.ts < START - 60 * MINUTE) for name, b in past.items()})
