"""Read a file piece by piece, in memory that does not grow with it: CSV in blocks of lines, Parquet in batches.

CSV is cut into blocks of whole lines here and each is parsed on its own: a reader of the whole stream stops at the
first value that is none, and cannot say on which line it was.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ray_apps.imports.layout import Layout
from ray_apps.imports.place import Place
from ray_apps.imports.sniff import PARQUET, START_BYTES, TEXT, kind_of, separation
from ray_apps.imports.times import float64
from ray_apps.store.files import FileError
from ray_apps.store.sieve import ABSENT, Rows, number, one_line, whole_lines

BLOCK_BYTES = 4 << 20
"""About 65,000 rows: one transaction of the store."""
BATCH_ROWS = 65_536
LONGEST_LINE = 1 << 20
BUFFER_BYTES = 1 << 20
"""Of a Parquet file's column, read ahead: a row group need not fit into memory."""
LISTED = 1_000
"""Rows refused of a file that can be listed."""


@dataclass(frozen=True, slots=True)
class Heading:
    """The names of a file's columns, and what separates them in its first line."""

    names: list[str]
    separator: str = ","


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows as read: `rows` has the fields that are numbers and each row's line; of Parquet its row.

    Attributes
    ----------
    times
        [T] as the file writes them.
    symbols
        [T] a dictionary of texts, None where the file has no such column.
    n_bytes
        How far into the file its end is.
    is_open
        Whether its last line has no end: it may be half a line, its last number short of digits.
    """

    rows: Rows
    times: pa.Array
    symbols: pa.DictionaryArray | None
    n_bytes: int
    is_open: bool = False


def heading_of(place: Place) -> Heading:
    """Give the names of a file's columns.

    Raises
    ------
    FileError
        When it cannot be read, or has none.
    """
    if place.is_parquet:
        with _parquet(place) as file:
            return Heading(list(file.schema_arrow.names))
    with place.opened() as raw:
        lines = _Lines(place, raw)
        return lines.header()


def pieces(place: Place, layout: Layout, part: int = 1) -> Iterator[Piece]:
    """Give a file in pieces of 1 / `part` of the usual size.

    Raises
    ------
    FileError
        When it breaks off, after the pieces before that.
    """
    if place.is_parquet:
        yield from _parquet_pieces(place, layout, BATCH_ROWS // part)
    else:
        yield from _csv_pieces(place, layout, BLOCK_BYTES // part)


class _Lines:
    """Blocks of whole lines of a CSV file, plain or packed."""

    def __init__(self, place: Place, raw: BinaryIO) -> None:
        self._name = place.name
        self._raw = raw
        is_packed = place.source.endswith(".gz")
        self._text = gzip.GzipFile(fileobj=raw) if is_packed else io.BufferedReader(raw)  # type: ignore[type-var]
        self._carry = b""
        self._broken: FileError | None = None
        self._is_over = False
        self.n_lines = 0

    @property
    def n_bytes(self) -> int:
        """Give how far into the file it is."""
        return self._raw.tell()

    def header(self) -> Heading:
        """Give the names on the first line."""
        while b"\n" not in self._carry and not self._is_over:
            self._fill(len(self._carry) + 1)
        kind = kind_of(self._carry[:START_BYTES])
        if kind != TEXT:
            raise FileError(f"{self._name}: expected UTF-8 text, was {kind}")
        line, _, self._carry = self._carry.partition(b"\n")
        text = line.decode("utf-8-sig", errors="replace")
        rows = Rows(self._name, {}, np.empty(0, np.int64))
        found = separation(text)
        fields = [f for _, f in whole_lines(rows, [text], 1, found.n_fields, found.separator)]
        self.n_lines = 1
        if self._broken is not None and not self._carry and not line.strip():
            raise self._broken
        if not fields:
            raise FileError(f"{self._name}: expected a line of column names, was an empty file or line")
        return Heading([f.strip() for f in fields[0]], found.separator)

    def blocks(self, size: int) -> Iterator[bytes]:
        """Give the lines after the header; what breaks it off is raised after the lines before that."""
        while not self._is_over or self._carry:
            self._fill(size)
            cut = self._carry.rfind(b"\n") + 1
            if self._is_over and self._broken is None:
                cut = len(self._carry)
            if not cut and not self._is_over and len(self._carry) > LONGEST_LINE:
                raise FileError(
                    f"{self._name}:{self.n_lines + 1}: expected lines, was one of over {LONGEST_LINE} bytes"
                )
            block, self._carry = self._carry[:cut], self._carry[cut:]
            if block:
                yield block
                self.n_lines += block.count(b"\n")
            if self._broken is not None:
                raise self._broken

    def _fill(self, size: int) -> None:
        parts = [self._carry]
        n = len(self._carry)
        while n < size and not self._is_over:
            try:
                part = self._text.read1(size)
            except (OSError, EOFError, zlib.error) as e:
                self._is_over = True
                n_lines = self.n_lines + sum(p.count(b"\n") for p in parts)
                self._broken = FileError(
                    f"{self._name}:{n_lines + 1}: expected more data, was broken off or damaged: {one_line(str(e))}"
                )
                break
            parts.append(part)
            n += len(part)
            self._is_over = not part
        self._carry = b"".join(parts)


def _csv_pieces(place: Place, layout: Layout, size: int) -> Iterator[Piece]:
    with place.opened() as raw:
        lines = _Lines(place, raw)
        lines.header()
        for block in lines.blocks(size):
            piece = _csv_piece(place.name, layout, block, lines.n_lines + 1, lines.n_bytes)
            if len(piece.rows.line) or piece.rows.refused:
                yield piece if block.endswith(b"\n") else replace(piece, is_open=True)


def _csv_piece(name: str, layout: Layout, block: bytes, first_line: int, n_bytes: int) -> Piece:
    try:
        return _parsed(name, layout, block, first_line, n_bytes)
    except pa.ArrowInvalid:  # some row is bad: find out which
        return _by_line(name, layout, block, first_line, n_bytes)


def _parsed(name: str, layout: Layout, block: bytes, first_line: int, n_bytes: int) -> Piece:
    kinds = {layout.columns[f]: pa.float64() for f in layout.values} | {layout.columns["t"]: pa.string()}
    if "symbol" in layout.columns:
        kinds[layout.columns["symbol"]] = pa.dictionary(pa.int32(), pa.string())
    table = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=layout.names, block_size=len(block) + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=layout.separator),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=kinds, include_columns=list(kinds), null_values=ABSENT, strings_can_be_null=False
        ),
    )
    columns = {f: float64(_whole(table[layout.columns[f]])) for f in layout.values}
    n = len(table)
    if block.count(b"\n") + (not block.endswith(b"\n")) == n:
        line = np.arange(first_line, first_line + n)
    else:  # blank lines are skipped: count them
        filled = [k for k, text in enumerate(block.split(b"\n"), first_line) if text.strip(b"\r")]
        line = np.array(filled[:n], dtype=np.int64)
    symbols = _whole(table[layout.columns["symbol"]]) if "symbol" in layout.columns else None
    return Piece(Rows(name, columns, line, most=LISTED), _whole(table[layout.columns["t"]]), symbols, n_bytes)


def _by_line(name: str, layout: Layout, block: bytes, first_line: int, n_bytes: int) -> Piece:
    """Parse a block with rows that are not numbers: slower, and tells which."""
    rows = Rows(name, {}, np.empty(0, dtype=np.int64), most=LISTED)
    at = {field: layout.names.index(column) for field, column in layout.columns.items()}
    values: list[list[float]] = []
    lines: list[int] = []
    times: list[str] = []
    symbols: list[str] = []
    text = block.decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    for line, fields in whole_lines(rows, text, first_line, len(layout.names), layout.separator):
        try:
            values.append([number(fields[at[f]]) for f in layout.values])
        except ValueError:
            rows.refused["wrong_type"] += 1
            rows.say(line, "numbers", ",".join(fields[at[f]] for f in layout.values))
            continue
        lines.append(line)
        times.append(fields[at["t"]])
        symbols.append(fields[at["symbol"]] if "symbol" in at else "")
    found = np.array(values, dtype=np.float64).reshape(len(values), len(layout.values))
    rows.columns = {f: np.ascontiguousarray(found[:, k]) for k, f in enumerate(layout.values)}
    rows.line = np.array(lines, dtype=np.int64)
    named = pa.array(symbols, pa.string()).dictionary_encode() if "symbol" in at else None
    return Piece(rows, pa.array(times, pa.string()), named, n_bytes)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.unify_dictionaries().chunks) if column.num_chunks else pa.array([], column.type)


@contextmanager
def _parquet(place: Place) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Hold a Parquet file open."""
    try:
        with place.opened() as raw, pa.PythonFile(raw, "r") as source:
            _check_parquet(place.name, raw)
            yield pyarrow.parquet.ParquetFile(source, buffer_size=BUFFER_BYTES)
    except (pa.ArrowException, OSError, ValueError) as e:
        said = one_line((str(e).splitlines() or [type(e).__name__])[0])
        raise FileError(f"{place.name}: expected a whole Parquet file, was damaged or none: {said}") from e


