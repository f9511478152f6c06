"""Read files of bars: NAME.csv.gz, NAME.csv or NAME.parquet, one series each; the only reader of them.

Columns are `t,o,h,l,c,v` and where known `vw,n`; `t` is the window's start in Unix ms UTC. A bad row is refused,
counted by reason and named by its line; the good ones are kept. A file that gives no series at all is a FileError.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from features.market.bars import infer_bar_ms
from features.market.pushed import EARLIEST_MS, LATEST_MS
from features.market.types import F64, I64, NS_PER_MS, U8
from ray_apps.store.errors import StoreError
from ray_apps.store.packed import unpack
from ray_apps.store.sieve import (
    ABSENT,
    Rows,
    number,
    one_line,
    refuse_bad_values,
    refuse_missing,
    whole_lines,
)

SUFFIXES = (".csv.gz", ".csv", ".parquet")
REQUIRED = ("t", "o", "h", "l", "c", "v")
OPTIONAL = ("vw", "n")


class FileError(StoreError):
    """A file that holds no series; one line that says what was expected and what was there."""


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """One series, sorted by time, one bar a window.

    Attributes
    ----------
    ts
        [T] int64, window starts, UTC ns.
    open, high, low, close, volume, vwap, trades
        [T] float64; NaN in vwap and trades where the file does not say.
    bar_s
        Inferred bar length, seconds.
    faults_ts, faults_code
        [K] int64 and uint8: window starts of rows refused for prices that cannot be true, UTC ns, sorted, and why
        (`FAULT_REASONS`); they are in `refused` too. A window may repeat, and may have a good row as well.
    n_duplicates
        Rows dropped because they repeat another one exactly.
    refused
        Rows refused, by reason; `messages` names the first few.
    """

    path: Path
    symbol: str
    bar_s: int
    ts: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64
    has_vwap: bool
    has_trades: bool
    faults_ts: I64
    faults_code: U8
    n_duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    messages: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, slots=True)
class Folder:
    """The series of a folder by name, and the files that gave none."""

    files: list[SeriesFile]
    errors: list[FileError]


def read_folder(path: Path) -> Folder:
    """Read every bar file of a folder, in the order of their names; one bad file does not stop the others.

    Raises
    ------
    FileError
        When the folder is absent or holds no bar file.
    """
    files: list[SeriesFile] = []
    errors: list[FileError] = []
    for found in iter_folder(path):
        if isinstance(found, SeriesFile):
            files.append(found)
        else:
            errors.append(found)
    return Folder(files, errors)


def iter_folder(path: Path) -> Iterator[SeriesFile | FileError]:
    """Do the same one file at a time, for folders larger than memory."""
    taken: set[str] = set()
    for p in list_files(path):
        try:
            if symbol_of(p) in taken:
                raise FileError(f"{p.name}: expected one file per symbol, was a second one of {symbol_of(p)}")
            taken.add(symbol_of(p))
            yield read_bars(p)
        except FileError as e:
            yield e


def list_files(path: Path) -> list[Path]:
    """Give the bar files of a folder by name."""
    if not path.is_dir():
        raise FileError(f"expected a folder of bar files at {path}, was {'a file' if path.exists() else 'absent'}")
    found = sorted(
        p for p in path.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise FileError(f"expected files NAME{', NAME'.join(SUFFIXES)} in {path}, was none")
    return found


def symbol_of(path: Path) -> str:
    """Give the symbol a file is named after.

    >>> symbol_of(Path("bars/BTC-USD.csv.gz")), symbol_of(Path("BRK.B.parquet"))
    ('BTC-USD', 'BRK.B')
    """
    found = without_suffix(path.name)
    if found in ("", path.name):
        raise FileError(f"{path.name}: expected a file NAME{', NAME'.join(SUFFIXES)}")
    return found


def without_suffix(name: str) -> str:
    """Give the name of a file without what says its format.

    >>> without_suffix("BTC-USD.csv.gz"), without_suffix("prices")
    ('BTC-USD', 'prices')
    """
    return next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)


def read_bars(path: Path) -> SeriesFile:
    """Read one file. A csv.gz of 30,000 rows takes about 30 ms.

    Raises
    ------
    FileError
        When the file is unreadable or empty, a column is missing or of a wrong type, or no good row is left.
    """
    symbol = symbol_of(path)
    rows = _parquet(path) if path.name.endswith(".parquet") else _csv(path)
    if not len(rows.columns["t"]) and not rows.refused:
        raise FileError(f"{path.name}: expected rows of bars, was a header alone")
    return _clean(path, symbol, rows)


def _csv(path: Path) -> Rows:
    data, is_cut = _content(path)
    rows = _rows_of(path, data)
    if is_cut:
        rows.refused["truncated"] += 1
        rows.said.insert(0, (0, f"{path.name}: expected the whole of it, was cut off: the rows before that are kept"))
    return rows


def _rows_of(path: Path, data: bytes) -> Rows:
    header = data.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    names = [name.strip().strip('"') for name in header.rstrip("\r").split(",")]
    wanted = _wanted(path, names)
    if header.rstrip("\r") == ",".join(names) and len(set(names)) == len(names):
        try:
            return _csv_fast(path, data, wanted)
        except pa.ArrowInvalid:
            pass  # some row is bad: find out which
    return _csv_by_line(path, data, names, wanted)


def _content(path: Path) -> tuple[bytes, bool]:
    """Give a file's text, unpacked, and whether its end is missing: then as far as its last whole line."""
    try:
        data, is_cut = path.read_bytes(), False
    except OSError as e:
        raise FileError(f"{path.name}: expected a readable file, was {e.strerror}") from e
    if path.name.endswith(".gz"):
        try:
            data, is_cut = unpack(data)
        except OSError as e:
            raise FileError(f"{path.name}: expected gzip data, was: {e}") from e
        except zlib.error as e:
            raise FileError(f"{path.name}: expected more data, was broken off or damaged: {e}") from e
    if is_cut and not data:
        raise FileError(f"{path.name}: expected more data, was broken off or damaged before its first line ended")
    if not data.strip():
        raise FileError(f"{path.name}: expected the columns {','.join(REQUIRED)}, was an empty file")
    return data, is_cut


