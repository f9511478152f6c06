"""The reader of bar files: formats, bar length, bad rows kept apart, bad files named; and the same under fuzz."""

import gzip
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.market.types import FAULT_REASONS
from ray_apps.store.files import FileError, SeriesFile, read_bars, read_folder

pytestmark = pytest.mark.thorough

T0 = 1_743_600_000_000
HEADER = "t,o,h,l,c,v"


def row(k: int, **changes: object) -> str:
    values = {"t": T0 + k * 60_000, "o": 10, "h": 12, "l": 9, "c": 11, "v": 100 + k, **changes}
    return ",".join(str(v) for v in values.values())


def write(path: Path, lines: list[str], header: str = HEADER) -> Path:
    text = "\n".join([header, *lines]) + "\n"
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_the_formats_give_the_same(tmp_path: Path) -> None:
    lines = [row(k, vw=10.5, n=k) for k in range(5)]
    header = HEADER + ",vw,n"
    a = read_bars(write(tmp_path / "BRK.B.csv.gz", lines, header))
    b = read_bars(write(tmp_path / "BRK.B.csv", lines, header))
    names = header.split(",")
    cells = [[float(x) for x in line.split(",")] for line in lines]
    table = pa.table({name: [c[i] for c in cells] for i, name in enumerate(names)})
    table = table.set_column(0, "t", table["t"].cast(pa.int64()).cast(pa.timestamp("ms")))
    pq.write_table(table, tmp_path / "BRK.B.parquet")
    c = read_bars(tmp_path / "BRK.B.parquet")
    for f in (a, b, c):
        assert (f.symbol, f.bar_s, f.has_vwap, f.has_trades, len(f), f.messages) == ("BRK.B", 60, True, True, 5, ())
        assert f.ts[1] == (T0 + 60_000) * 1_000_000
        assert f.trades.tolist() == [0, 1, 2, 3, 4]
        assert f.vwap.tolist() == [10.5] * 5


def test_optional_columns_are_absent_not_zero(tmp_path: Path) -> None:
    f = read_bars(write(tmp_path / "A.csv", [row(0), row(1)]))
    assert not f.has_vwap
    assert not f.has_trades
    assert np.isnan(f.vwap).all()
    assert np.isnan(f.trades).all()
    g = read_bars(write(tmp_path / "B.csv", [row(0, vw=0, n=""), row(1, vw="", n="")], HEADER + ",vw,n"))
    assert np.isnan(g.vwap).all()
    assert (g.has_vwap, g.has_trades) == (True, False)


def test_columns_in_any_order_with_others_between(tmp_path: Path) -> None:
    path = tmp_path / "A.csv"
    path.write_text(f"name,v,c,l,h,o,t\r\nx,7,11,9,12,10,{T0}\r\n\r\nx,8,11,9,12,10,{T0 + 5000}\r\n")
    f = read_bars(path)
    assert (f.bar_s, f.volume.tolist(), f.low.tolist()) == (5, [7, 8], [9, 9])


