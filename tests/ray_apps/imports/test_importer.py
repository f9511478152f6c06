"""Importing into a real database: everything once, whatever is killed, lost, full, damaged or done again."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.market.bars import BarColumns
from features.market.types import AssetClass
from ray_apps.bench.history import walk as long_walk
from ray_apps.imports import pieces
from ray_apps.imports.config import S3Config
from ray_apps.imports.importer import Import, Order
from ray_apps.imports.place import find
from ray_apps.imports.told import Told
from ray_apps.local.postgres import LocalPostgres
from ray_apps.store.errors import DiskFullError, StoreUnavailableError
from ray_apps.store.migrate import migrate
from tests.support.bar_files import (
    PLAIN_HEADER,
    assert_stored,
    importing,
    plain_rows,
    stored,
    write_csv,
    write_flat,
)
from tests.support.eventually import eventually
from tests.support.past import walk, write_folder
from tests.support.postgres import query

pytestmark = pytest.mark.integration

T0 = 1_743_600_000 * 10**9
MINUTE = 60 * 10**9
SERIES = {f"S{i:02d}": walk(i, T0, 300) for i in range(8)}
N = sum(len(b) for b in SERIES.values())


@pytest.fixture(autouse=True)
def _empty(dsn: str) -> None:
    query(dsn, "TRUNCATE bars, bar_revisions, series, backfills, imports")


def run(running: Import) -> Import:
    async def main() -> None:
        async with asyncio.timeout(60):
            await running.run()

    asyncio.run(main())
    return running


def counts(running: Import) -> list[tuple[int, int, int]]:
    return [(t.new, t.revised, t.same) for t in running.tallies]


def write_long(path: Path, n: int) -> BarColumns:
    """Write a long series of minutes in the plain layout."""
    bars = long_walk(n)
    names = {"t": bars.ts // 10**6, "o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
    pq.write_table(pa.table(names | {"v": bars.volume, "vw": bars.vwap, "n": bars.trades}), path)
    return bars


def test_every_layout_is_stored_once_and_then_known(dsn: str, tmp_path: Path) -> None:
    write_flat(tmp_path / "minute_aggs_v1/2025-04-02.csv.gz", dict(list(SERIES.items())[:3]))
    write_flat(tmp_path / "minute_aggs_v1/2025-04-03.parquet", dict(list(SERIES.items())[3:5]))
    write_csv(tmp_path / "S05.csv", PLAIN_HEADER, plain_rows(SERIES["S05"]))
    write_folder(tmp_path, {"S06": SERIES["S06"]})
    names = "symbol,timestamp,open,high,low,close,volume,vwap,trades"
    rows = [("S07", np.datetime64(r[0], "ms"), *r[1:]) for r in plain_rows(SERIES["S07"])]
    write_csv(tmp_path / "others.csv", names, [(s, f"{t}Z", *v) for s, t, *v in rows])
    first = run(importing(dsn, tmp_path))
    assert [(t.failure, t.n_refused, t.bar_s) for t in first.tallies] == [("", 0, 60)] * 5
    assert sum(t.new for t in first.tallies) == N
    assert first.share == 1.0
    for name, bars in SERIES.items():
        assert_stored(dsn, name, bars, without=("vwap",) if name < "S05" else ())
    assert query(dsn, "SELECT bool_or(in_state), max(revision) FROM bars") == [(False, 0)]
    assert query(dsn, "SELECT count(*) FROM backfills") == [(0,)]  # nobody said that they are complete
    again = run(importing(dsn, tmp_path))
    assert all(t.is_known for t in again.tallies)
    assert again.n_bars == 0
    told = run(importing(dsn, tmp_path, again=True))
    assert sum(t.same for t in told.tallies) == told.n_bars == N
    otherwise = run(importing(dsn, tmp_path / "S05.csv", bar_s=60))  # read otherwise it is another file
    assert counts(otherwise) == [(0, 0, len(SERIES["S05"]))]


def test_a_changed_file_gives_revisions(dsn: str, tmp_path: Path) -> None:
    path = write_flat(tmp_path / "x.csv.gz", SERIES)
    run(importing(dsn, path))
    query(dsn, "UPDATE bars SET in_state = true")  # as if the stream had brought them
    changed = dict(SERIES)
    bars = SERIES["S03"]
    changed["S03"] = replace(bars, close=np.where(np.arange(len(bars)) < 7, bars.low, bars.close))
    run_ = run(importing(dsn, write_flat(path, changed)))
    assert counts(run_) == [(0, 7, N - 7)]
    assert_stored(dsn, "S03", changed["S03"], without=("vwap",))
    assert query(dsn, "SELECT count(*), bool_and(in_state) FROM bar_revisions") == [(7, True)]
    assert query(dsn, "SELECT count(*) FROM bars WHERE NOT in_state") == [(7,)]


def test_what_is_bad_is_listed_and_the_rest_is_there(dsn: str, tmp_path: Path) -> None:
    rows = [list(r) for r in plain_rows(SERIES["S00"])]
    good = list(rows)
    rows.insert(100, [rows[100][0], "abc", *rows[100][2:]])
    write_csv(tmp_path / "A.csv", PLAIN_HEADER, rows)
    whole = write_flat(tmp_path / "b.csv.gz", {"B": SERIES["S01"]}).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "C.csv").write_text("t,o,h,l\n")
    (tmp_path / "D.csv").write_text("")
    (tmp_path / "e.csv").write_text("t,o,h,l,c,v\n")
    tallies = {t.place.name: t for t in run(importing(dsn, tmp_path)).tallies}
    assert dict(tallies["A.csv"].refused) == {"wrong_type": 1}
    assert tallies["A.csv"].messages[0].startswith("A.csv:102: expected numbers, was abc")
    assert_stored(dsn, "A", SERIES["S00"])
    n = len(stored(dsn, "B"))
    assert 0 < n < len(SERIES["S01"])
    assert tallies["b.csv.gz"].failure.startswith(f"b.csv.gz:{n + 2}: expected more data, was broken off")
    assert "was without c,v" in tallies["C.csv"].failure
    assert "was an empty file" in tallies["D.csv"].failure
    assert tallies["e.csv"].is_question
    assert query(dsn, "SELECT count(*) FROM imports") == [(0,)]
    (tmp_path / "b.csv.gz").write_bytes(whole)
    write_csv(tmp_path / "A.csv", PLAIN_HEADER, good)
    mended = {t.place.name: t for t in run(importing(dsn, tmp_path)).tallies}
    assert (mended["b.csv.gz"].new, mended["b.csv.gz"].same) == (len(SERIES["S01"]) - n, n)
    assert_stored(dsn, "B", SERIES["S01"], without=("vwap",))
    assert query(dsn, "SELECT count(*) FROM imports") == [(2,)]


@contextmanager
def trigger(dsn: str, when: str, then: str) -> Iterator[None]:
    """Do something before bars are inserted."""
    query(dsn, f"CREATE FUNCTION quota() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               f"IF {when} THEN {then}; END IF; RETURN NULL; END $$;"
               "CREATE TRIGGER quota BEFORE INSERT ON bars FOR EACH STATEMENT EXECUTE FUNCTION quota()")  # fmt: skip
    try:
        yield
    finally:
        query(dsn, "DROP TRIGGER quota ON bars; DROP FUNCTION quota()")


FULL = "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'"


def test_a_full_disk_ends_it_and_the_rest_comes_later(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "BATCH_ROWS", 100)
    write_folder(tmp_path, SERIES)
    stopped = importing(dsn, tmp_path)
    full = r"S02.parquet:\d+ to \d+: .* out of disk space: could not extend file"
    with trigger(dsn, "(SELECT count(*) FROM bars) >= 750", FULL), pytest.raises(DiskFullError, match=full):
        run(stopped)
    assert [t.is_over for t in stopped.tallies] == [True, True, *[False] * 6]
    before = query(dsn, "SELECT count(*) FROM bars")[0][0]
    assert query(dsn, "SELECT count(*) FROM imports") == [(2,)]
    again = run(importing(dsn, tmp_path))
    assert [t.is_known for t in again.tallies] == [True, True, *[False] * 6]
    assert sum(t.new for t in again.tallies) == N - before
    for name, bars in SERIES.items():
        assert_stored(dsn, name, bars)


async def command(dsn: str, *args: str) -> asyncio.subprocess.Process:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_", "AWS_"))}
    environ |= {"DATABASE_URL": dsn, "TAPEWATCH_RETENTION_DAYS": "3000"}
    line = [str(Path(sys.executable).with_name("tapewatch")), "import", *args]
    return await asyncio.create_subprocess_exec(*line, env=environ, stdout=-1, stderr=-1)


def test_killed_in_the_middle_it_is_completed_by_the_next(dsn: str, tmp_path: Path) -> None:
    """A file of three transactions, the last of which waits; kill -9 while it does."""
    n = 2 * pieces.BATCH_ROWS + 20_000
    bars = write_long(tmp_path / "LONG.parquet", n)
    args = (str(tmp_path), "--asset", "stocks", "--json")

    async def main() -> None:
        with trigger(dsn, f"(SELECT count(*) FROM bars) >= {2 * pieces.BATCH_ROWS}", "PERFORM pg_sleep(60)"):
            started = await command(dsn, *args)
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE '%history%'"
            await eventually(lambda: query(dsn, waits), 40)
            started.send_signal(signal.SIGKILL)
            await started.wait()
            query(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            await eventually(lambda: not query(dsn, waits))
        assert query(dsn, "SELECT count(*) FROM bars") == [(2 * pieces.BATCH_ROWS,)]
        assert query(dsn, "SELECT count(*) FROM imports") == [(0,)]
        async with asyncio.timeout(60):
            finished = await command(dsn, *args)
            out, err = await finished.communicate()
        assert finished.returncode == 0, err
        assert b"error" not in err  # how far it is may stand there, where the machine is busy
        assert f'"new": {n - 2 * pieces.BATCH_ROWS}, "revised": 0, "same": {2 * pieces.BATCH_ROWS}'.encode() in out

    asyncio.run(main())
    assert_stored(dsn, "LONG", bars)


def test_a_database_that_is_lost_and_comes_back_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost for longer than the patience it ends the run, which names file and line; a shorter time goes unnoticed."""
    monkeypatch.setattr(pieces, "BATCH_ROWS", 1_000)
    bars = write_long(tmp_path / "LONG.parquet", 100_000)

    async def lose(server: LocalPostgres, patience_s: float) -> tuple[Import, asyncio.Task[None]]:
        running = importing(server.dsn, tmp_path / "LONG.parquet", patience_s=patience_s)
        task = asyncio.create_task(running.run())
        await eventually(lambda: running.n_bars >= 3_000)
        await asyncio.to_thread(server.stop)
        return running, task

    async def main(server: LocalPostgres) -> None:
        running, task = await lose(server, 0.5)
        with pytest.raises(StoreUnavailableError, match=r"LONG.parquet:\d+001 to \d+000: expected the database to"):
            async with asyncio.timeout(30):
                await task
        assert (running.tallies[0].is_over, running.tallies[0].n_bars % 1_000) == (False, 0)
        await asyncio.to_thread(server.start)
        running, task = await lose(server, 60.0)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(60):
            await task
        assert (running.n_bars, running.tallies[0].failure) == (len(bars), "")

    with LocalPostgres(tmp_path) as server:
        migrate(server.dsn)
        asyncio.run(main(server))
        assert_stored(server.dsn, "LONG", bars)