def _wanted(path: Path, names: list[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        had = one_line(",".join(names))
        raise FileError(
            f"{path.name}: expected the columns {','.join(REQUIRED)}, was without {','.join(missing)}: {had}"
        )
    return [*REQUIRED, *(name for name in OPTIONAL if name in names)]


def _csv_fast(path: Path, data: bytes, wanted: list[str]) -> Rows:
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.float64()), include_columns=wanted, null_values=ABSENT
        ),
    )
    columns = {name: _float64(table[name]) for name in wanted}
    n = len(columns["t"])
    if data.count(b"\n") - data.endswith(b"\n") == n:
        line = np.arange(2, n + 2)
    else:  # blank lines are skipped: count them
        filled = [i for i, text in enumerate(data.splitlines(), 1) if text.strip()]
        line = np.array(filled[1 : n + 1], dtype=np.int64)
    return Rows(path.name, columns, line)


def _csv_by_line(path: Path, data: bytes, names: list[str], wanted: list[str]) -> Rows:
    """Read a file with rows that are not numbers: slower, and tells which."""
    rows = Rows(path.name, {}, np.empty(0, dtype=np.int64))
    at = [names.index(name) for name in wanted]
    values: list[list[float]] = []
    lines: list[int] = []
    text = data.decode("utf-8-sig", errors="replace").split("\n")
    for line, fields in whole_lines(rows, text[1:], 2, len(names)):
        try:
            values.append([number(fields[i]) for i in at])
            lines.append(line)
        except ValueError:
            rows.refused["wrong_type"] += 1
            rows.say(line, "numbers", ",".join(fields[i] for i in at))
    block = np.array(values, dtype=np.float64).reshape(len(values), len(wanted))
    rows.columns = {name: np.ascontiguousarray(block[:, k]) for k, name in enumerate(wanted)}
    rows.line = np.array(lines, dtype=np.int64)
    return rows