def test_rows_are_sorted_and_repeats_dropped(tmp_path: Path) -> None:
    f = read_bars(write(tmp_path / "A.csv", [row(2), row(0), row(1), row(0), row(2, v=999)]))
    assert ((f.ts // 1_000_000 - T0) // 60_000).tolist() == [0, 1, 2]
    assert f.volume.tolist() == [100, 101, 999]  # of two that differ the last
    assert (f.n_duplicates, dict(f.refused)) == (1, {"conflict": 1})


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (row(9, o="abc"), "wrong_type", "A.csv:4: expected numbers, was"),
        (row(9, o=""), "missing_field", "A.csv:4: expected a value in o, was nan"),
        ("1,2,3", "missing_field", "A.csv:4: expected 6 values, was 3"),
        (row(9) + ",5,6", "malformed", "A.csv:4: expected 6 values, was 8"),
        (row(9, o='"10'), "missing_field", "A.csv:4: expected 6 values, was 2"),
        (row(9, o='"a\t"'), "wrong_type", "A.csv:4: expected numbers, was 1743600540000,a?,12"),
        (row(9, o=-1), "bad_price", "A.csv:4: expected a positive price in o, was -1"),
        (row(9, c=0), "bad_price", "A.csv:4: expected a positive price in c, was 0"),
        (row(9, h="inf"), "bad_price", "A.csv:4: expected a positive price in h, was inf"),
        (row(9, h=10.5), "high_below_low", "A.csv:4: expected l <= o, c <= h, was 10.5"),
        (row(9, v=-5), "bad_volume", "A.csv:4: expected v of 0 or more, was -5"),
        (row(9, t=T0 // 1000), "bad_time", "A.csv:4: expected t in Unix milliseconds, was 1743600000"),
        (row(9, t=T0 * 1000), "bad_time", "A.csv:4: expected t in Unix milliseconds, was 1.7436e+15"),
        (row(9, t=T0 + 0.5), "bad_time", "A.csv:4: expected t in Unix milliseconds"),
    ],
)
def test_a_bad_row_is_named_and_the_good_ones_kept(tmp_path: Path, bad: str, reason: str, message: str) -> None:
    f = read_bars(write(tmp_path / "A.csv", [row(0), row(1), bad, row(2)]))
    assert f.volume.tolist() == [100, 101, 102]
    assert dict(f.refused) == {reason: 1}
    assert f.messages[0].startswith(message), f.messages


def test_rows_refused_for_their_prices_are_kept_as_faults(tmp_path: Path) -> None:
    good = [row(k) for k in range(600) if k not in (3, 5, 7, 9)]
    bad = [row(9, o=-1), row(3, h=10.5), row(5, c=0), row(5, c=0, l=20), row(7, h="inf"), row(4, l=-2)]
    others = [row(11, v=-5), row(13, o=""), row(15, o=-1, t=T0 // 1000), row(17, o=-1, t=T0 + 31_000)]
    f = read_bars(write(tmp_path / "A.csv", [*bad, *good, *others]))
    assert (f.faults_ts.dtype, f.faults_code.dtype) == (np.int64, np.uint8)
    assert ((f.faults_ts // 1_000_000 - T0) // 60_000).tolist() == [3, 4, 5, 5, 7, 9]
    assert [FAULT_REASONS[code] for code in f.faults_code] == ["high_below_low", *["bad_price"] * 5]
    assert f.refused == {"bad_price": 6, "high_below_low": 1, "bad_volume": 1, "missing_field": 1, "bad_time": 1}
    assert len(f) == len(good)


def test_a_good_file_has_no_faults(tmp_path: Path) -> None:
    f = read_bars(write(tmp_path / "A.csv", [row(0), row(1)]))
    assert (f.faults_ts.tolist(), f.faults_code.tolist()) == ([], [])


def test_rows_off_the_grid_are_refused(tmp_path: Path) -> None:
    f = read_bars(write(tmp_path / "A.csv", [*(row(k) for k in range(300)), row(50, t=T0 + 31_000)]))
    assert (f.bar_s, len(f), dict(f.refused)) == (60, 300, {"off_grid": 1})
    assert f.messages[0].startswith("A.csv:302: expected starts 60 s apart")


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    f = read_bars(write(tmp_path / "A.csv", [row(0), "", "", row(1, o=-1), row(2)]))
    assert f.messages == ("A.csv:5: expected a positive price in o, was -1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "was an empty file"),
        (b"\n \n", "was an empty file"),
        (b"t,o,h,l,c,v\n", "was a header alone"),
        (b"t,o,h,l,v\n1,2,3,4,5\n", "was without c: t,o,h,l,v"),
        (b"t;o;h;l;c;v\n1;2;3;4;5;6\n", "was without t,o,h,l,c,v"),
        (b"\x00\x01\x02\xff\xfe", "expected the columns"),
        (b"t,o,h,l,c,v\na,b,c,d,e,f\n", "was none good (1 wrong_type); first: A.csv:2: expected numbers"),
        (f"t,o,h,l,c,v\n{row(0)}\n".encode(), "was no such bar length"),
        (f"t,o,h,l,c,v\n{row(0)}\n{row(1, t=T0 + 7)}\n".encode(), "expected rows a whole number of seconds apart"),
    ],
)
def test_a_file_without_a_series_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "A.csv").write_bytes(content)
    with pytest.raises(FileError) as e:
        read_bars(tmp_path / "A.csv")
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "A.csv.gz").write_bytes(b"plain text")
    (tmp_path / "B.csv.gz").write_bytes(gzip.compress(b"t,o,h,l,c,v\n" * 1000)[:-20])
    (tmp_path / "C.parquet").write_bytes(b"PAR1 no more")
    pq.write_table(pa.table({name: ["x"] for name in "tohlcv"}), tmp_path / "D.parquet")
    pq.write_table(pa.table({"t": [1]}), tmp_path / "E.parquet")
    folder = read_folder(tmp_path)
    assert folder.files == []
    texts = [str(e) for e in folder.errors]
    assert [t.split(": ")[0] for t in texts] == ["A.csv.gz", "B.csv.gz", "C.parquet", "D.parquet", "E.parquet"]
    assert "expected gzip data" in texts[0]
    assert "B.csv.gz: expected the whole of it, was cut off" in texts[1]
    assert "expected a Parquet file" in texts[2]
    assert "expected numbers in column t, was string" in texts[3]
    assert "was without o,h,l,c,v" in texts[4]
    with pytest.raises(FileError, match="No such file"):
        read_bars(tmp_path / "Z.csv")


DEFLATED = gzip.compress(f"{HEADER}\n{row(0)}\n{row(1)}\n".encode(), mtime=0)  # the same in every process


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b" + bytes(range(200, 256)),
        b"\x1f\x8b\x08\x00 and no more than a header",
        DEFLATED[:2],
        DEFLATED[:8],
        DEFLATED[:14],
        DEFLATED[:12] + b"\xff" * 30,
    ],
    ids=["junk", "text", "magic", "stub", "no-line", "damaged"],
)
def test_broken_gzip_is_not_called_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "A.csv.gz").write_bytes(content)
    with pytest.raises(FileError) as e:
        read_bars(tmp_path / "A.csv.gz")
    assert "empty" not in str(e.value)
    assert "gzip data" in str(e.value) or "broken off or damaged" in str(e.value)