def test_what_the_store_would_drop_is_refused(dsn: str, tmp_path: Path) -> None:
    day = 86_400 * 10**9
    write_csv(tmp_path / "NEW.csv", PLAIN_HEADER, plain_rows(walk(1, T0, 60)))
    write_csv(tmp_path / "OLD.csv", PLAIN_HEADER, plain_rows(walk(1, T0 - 40 * day, 60)))
    run(importing(dsn, tmp_path / "NEW.csv"))

    def kept(days: int) -> Import:
        told = Told(AssetClass.STOCKS)
        return run(Import(dsn, Order(find([str(tmp_path / "OLD.csv")], S3Config()), told, days)))

    assert "too_old" in kept(30).tallies[0].failure
    assert "for the store keeps the 30 days before its newest bar (raise retention_days)" in kept(30).tallies[0].failure
    assert kept(50).tallies[0].n_bars > 0


def test_more_days_than_the_store_holds_end_a_file(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = walk(1, T0 // (86_400 * 10**9) * 86_400 * 10**9 - 800 * 86_400 * 10**9, 700, bar_s=86_400, missing=0)
    write_csv(tmp_path / "A.csv", PLAIN_HEADER, plain_rows(days))
    monkeypatch.setattr("ray_apps.imports.importer.MOST_DAYS", 500)
    tally = run(importing(dsn, tmp_path / "A.csv")).tallies[0]
    assert tally.failure.startswith("A.csv:2: expected at most 500 days of bars in the store")
    assert tally.new <= 500
