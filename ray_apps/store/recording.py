"""Keep a recording on disk: segments of records, each starting from a whole state; the one reader and writer of them.

A segment is a file of chunks behind a magic line. A chunk is `length:u32, crc32:u32` (little-endian) and so many bytes
of one zstd stream that is flushed after each chunk: what was written before a crash can be read, a torn tail cannot
and is dropped. Anything else that is not as it was written is damage. The records are MessagePack arrays, the first
of them the segment's `Head`.
"""

import errno
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from features.decisions.config import DetectionConfig
from features.market.readers import Form
from features.market.types import COLUMNS, DTYPES, AssetClass, BarBatch
from ray_apps.store.errors import StoreError

MAGIC = b"tapewatch recording 1\n"
SUFFIX = ".tape"
NAME = re.compile(r"(?P<asset_class>[a-z]+)-(?P<number>\d{6})\.tape")
LEVEL = -1
"""Of compression: a third of the bytes at 200 MB/s; level 1 leaves a fifth and takes 3.6 times as long."""
MOST_CHUNK = 1 << 30
CHUNK = struct.Struct("<II")

Arrays = dict[str, NDArray[Any]]


class RecordingError(StoreError):
    """A recording that cannot be read; says which file and what was there."""


class Head(msgspec.Struct, frozen=True, array_like=True, tag="head"):
    """What a segment starts from.

    `series` are (symbol, bar length) by slot, `market` and `shards` npz blobs of the stages' states as they stood,
    `future_s`, `too_old_s` and `max_frame_bytes` are the parser's limits, `first_part` the number of the first part
    that its frames hold: parsed parts are numbered through.
    """

    asset_class: AssetClass
    bar_s: int
    activity: str
    began_ns: int
    versions: dict[str, str]
    detection: DetectionConfig
    series: list[tuple[str, int]]
    market: bytes
    shards: list[bytes]
    future_s: float
    too_old_s: float
    max_frame_bytes: int
    first_part: int


class FrameRecord(msgspec.Struct, frozen=True, array_like=True, tag="frame"):
    """A frame as parsed: when it was received, and the feed's clock then, UTC ns; `form` names its reader."""

    recv_ns: int
    now_ns: int
    form: Form
    data: bytes


class SeriesRecord(msgspec.Struct, frozen=True, array_like=True, tag="series"):
    """Series (symbol, bar length) that another process numbered, next in the order of slots."""

    series: list[tuple[str, int]]