@pytest.mark.parametrize(
    "rest", [b"", DEFLATED[:2], DEFLATED[:8], b"\x1f\x8b\x08\xff"], ids=["none", "magic", "header", "flags"]
)
def test_a_member_cut_within_its_header_leaves_those_before(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "A.csv.gz").write_bytes(DEFLATED + rest)
    found = read_bars(tmp_path / "A.csv.gz")
    assert (len(found), found.refused) == (2, {"truncated": 1} if rest else {})


def test_a_cut_off_file_gives_the_rows_before(tmp_path: Path) -> None:
    text = "\n".join(["t,o,h,l,c,v", *(row(i) for i in range(5_000))]) + "\n"
    packed = gzip.compress(text.encode())
    (tmp_path / "A.csv.gz").write_bytes(packed[: len(packed) // 2])
    found = read_bars(tmp_path / "A.csv.gz")
    assert 1_000 < len(found) < 4_000
    assert found.refused == {"truncated": 1}
    assert found.messages == ("A.csv.gz: expected the whole of it, was cut off: the rows before that are kept",)


def test_a_bad_file_does_not_stop_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "B.csv", [row(0), row(1)])
    write(tmp_path / "A.csv.gz", [row(0), row(1)])
    write(tmp_path / "A.csv", [row(0), row(1)])
    (tmp_path / "labels.csv").write_text("symbol,start\nA,1\n")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.csv").write_text("x")
    folder = read_folder(tmp_path)
    assert [f.symbol for f in folder.files] == ["A", "B"]
    assert [str(e).split(",")[0] for e in folder.errors] == [
        "A.csv.gz: expected one file per symbol",
        "labels.csv: expected the columns t",
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, said in ((empty, "was none"), (tmp_path / "no", "was absent"), (tmp_path / "B.csv", "was a file")):
        with pytest.raises(FileError, match=said):
            read_folder(path)


CELLS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["", "nan", "10", "11", "1e3", str(T0), str(T0 + 60_000), '"', "x,y", "\r", "\x00", "é", "0x10"]),
    st.text(max_size=8),
)


@given(st.lists(st.lists(CELLS, min_size=0, max_size=8).map(",".join), max_size=12))
def test_any_text_gives_a_series_or_one_error(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "FUZZ.csv"
    path.write_bytes("\n".join([HEADER, *lines]).encode("utf-8", errors="surrogatepass"))
    check(path)


@given(st.binary(max_size=200), st.sampled_from([".csv", ".csv.gz", ".parquet"]))
def test_any_bytes_give_a_series_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"FUZZ{suffix}"
    path.write_bytes(content)
    check(path)


@given(st.integers(0, 2**32))
def test_a_damaged_parquet_gives_a_series_or_one_error(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "FUZZ.parquet"
    columns = {"t": [T0, T0 + 60_000], **{name: [10.0, 11.0] for name in "ohlcv"}}
    pq.write_table(pa.table(columns), path)
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    check(path)


def check(path: Path) -> None:
    try:
        f = read_bars(path)
    except FileError as e:
        said = str(e)
        assert said.startswith(path.name)
        assert "\n" not in said
        return
    assert isinstance(f, SeriesFile)
    assert len(f) > 0
    assert (np.diff(f.ts) > 0).all()
    assert f.bar_s > 0
    assert (f.high >= np.maximum(f.open, f.close)).all()
    assert (f.low <= np.minimum(f.open, f.close)).all()
    assert (f.low > 0).all()
    assert not (f.volume < 0).any()
    assert len(f.faults_ts) == len(f.faults_code) <= sum(f.refused.values())
    assert (np.diff(f.faults_ts) >= 0).all()
    assert (f.faults_code < len(FAULT_REASONS)).all()
