"""Understanding files: every layout, clock and length is told or asked for, never guessed."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.market.bars import BarColumns
from features.market.types import AssetClass
from ray_apps.errors import UsageError
from ray_apps.imports.config import S3Config
from ray_apps.imports.errors import PlaceError, QuestionError
from ray_apps.imports.layout import told_columns
from ray_apps.imports.lengths import grid_s
from ray_apps.imports.place import find
from ray_apps.imports.recipe import Recipe, understand, with_lengths
from ray_apps.imports.sift import Limits
from ray_apps.imports.told import Told
from ray_apps.store.files import FileError
from tests.support.bar_files import FLAT_HEADER, PLAIN_HEADER, flat_rows, plain_rows, write_csv, write_flat
from tests.support.past import walk

T0 = 1_743_600_000 * 10**9  # 2025-04-02 13:20 UTC
DAY_NS = 86_400 * 10**9
NOW = Limits(1_790_000_000_000)
STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO


def read(path: Path, asset_class: AssetClass = STOCKS, **told: Any) -> Recipe:
    said = Told(asset_class, **told)
    made = with_lengths([understand(find([str(path)], S3Config())[0], said, NOW)], said)[0]
    if isinstance(made, FileError):
        raise made
    return made


def ohlc(times: list[Any], header: str, path: Path, *more: str) -> Path:
    """Write rows of time, prices and volume."""
    return write_csv(path, header, [(t, 10, 12, 9, 11, 100 + k, *more) for k, t in enumerate(times)])


def minutes(n: int, unit_ns: int) -> list[int]:
    return [(T0 + k * 60 * 10**9) // unit_ns for k in range(n)]


@pytest.mark.parametrize(
    ("header", "columns", "ignored"),
    [
        ("t,o,h,l,c,v", "t,o,h,l,c,v", ""),
        ("timestamp,open,high,low,close,volume", "timestamp,open,high,low,close,volume", ""),
        ("Date Time,Open,HIGH,Low,Close,Vol", "Date Time,Open,HIGH,Low,Close,Vol", ""),
        ("open_time,open,high,low,close,volume,close_time", "open_time,open,high,low,close,volume", "close_time"),
    ],
)
def test_the_usual_names_of_columns(tmp_path: Path, header: str, columns: str, ignored: str) -> None:
    more = ["x"] * len([c for c in ignored.split(",") if c])
    found = read(ohlc(minutes(30, 10**6), header, tmp_path / "AAPL.csv", *more))
    assert list(found.layout.columns.values()) == columns.split(",")
    assert ",".join(found.layout.ignored) == ignored
    assert (found.symbol, found.bar_s, found.clock.unit) == ("AAPL", 60, "ms")


@pytest.mark.parametrize(("unit", "unit_ns"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_the_unit_of_numbers_is_told_by_their_size(tmp_path: Path, unit: str, unit_ns: int) -> None:
    found = read(ohlc(minutes(30, unit_ns), "t,o,h,l,c,v", tmp_path / "A.csv"))
    assert (found.clock.unit, found.first_ns) == (unit, T0)
    columns = {"t": minutes(30, unit_ns)} | dict.fromkeys("ohlcv", [10.0] * 30)
    pq.write_table(pa.table(columns), tmp_path / "B.parquet")
    assert read(tmp_path / "B.parquet").first_ns == T0
    assert read(tmp_path / "B.parquet", unit=unit).first_ns == T0


WRITTEN = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.000"]


@pytest.mark.parametrize("form", WRITTEN)
def test_iso_times_with_a_zone_and_without(tmp_path: Path, form: str) -> None:
    at = [datetime.fromtimestamp(t, UTC) for t in minutes(30, 10**9)]
    new_york = ZoneInfo("America/New_York")
    path = ohlc([a.strftime(form) + "Z" for a in at], "time,o,h,l,c,v", tmp_path / "A.csv")
    assert read(path).first_ns == T0
    path = ohlc([a.astimezone(new_york).strftime(form) + "-04:00" for a in at], "time,o,h,l,c,v", tmp_path / "A.csv")
    assert read(path).first_ns == T0
    path = ohlc([a.astimezone(new_york).strftime(form) for a in at], "time,o,h,l,c,v", tmp_path / "A.csv")
    with pytest.raises(QuestionError, match=r"in which time zone is '2025-04-02.*--tz America/New_York"):
        read(path)
    assert read(path, zone="America/New_York").first_ns == T0
    assert read(path, zone="UTC").first_ns == T0 - 4 * 3600 * 10**9


def test_timestamps_of_parquet(tmp_path: Path) -> None:
    values = dict.fromkeys("ohlcv", [10.0] * 30)
    stamps = pa.array(minutes(30, 10**3), pa.timestamp("us"))
    pq.write_table(pa.table({"time": stamps.cast(pa.timestamp("us", "Asia/Tokyo"))} | values), tmp_path / "A.parquet")
    assert read(tmp_path / "A.parquet").first_ns == T0
    pq.write_table(pa.table({"time": stamps} | values), tmp_path / "B.parquet")
    with pytest.raises(QuestionError, match="--tz"):
        read(tmp_path / "B.parquet")
    assert read(tmp_path / "B.parquet", zone="Europe/Paris").first_ns == T0 - 2 * 3600 * 10**9
    pq.write_table(pa.table({"t": stamps} | values), tmp_path / "C.parquet")  # the house's own layout is UTC
    assert read(tmp_path / "C.parquet").first_ns == T0


def test_flat_files_of_minutes_and_of_days(tmp_path: Path) -> None:
    series = {f"S{i}": walk(i, T0, 40) for i in range(5)}
    for name in ("minutes.csv.gz", "minutes.parquet"):
        found = read(write_flat(tmp_path / name, series))
        assert (found.layout.kind, found.bar_s, found.symbol, found.n_symbols) == ("flat file", 60, None, 5)
        assert (found.clock.unit, found.first_ns) == ("ns", T0)
    midnight = 1_743_566_400 * 10**9  # in New York
    one_day = {f"S{i}": walk(i, midnight, 1) for i in range(5)}
    assert read(write_flat(tmp_path / "2025-04-02.csv.gz", one_day)).bar_s == 86_400
    noon = {f"S{i}": walk(i, midnight + DAY_NS // 2, 1) for i in range(5)}
    with pytest.raises(QuestionError, match=r"how long are the bars.*--bar 1m"):
        read(write_flat(tmp_path / "noon.csv", noon))


def test_symbols_of_flat_files_are_spelled_as_ours(tmp_path: Path) -> None:
    path = write_flat(tmp_path / "x.csv", {"X:BTC-USD": walk(1, T0, 30), "X:ETH-USD": walk(2, T0, 30)})
    assert read(path, CRYPTO).n_symbols == 2
    path = write_csv(tmp_path / "i.csv", "ticker,open,close,high,low,window_start", [
        ("I:SPX", 10, 11, 12, 9, T0 + k * 60 * 10**9) for k in range(30)
    ])  # fmt: skip
    assert read(path, AssetClass.INDICES).bar_s == 60  # an index has no volume
    with pytest.raises(FileError, match="was without v"):
        read(path)


DAYLIGHT = [
    ("crypto", "UTC", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("stocks", "America/New_York", [0, 1, 2, 3, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17]),
]


@pytest.mark.parametrize(("asset_class", "zone", "days"), DAYLIGHT)
def test_days_are_days_over_a_change_of_the_clocks(
    tmp_path: Path, asset_class: str, zone: str, days: list[int]
) -> None:
    dates = [f"2025-03-{3 + d:02d}" for d in days]  # the clocks change on the ninth
    path = ohlc(dates, "date,open,high,low,close,volume", tmp_path / "AB-CD.csv")
    assert read(path, AssetClass(asset_class), zone=zone).bar_s == 86_400


QUESTIONS = [
    ("A.csv", "time,date,o,h,l,c,v", "which column is t: time or date?", "--columns t=time, say"),
    ("A.csv", "t,o,open,h,l,c,v", "which column is o: o or open?", "--columns o=o, say"),
    ("prices.csv", "t,o,h,l,c,v", "which symbol of stocks is it?", "--symbol prices=NAME"),
    ("2025-04-02.csv", "t,o,h,l,c,v", "which symbol of stocks is it?", "--symbol 2025-04-02=NAME"),
    ("my prices.csv", "t,o,h,l,c,v", "which symbol of stocks is it?", "--symbol 'my prices=NAME'"),
]


@pytest.mark.parametrize(("name", "header", "question", "option"), QUESTIONS)
def test_what_can_be_read_in_two_ways_is_asked(
    tmp_path: Path, name: str, header: str, question: str, option: str
) -> None:
    n_fields = header.count(",") + 1
    rows = [[t, *[10] * (n_fields - 1)] for t in minutes(30, 10**6)]
    with pytest.raises(QuestionError) as e:
        read(write_csv(tmp_path / name, header, rows))
    assert f"{name}: {question}" in str(e.value)
    assert str(e.value).endswith(option)


def test_an_answer_is_taken(tmp_path: Path) -> None:
    rows = [[f"x{t}", t, *[10] * 5] for t in minutes(30, 10**6)]
    path = write_csv(tmp_path / "prices.csv", "time,date,o,h,l,c,v", rows)
    found = read(path, columns=told_columns("t=date"), symbol="AAPL")
    assert (found.symbol, found.layout.columns["t"], found.layout.ignored) == ("AAPL", "date", ("time",))
    with pytest.raises(FileError, match="--columns o=opne: expected one of time,date,o,h,l,c,v, was no such column"):
        read(path, columns=told_columns("t=date,o=opne"), symbol="AAPL")


def test_seconds_or_milliseconds(tmp_path: Path) -> None:
    path = ohlc([*minutes(20, 10**9), *minutes(20, 10**6)], "t,o,h,l,c,v", tmp_path / "A.csv")
    with pytest.raises(QuestionError, match=r"in which unit.* some are s, some ms: --time-unit s\|ms\|us\|ns"):
        read(path)
    assert read(path, unit="ms").clock.unit == "ms"
    path = ohlc(minutes(20, 10**6), "t,o,h,l,c,v", tmp_path / "A.csv")
    with pytest.raises(
        FileError, match="expected times in s as --time-unit says, was 1743600000000, by its size in ms"
    ):
        read(path, unit="s")
    path = ohlc([20250402, 20250403], "t,o,h,l,c,v", tmp_path / "A.csv")
    with pytest.raises(FileError, match="expected Unix times between 1973 and 2100 in s, ms, us or ns, was 20250402"):
        read(path)
    path = ohlc(["04/02/2025 09:30"], "t,o,h,l,c,v", tmp_path / "A.csv")
    with pytest.raises(FileError, match=r"expected times in ISO 8601.*was '04/02/2025 09:30'"):
        read(path)


def test_mixed_lengths_are_asked(tmp_path: Path) -> None:
    a, b = walk(1, T0, 400, missing=0), walk(2, T0, 300, bar_s=300, missing=0)
    path = write_flat(tmp_path / "x.csv", {"A": a, "B": b})
    with pytest.raises(QuestionError, match=r"which length have the bars, 60 s or 300 s.*--symbol NAME takes one"):
        read(path)
    assert (read(path, symbol="A").bar_s, read(path, symbol="B").bar_s) == (60, 300)
    both = BarColumns(*(np.concatenate([getattr(x, n) for x in (a, b)]) for n in BarColumns.__slots__))
    both = BarColumns(
        both.ts + np.repeat([0, DAY_NS], [len(a), len(b)]), *(getattr(both, n) for n in both.__slots__[1:])
    )
    with pytest.raises(QuestionError, match="It has both: split the file"):
        read(write_csv(tmp_path / "A.csv", PLAIN_HEADER, plain_rows(both)))
    with pytest.raises(FileError, match="expected bars of 60 s as --bar says, was 300 s"):
        read(write_csv(tmp_path / "B.csv", PLAIN_HEADER, plain_rows(b)), bar_s=60)


def test_a_thin_file_takes_the_length_of_the_others(tmp_path: Path) -> None:
    told = Told(STOCKS)
    for name, n in (("A", 40), ("B", 1), ("C", 3)):
        bars = walk(1, T0, n, bar_s=60 if name == "A" else 300, missing=0)
        write_csv(tmp_path / f"{name}.csv", PLAIN_HEADER, plain_rows(bars))
    recipes = [understand(p, told, NOW) for p in find([str(tmp_path)], S3Config())]
    assert [r.bar_s for r in with_lengths(recipes, told) if isinstance(r, Recipe)] == [60, 60, 60]
    alone = with_lengths(recipes[1:], told)
    assert all(isinstance(r, QuestionError) for r in alone), alone
    assert [r.bar_s for r in with_lengths(recipes[1:], Told(STOCKS, bar_s=300)) if isinstance(r, Recipe)] == [300, 300]


BROKEN = [
    (b"", "expected a line of column names, was an empty file"),
    (b"\n\n", "expected a line of column names, was an empty file or line"),
    (b"t,o,h,l,c,v\n", "was a header alone"),
    (b"t;o,h;l;c;v\n1;2;3;4;5;6\n", "was without t,o,h,l,c,v: t;o,h;l;c;v; --columns t=NAME"),
    (b"t;o;h;l;c;v\n1743600000000;1,5;2;1;1,5;7\n", "was none; first: 2: expected numbers, was 1,5,2,1,1,5,7"),
    ("t,o,h,l,c,v\n".encode("utf-16"), "expected UTF-8 text, was UTF-16 text"),
    ("t,o,h,l,c,v\n".encode("utf-16-be"), "expected UTF-8 text, was UTF-16 text"),
    (b"PK\x03\x04 a book", "expected UTF-8 text, was a zip archive or a spreadsheet"),
    (b"PAR1", "expected UTF-8 text, was a Parquet file"),
    (bytes(range(256)), "expected UTF-8 text, was binary data"),
    (b"t,o,h,l,c,c,v\n", "expected each column once, was c twice"),
    (b"t,o,h,l,c,v\nx,y,z,1,2,3\n", "was none; first: 2: expected numbers"),
    (b"t,o,h,l,c,v\n1899999999999,1,1,1,1,1\n", "1 future.*2: expected a window that is over by now"),
    (b"t,o,h,l,c,v\n1743600000000,1,1,1,-1,1\n", "1 bad_price"),
    (b"\x00\x01\xff", "expected UTF-8 text, was binary data"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "A.csv").write_bytes(content)
    with pytest.raises(FileError, match=message) as e:
        read(tmp_path / "A.csv")
    assert str(e.value).startswith("A.csv:")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_read(tmp_path: Path, separator: str) -> None:
    path = ohlc(minutes(30, 10**6), 'Date,Open,High,"Low",Close,Volume,"a, b"', tmp_path / "AAPL.csv", "x")
    comma = read(path)
    path.write_text(path.read_text().replace('"a, b"', "a b").replace(",", separator))
    found = read(path)
    assert (found.layout.separator, found.layout.columns) == (separator, comma.layout.columns)
    assert found.layout.names[-1] == "a b"
    assert (found.first_ns, found.bar_s) == (comma.first_ns, comma.bar_s)
    path.write_text(path.read_text().replace("10", "ten", 1))  # then line by line
    assert read(path).first_ns >= comma.first_ns


def test_a_header_in_another_encoding_and_a_stray_character_are_no_binary_data(tmp_path: Path) -> None:
    path = ohlc(minutes(30, 10**6), "Date,Open,High,Low,Close,Volume,Stueck", tmp_path / "AAPL.csv", "x")
    path.write_bytes(path.read_bytes().replace(b"ue", b"\xfc") + b"\x1a")
    assert read(path).bar_s == 60


def test_damaged_files_say_so(tmp_path: Path) -> None:
    (tmp_path / "A.csv.gz").write_bytes(b"plain")
    (tmp_path / "B.csv.gz").write_bytes(gzip.compress(b"t,o,h,l,c,v\n")[:8])
    (tmp_path / "C.parquet").write_bytes(b"PAR1 no more")
    pq.write_table(pa.table({name: ["x"] for name in "tohlcv"}), tmp_path / "D.parquet")
    said = {"A.csv.gz": "broken off or damaged", "B.csv.gz": "broken off", "C.parquet": "a whole Parquet file",
            "D.parquet": "expected numbers in column o, was string"}  # fmt: skip
    for name, message in said.items():
        with pytest.raises(FileError, match=message):
            read(tmp_path / name)


def test_where_files_are(tmp_path: Path) -> None:
    for name in ("2025/04/b.csv.gz", "2025/03/a.csv", "2025/.hidden.csv", "notes.txt", ".csv", "2025/c.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    everything = ["2025/03/a.csv", "2025/04/b.csv.gz", "2025/c.parquet"]
    found = find([str(tmp_path), str(tmp_path / "2025/c.parquet"), str(tmp_path / "**/*.csv")], S3Config())
    assert [p.name for p in found] == everything
    assert [p.name for p in find([str(tmp_path / "2025/*/*.csv*")], S3Config())] == ["a.csv", "b.csv.gz"]
    (tmp_path / "empty").mkdir()
    for wanted, said in (("empty", "was none"), ("gone", "was absent"), ("*.csv", "was none"), ("notes.txt", "NAME")):
        with pytest.raises((PlaceError, UsageError), match=said):
            find([str(tmp_path / wanted)], S3Config())


@pytest.mark.parametrize("text", ["t", "t=", "q=open", "t=a,t=b", "t=a,o=a"])
def test_columns_wrongly_said(text: str) -> None:
    with pytest.raises(UsageError, match="--columns: expected"):
        told_columns(text)


def test_the_grid_of_a_length() -> None:
    assert [grid_s(s) for s in (1, 60, 300, 900, 1_800, 3_600, 120, 86_400)] == [1, 60, 300, 900, 900, 900, 1, 1]


def test_flat_rows_are_the_vendors(tmp_path: Path) -> None:
    row = flat_rows({"A": walk(1, T0, 1)})[0]
    assert dict(zip(FLAT_HEADER.split(","), row, strict=True))["window_start"] == T0