class TakenRecord(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    """Parsed parts that went on together: runs (first, last) of their numbers in the order of parsing."""

    runs: list[tuple[int, int]]


class BarsRecord(msgspec.Struct, frozen=True, array_like=True, tag="bars"):
    """Bars that came as columns: a hole that history filled."""

    bar_s: int
    recv_ns: int
    columns: dict[str, bytes]


class HoleRecord(msgspec.Struct, frozen=True, array_like=True, tag="hole"):
    """A hole, as the stages were told of it."""

    cause: str
    from_ns: int
    to_ns: int
    count: int
    bar_s: int
    is_filled: bool


class CloseRecord(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """A window that was closed because it fell quiet or was complete; others close by the bars after them."""

    end_ns: int


class ConfigRecord(msgspec.Struct, frozen=True, array_like=True, tag="config"):
    """Settings in force from here on."""

    detection: DetectionConfig


class ScoredRecord(msgspec.Struct, frozen=True, array_like=True, tag="scored"):
    """What a learned model came to, in shadow: `outcome` is scored, timeout, failed or superseded."""

    model: str
    version: str
    outcome: str
    rows: int
    at_ns: int


Record = FrameRecord | SeriesRecord | TakenRecord | BarsRecord | HoleRecord | CloseRecord | ConfigRecord | ScoredRecord
_RECORDS = msgspec.msgpack.Decoder(Record)
_HEAD = msgspec.msgpack.Decoder(Head)


def bars_record(batch: BarBatch) -> BarsRecord:
    """Give a batch as a record.

    >>> batch_of(bars_record(BarBatch.empty(60))).bar_s
    60
    """
    return BarsRecord(batch.bar_s, batch.recv_ns, {name: getattr(batch, name).tobytes() for name in COLUMNS})


def batch_of(record: BarsRecord) -> BarBatch:
    """Give the batch of a record."""
    columns: dict[str, Any] = {name: np.frombuffer(record.columns[name], DTYPES[name]) for name in COLUMNS}
    return BarBatch(**columns, bar_s=record.bar_s, recv_ns=record.recv_ns)


def pack(arrays: Arrays) -> bytes:
    """Give arrays as an npz blob; never a pickle."""
    out = io.BytesIO()
    np.savez(out, **{name.replace("/", "\x1f"): a for name, a in arrays.items()})  # type: ignore[arg-type]
    return out.getvalue()


def unpack(blob: bytes) -> Arrays:
    """Give the arrays of a blob."""
    with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
        return {name.replace("\x1f", "/"): archive[name] for name in archive.files}


class SegmentWriter:
    """Appends records to one new segment; `write` makes what was put so far outlive the process."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path = path
        self.size = len(MAGIC)
        self._file = path.open("xb", buffering=0)
        self._file.write(MAGIC)
        self._zstd = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting = bytearray()
        self._put(head)
        self.write()

    def put(self, record: Record) -> None:
        """Add a record behind the others."""
        self._put(record)

    def _put(self, record: Record | Head) -> None:
        body = self._encoder.encode(record)
        self._waiting += len(body).to_bytes(4, "little")
        self._waiting += body

    def write(self) -> None:
        """Hand what waits to the system: a crash of this process does not lose it."""
        if not self._waiting:
            return
        packed = self._zstd.compress(bytes(self._waiting)) + self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._waiting.clear()
        chunk = CHUNK.pack(len(packed), zlib.crc32(packed)) + packed
        try:
            if self._file.write(chunk) != len(chunk):  # a disk that fills up takes a part and does not say so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(self.size)  # half a chunk is only left by a process that died
            raise
        self.size += len(chunk)

    def close(self) -> None:
        """Write what waits and close the file."""
        self.write()
        self._file.close()


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file and what it starts from."""

    path: Path
    head: Head


def segments(folder: Path) -> list[Path]:
    """Give a recording's segments, in the order they were written per asset class.

    Raises
    ------
    RecordingError
        When the folder is absent or holds no segment.
    """
    if not folder.is_dir():
        raise RecordingError(f"expected a folder with a recording at {folder}, was {_kind(folder)}")
    found = sorted(p for p in folder.iterdir() if NAME.fullmatch(p.name))
    if not found:
        raise RecordingError(f"expected files such as stocks-000001{SUFFIX} in {folder}, was none")
    return found


def is_recording(folder: Path) -> bool:
    """Say whether a folder holds a recording."""
    return folder.is_dir() and any(NAME.fullmatch(p.name) for p in folder.iterdir())


def next_path(folder: Path, asset_class: AssetClass) -> Path:
    """Give the path of the next segment of a class."""
    taken = [NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
    numbers = [int(m["number"]) for m in taken if m and m["asset_class"] == asset_class]
    return folder / f"{asset_class}-{max(numbers, default=0) + 1:06d}{SUFFIX}"


class SegmentReader:
    """Reads one segment: its head at once, then its records. `torn` says what was dropped at the end, if anything.

    Raises
    ------
    RecordingError
        When the file is none of ours, or its head is not whole: there is nothing to start from. While the records are
        read, when the file is damaged: with whole chunks behind what is none, or bytes that no writer left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = ""
        self._messages = self._read()
        first = next(self._messages, None)
        if first is None:
            raise RecordingError(f"{path.name}: expected a recording's head, was {self.torn or 'nothing'}")
        try:
            self.head = _HEAD.decode(first)
        except msgspec.DecodeError as e:
            raise RecordingError(f"{path.name}: expected a recording's head, was: {e}") from e

    def __iter__(self) -> Iterator[Record]:
        for message in self._messages:
            try:
                yield _RECORDS.decode(message)
            except msgspec.DecodeError as e:
                raise RecordingError(f"{self.path.name}: expected a record, was: {e}") from e

    def _read(self) -> Iterator[bytes]:
        waiting = b""
        for data in self._chunks():
            waiting += data
            at = 0
            while len(waiting) - at >= 4:
                size = int.from_bytes(waiting[at : at + 4], "little")
                if len(waiting) - at - 4 < size:
                    break
                yield waiting[at + 4 : at + 4 + size]
                at += 4 + size
            waiting = waiting[at:]

    def _chunks(self) -> Iterator[bytes]:
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            with self.path.open("rb") as f:
                if f.read(len(MAGIC)) != MAGIC:
                    raise RecordingError(f"{self.path.name}: expected {MAGIC[:-1].decode()!r}, was another file")
                at = f.tell()
                while header := f.read(CHUNK.size):
                    size, crc = CHUNK.unpack(header) if len(header) == CHUNK.size else (0, 0)
                    packed = f.read(min(size, MOST_CHUNK))
                    is_short = len(packed) < size
                    if is_short or len(header) < CHUNK.size or zlib.crc32(packed) != crc:
                        if f.read(1) or (is_short and not _may_be_torn(packed, size, crc, unpacker.decompress)):
                            raise RecordingError(f"{self.path.name}: expected a whole chunk at byte {at}, was damaged")
                        self.torn = f"a torn tail after {at} bytes"
                        return
                    yield unpacker.decompress(packed)
                    at = f.tell()
        except OSError as e:
            raise RecordingError(f"{self.path.name}: expected a readable file, was {e.strerror}") from e
        except zstandard.ZstdError as e:
            raise RecordingError(f"{self.path.name}: expected zstd data at byte {at}, was: {e}") from e


def _may_be_torn(packed: bytes, size: int, crc: int, unpack_some: Callable[[bytes], bytes]) -> bool:
    """Say whether the last bytes of a file are the first of a chunk that says to be longer, or its length is false."""
    if size > MOST_CHUNK:
        return False
    try:
        unpack_some(packed)
    except zstandard.ZstdError:  # another chunk begins in the middle of it
        return False
    so_far = 0
    for k in range(len(packed)):
        so_far = zlib.crc32(packed[k : k + 1], so_far)
        if so_far == crc:
            return False
    return True


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "absent"