def _check_parquet(name: str, raw: BinaryIO) -> None:
    """Refuse what begins otherwise; one that is damaged further on the reader refuses."""
    kind = kind_of(raw.read(START_BYTES))
    if kind != PARQUET and raw.tell():
        raise FileError(f"{name}: expected a Parquet file, was {kind}")
    raw.seek(0)


def _parquet_pieces(place: Place, layout: Layout, n_rows: int) -> Iterator[Piece]:
    done = 0
    with _parquet(place) as file:
        _check_types(place.name, layout, file.schema_arrow)
        total = max(file.metadata.num_rows, 1)
        batches = file.iter_batches(batch_size=n_rows, columns=list(layout.columns.values()), use_threads=False)
        while (batch := _next(place.name, batches, done + 1)) is not None:
            columns = {f: float64(batch.column(layout.columns[f])) for f in layout.values}
            line = np.arange(done + 1, done + 1 + len(batch))
            done += len(batch)
            named = batch.column(layout.columns["symbol"]) if "symbol" in layout.columns else None
            if named is not None and not pa.types.is_dictionary(named.type):
                named = named.dictionary_encode()
            times = batch.column(layout.columns["t"])
            yield Piece(Rows(place.name, columns, line, most=LISTED), times, named, place.n_bytes * done // total)


def _next(name: str, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
    """Give the next batch; say before which row a file breaks off."""
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError, ValueError) as e:
        said = one_line((str(e).splitlines() or [type(e).__name__])[0])
        raise FileError(f"{name}:{row}: expected more rows, was broken off or damaged: {said}") from e


def _check_types(name: str, layout: Layout, schema: pa.Schema) -> None:
    """Refuse columns of other types than the layout's."""
    types = pa.types
    for field, column in layout.columns.items():
        kind = schema.field(column).type
        is_number = types.is_integer(kind) or types.is_floating(kind)
        if types.is_dictionary(kind):
            kind = kind.value_type
        is_text = types.is_string(kind) or types.is_large_string(kind)
        is_time = is_number or is_text or types.is_timestamp(kind) or types.is_date(kind)
        fits, expected = {"t": (is_time, "times"), "symbol": (is_text, "texts")}.get(
            field, (is_number or types.is_decimal(kind), "numbers")
        )
        if not fits:
            raise FileError(f"{name}: expected {expected} in column {one_line(column)}, was {kind}")