def _parquet(path: Path) -> Rows:
    try:
        with pa.OSFile(str(path)) as source:
            file = pyarrow.parquet.ParquetFile(source)
            wanted = _wanted(path, file.schema_arrow.names)
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError, ValueError) as e:
        said = (str(e).splitlines() or [type(e).__name__])[0]
        raise FileError(f"{path.name}: expected a Parquet file, was: {said}") from e
    columns = {}
    for name in wanted:
        column = table[name]
        if name == "t" and pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise FileError(f"{path.name}: expected numbers in column {name}, was {column.type}")
        columns[name] = _float64(column)
    return Rows(path.name, columns, np.arange(1, len(table) + 1))


def _float64(column: pa.ChunkedArray) -> F64:
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.ascontiguousarray(values, dtype=np.float64)


def _clean(path: Path, symbol: str, rows: Rows) -> SeriesFile:
    _refuse_bad_rows(rows)
    n_duplicates = _sort(rows)
    if not len(rows.line):
        raise FileError(_nothing_left(path, rows))
    bar_ms = infer_bar_ms(rows.columns["t"].astype(np.int64))
    if bar_ms is None:
        raise FileError(f"{path.name}: expected rows a whole number of seconds apart, was no such bar length")
    phase = np.bincount((rows.columns["t"] // 1000 % (bar_ms // 1000)).astype(np.int64)).argmax() * 1000
    rows.refuse((rows.columns["t"] - phase) % bar_ms != 0, "off_grid", f"starts {bar_ms // 1000} s apart", "t")
    faults = sorted((t, code) for t, code in rows.faults if (t - phase) % bar_ms == 0)
    c = rows.columns
    absent = np.full(len(rows.line), np.nan)
    vwap = c.get("vw", absent)
    return SeriesFile(
        path=path,
        symbol=symbol,
        bar_s=bar_ms // 1000,
        ts=c["t"].astype(np.int64) * NS_PER_MS,
        open=c["o"],
        high=c["h"],
        low=c["l"],
        close=c["c"],
        volume=c["v"],
        vwap=np.where(vwap > 0, vwap, np.nan),  # a window without a trade says 0
        trades=c.get("n", absent),
        has_vwap="vw" in c,
        has_trades="n" in c and bool(np.isfinite(c["n"]).any()),
        faults_ts=np.array([t for t, _ in faults], np.int64) * NS_PER_MS,
        faults_code=np.array([code for _, code in faults], np.uint8),
        n_duplicates=n_duplicates,
        refused=rows.refused,
        messages=tuple(rows.messages),
    )


def _refuse_bad_rows(rows: Rows) -> None:
    refuse_missing(rows, REQUIRED)
    t = rows.columns["t"]
    expected = "t in Unix milliseconds"
    rows.refuse(~((t >= EARLIEST_MS) & (t <= LATEST_MS) & (t == np.floor(t))), "bad_time", expected, "t")
    refuse_bad_values(rows)


def _sort(rows: Rows) -> int:
    """Sort by time; drop exact repeats, giving their number, and of rows that differ keep the last."""
    rows.keep(np.argsort(rows.columns["t"], kind="stable"))
    t = rows.columns["t"]
    if len(t) < 2 or (np.diff(t) > 0).all():
        return 0
    is_repeat = np.zeros(len(t), dtype=bool)
    is_repeat[:-1] = t[:-1] == t[1:]
    same = is_repeat.copy()
    for column in rows.columns.values():
        same[:-1] &= (column[:-1] == column[1:]) | (np.isnan(column[:-1]) & np.isnan(column[1:]))
    differs = is_repeat & ~same
    rows.refuse(differs, "conflict", "one row per window (the last is kept)", "t")
    rows.keep(~same[~differs])
    return int(same.sum())


def _nothing_left(path: Path, rows: Rows) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in rows.refused.most_common())
    first = f"; first: {rows.messages[0]}" if rows.messages else ""
    return f"{path.name}: expected rows of bars, was none good ({reasons}){first}"
