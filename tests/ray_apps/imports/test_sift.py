"""Rows of files: the good ones become bars whatever surrounds them, each bad one is counted and named by its line."""

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import AssetClass
from ray_apps.imports import pieces as reader
from ray_apps.imports.config import S3Config
from ray_apps.imports.place import find
from ray_apps.imports.reading import Part, Tally, parts
from ray_apps.imports.recipe import understand, with_lengths
from ray_apps.imports.sift import Limits
from ray_apps.imports.told import Told
from ray_apps.store.files import FileError, read_bars
from ray_apps.store.partitions import days_of
from tests.support.bar_files import FLAT_HEADER, PLAIN_HEADER, flat_rows, plain_rows, write_csv, write_flat
from tests.support.past import walk

T0 = 1_743_600_000_000
NOW = Limits(1_790_000_000_000)
HEADER = "t,o,h,l,c,v"


def row(k: int, **changes: object) -> str:
    values = {"t": T0 + k * 60_000, "o": 10, "h": 12, "l": 9, "c": 11, "v": 100 + k, **changes}
    return ",".join(str(v) for v in values.values())


def write(path: Path, lines: list[str], header: str = HEADER) -> Path:
    text = ("\n".join([header, *lines]) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def read(path: Path, limits: Limits = NOW, **said: Any) -> tuple[list[Part], Tally]:
    """Read a file whole; why it broke off is the tally's failure."""
    told = Told(said.pop("asset_class", AssetClass.STOCKS), **said)
    place = find([str(path)], S3Config())[0]
    tally = Tally(place)
    recipe = with_lengths([understand(place, told, limits)], told)[0]
    if isinstance(recipe, FileError):
        raise recipe
    found = []
    try:
        found.extend(parts(recipe, told, limits, tally))
    except FileError as e:
        tally.failure = str(e)
    return found, tally


def volumes(found: list[Part]) -> list[float]:
    return [v for p in found for v in p.sheaf.bars.volume.tolist()]


BAD = [
    (row(9, o="abc"), "wrong_type", "A.csv:62: expected numbers, was abc,12,9,11,109"),
    (row(9, o=""), "missing_field", "A.csv:62: expected a value in o, was nan"),
    ("1,2,3", "missing_field", "A.csv:62: expected 6 values, was 3"),
    (row(9) + ",5,6", "malformed", "A.csv:62: expected 6 values, was 8"),
    (row(9, o=-1), "bad_price", "A.csv:62: expected a positive price in o, was -1"),
    (row(9, h=10.5), "high_below_low", "A.csv:62: expected l <= o, c <= h, was 10.5"),
    (row(9, v=-5), "bad_volume", "A.csv:62: expected v of 0 or more, was -5"),
    (row(9, t=""), "missing_field", "A.csv:62: expected a value in t, was nan"),
    (row(9, t="x"), "bad_time", "A.csv:62: expected a number of ms since 1970, was x"),
    (row(9, t=T0 // 1000), "bad_time", "A.csv:62: expected a start between 1973 and 2100, on a millisecond, was 1970"),
    (row(9, t=T0 + 30_000), "off_grid", "A.csv:62: expected starts 60 s apart, was 2025-04-02 13:20:30 UTC"),
    (row(9, t=1_790_000_000_000), "future", "A.csv:62: expected a window that is over by now, 2026-09-21"),
    (row(9, v=5), "conflict", "A.csv:11: expected one row per window (the last is kept), was 2025-04-02 13:29:00 UTC"),
]


@pytest.mark.parametrize(("bad", "reason", "message"), BAD)
def test_a_bad_row_is_named_and_the_good_ones_kept(tmp_path: Path, bad: str, reason: str, message: str) -> None:
    lines = [*(row(k) for k in range(59)), "", bad, row(59)]
    found, tally = read(write(tmp_path / "A.csv", lines))
    kept = [5 if reason == "conflict" and k == 9 else 100 + k for k in range(60)]
    assert volumes(found) == kept
    assert dict(tally.refused) == {reason: 1}
    assert len(tally.messages) == 1
    assert tally.messages[0].startswith(message), tally.messages


def test_bad_rows_are_named_in_the_order_of_their_lines(tmp_path: Path) -> None:
    lines = [row(k) for k in range(60)]
    for k, changes in {40: {"v": -1}, 41: {"h": 1}, 42: {"o": 0}, 43: {"o": "x"}, 5: {"v": -1}}.items():
        lines[k] = row(k, **changes)
    path = write(tmp_path / "A.csv", [*lines[:50], row(9, v=5), *lines[50:]])
    expected = [7, 11, 42, 43, 44]  # of six
    _, tally = read(path)
    assert [int(m.split(":")[1]) for m in tally.messages] == expected
    assert [int(m.split(":")[1]) for m in read_bars(path).messages] == expected


def test_what_the_store_no_longer_keeps_is_refused(tmp_path: Path) -> None:
    limits = Limits(NOW.now_ms, T0 + 10 * 60_000, "for it keeps no more")
    found, tally = read(write(tmp_path / "A.csv", [row(k) for k in range(60)]), limits)
    assert (len(volumes(found)), dict(tally.refused)) == (50, {"too_old": 10})
    assert tally.messages[0].startswith("A.csv:2: expected 2025-04-02 13:30:00 UTC or later, for it keeps no more, was")


def test_rows_need_no_order_and_repeats_count_once(tmp_path: Path) -> None:
    lines = [row(k) for k in range(60)]
    random.Random(1).shuffle(lines)
    found, tally = read(write(tmp_path / "A.csv.gz", [*lines, lines[0], lines[7]]))
    assert volumes(found) == [100.0 + k for k in range(60)]
    assert (tally.n_repeats, dict(tally.refused)) == (2, {})


def test_times_without_a_zone_that_the_clocks_skip_or_repeat(tmp_path: Path) -> None:
    """On 9 March 2025 New York had no 02:30, on 2 November two of 01:30."""
    lines = [f"2025-03-07 {h:02d}:{m:02d},10,12,9,11,5" for h in range(2) for m in range(60)]
    lines += ["2025-03-09 02:30,10,12,9,11,6", "2025-11-02 01:30,10,12,9,11,7", "2025-11-02 02:30,10,12,9,11,8"]
    found, tally = read(write(tmp_path / "A.csv", lines), zone="America/New_York")
    assert volumes(found) == [5.0] * 120 + [8.0]
    assert dict(tally.refused) == {"bad_time": 2}
    assert tally.messages[0] == (
        "A.csv:122: expected an ISO 8601 time that America/New_York has once, was 2025-03-09 02:30"
    )


def test_symbols_are_kept_apart_and_those_that_are_none_named(tmp_path: Path) -> None:
    a, b = walk(1, T0 * 10**6, 40), walk(2, T0 * 10**6, 40)
    rows = flat_rows({"X:BTC-USD": a, "X:ETH-USD": b, "ETH-USD": walk(3, T0 * 10**6 + 6 * 10**12, 5), "XBTUSD": a})
    random.Random(2).shuffle(rows)
    found, tally = read(write_csv(tmp_path / "x.csv", FLAT_HEADER, rows), asset_class=AssetClass.CRYPTO)
    sheaf = found[0].sheaf
    assert sorted(sheaf.series) == [("BTC-USD", 60), ("ETH-USD", 60)]
    assert dict(tally.refused) == {"bad_symbol": len(a)}
    assert "expected a symbol of crypto, was XBTUSD" in tally.messages[0]
    mine = sheaf.row == sheaf.series.index(("BTC-USD", 60))
    np.testing.assert_array_equal(sheaf.bars.close[mine], a.close)
    assert int((~mine).sum()) == len(b) + 5
    only, tally = read(tmp_path / "x.csv", asset_class=AssetClass.CRYPTO, symbol="BTC-USD")
    assert (only[0].sheaf.series, len(only[0].sheaf.bars), tally.n_refused) == ([("BTC-USD", 60)], len(a), 0)


def test_tickers_that_look_like_no_value_are_tickers(tmp_path: Path) -> None:
    series = {name: walk(k, T0 * 10**6, 30) for k, name in enumerate(("NA", "NAN", "NULL", "TRUE", "INF"))}
    for name in ("x.csv", "x.parquet"):
        found, tally = read(write_flat(tmp_path / name, series))
        assert [s for s, _ in found[0].sheaf.series] == list(series)
        assert tally.n_refused == 0


def test_pieces_are_small_and_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(1, T0 * 10**6, 2_000)
    for name in ("A.csv", "A.csv.gz", "A.parquet"):
        path = tmp_path / name
        if name == "A.parquet":
            columns = zip(*plain_rows(bars), strict=True)
            pq.write_table(pa.table(dict(zip(PLAIN_HEADER.split(","), columns, strict=True))), path)
        else:
            write_csv(path, PLAIN_HEADER, plain_rows(bars))
        monkeypatch.setattr(reader, "BLOCK_BYTES", 4 * 1 << 10)
        monkeypatch.setattr(reader, "BATCH_ROWS", 400)
        found, tally = read(path)
        assert len(found) >= 5
        for column in ("ts", "close", "vwap", "trades"):
            got = np.concatenate([getattr(p.sheaf.bars, column) for p in found])
            np.testing.assert_array_equal(got, getattr(bars, column))
        assert [p.line for p in found[1:]] == [p.to_line + 1 for p in found[:-1]]
        assert tally.n_bytes == path.stat().st_size
        assert tally.failure == ""


def test_a_file_that_breaks_off_gives_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1 << 15)
    monkeypatch.setattr(reader, "BATCH_ROWS", 500)
    whole = write_csv(tmp_path / "A.csv.gz", PLAIN_HEADER, plain_rows(walk(1, T0 * 10**6, 5_000))).read_bytes()
    (tmp_path / "A.csv.gz").write_bytes(whole[: len(whole) // 2])
    found, tally = read(tmp_path / "A.csv.gz")
    n = len(volumes(found))
    assert 2_000 < n < 3_500
    assert tally.failure.startswith(f"A.csv.gz:{n + 2}: expected more data, was broken off or damaged")
    columns = dict(zip(PLAIN_HEADER.split(","), zip(*plain_rows(walk(1, T0 * 10**6, 5_000)), strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "B.parquet", row_group_size=1_000)
    data = bytearray((tmp_path / "B.parquet").read_bytes())
    start = pq.ParquetFile(tmp_path / "B.parquet").metadata.row_group(3).column(4).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    (tmp_path / "B.parquet").write_bytes(data)
    found, tally = read(tmp_path / "B.parquet")
    assert len(volumes(found)) == 3_000
    assert tally.failure.startswith("B.parquet:3001: expected more rows, was broken off or damaged")


def test_a_last_line_without_an_end_is_taken_and_noted(tmp_path: Path) -> None:
    lines = [row(k) for k in range(40)]
    path = write(tmp_path / "A.csv", lines)
    assert not read(path)[1].is_open
    path.write_bytes(path.read_bytes()[:-2])  # the last number is short of a digit
    found, tally = read(path)
    assert (len(volumes(found)), volumes(found)[-1], tally.is_open) == (40, 13, True)
    path.write_bytes(path.read_bytes()[:-3])  # and now there is none
    found, tally = read(path)
    assert (len(volumes(found)), tally.is_open) == (39, True)
    assert tally.messages[0].startswith("A.csv:41: expected ")


def test_longer_bars_in_the_middle_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1 << 16)
    late = T0 * 10**6 + 3_000 * 60 * 10**9
    rows = plain_rows(walk(1, T0 * 10**6, 3_000)) + plain_rows(walk(2, late, 900, bar_s=300, missing=0))
    found, tally = read(write_csv(tmp_path / "A.csv", PLAIN_HEADER, rows))
    assert "expected bars of 60 s, was some of 300 s from here on: --symbol" in tally.failure
    assert 0 < len(volumes(found)) <= 3_000 + 200
    shifted = plain_rows(walk(2, late + 30 * 10**9, 900))
    write_csv(tmp_path / "B.csv", PLAIN_HEADER, plain_rows(walk(1, T0 * 10**6, 3_000)) + shifted)
    _, tally = read(tmp_path / "B.csv")
    assert "expected starts 60 s apart, was otherwise in" in tally.failure


def test_many_days_are_many_transactions(tmp_path: Path) -> None:
    bars = walk(1, (T0 // 86_400_000 - 1_000) * 86_400 * 10**9, 1_000, bar_s=86_400)
    found, _ = read(write_csv(tmp_path / "A.csv", PLAIN_HEADER, plain_rows(bars)))
    assert len(found) == 4
    assert all(len(days_of(p.sheaf.bars.ts)) <= 300 for p in found)
    np.testing.assert_array_equal(np.concatenate([p.sheaf.bars.ts for p in found]), bars.ts)


CELLS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["", "nan", "10", "11", "1e3", str(T0), str(T0 + 60_000), "2025-04-02T13:20Z", '"', "x,y", "\r"]),
    st.text(max_size=8),
)


def check(path: Path, **told: Any) -> None:
    """Say that a file gives good bars or one line that begins with its name."""
    refused = ""
    try:
        found, tally = read(path, **told)
    except FileError as e:
        found, tally, refused = [], Tally(find([str(path)], S3Config())[0]), str(e)
    for said in (refused, tally.failure, *tally.messages):
        assert said.startswith(path.name) or not said
        assert "\n" not in said
    for p in found:
        b = p.sheaf.bars
        assert len(b) > 0
        key = np.stack([p.sheaf.row.astype(np.int64), b.ts])
        assert (np.lexsort(key[::-1]) == np.arange(len(b))).all()
        assert (b.high >= np.maximum(b.open, b.close)).all()
        assert (b.low > 0).all()
        assert not (b.volume < 0).any()


@pytest.mark.thorough
@given(st.lists(st.lists(CELLS, min_size=0, max_size=8).map(",".join), max_size=12), st.booleans())
def test_any_text_gives_bars_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], is_flat: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "FUZZ.csv"
    header = FLAT_HEADER if is_flat else HEADER
    path.write_bytes("\n".join([header, *lines]).encode("utf-8", errors="surrogatepass"))
    check(path, bar_s=60)
    check(path, bar_s=60, zone="America/New_York", unit="ms")


@pytest.mark.thorough
@given(st.binary(max_size=200), st.sampled_from([".csv", ".csv.gz", ".parquet"]))
def test_any_bytes_give_bars_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"FUZZ{suffix}"
    path.write_bytes(content)
    check(path)


@pytest.mark.thorough
@given(st.integers(0, 2**32), st.sampled_from(["FUZZ.parquet", "FUZZ.csv.gz"]))
def test_a_damaged_file_gives_bars_or_one_line(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    path = write_flat(
        tmp_path_factory.getbasetemp() / name, {"A": walk(1, T0 * 10**6, 30), "B": walk(2, T0 * 10**6, 9)}
    )
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    check(path)
