"""Segments of a recording: what was written is read, what was torn is dropped, what is none is refused."""

import itertools
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.decisions.config import DetectionConfig, DetectorRule
from features.market.types import AssetClass, BarBatch
from ray_apps.ingest.journal import Journal, RecordingPlan, runs
from ray_apps.store import recording
from ray_apps.store.recording import Head, RecordingError, SegmentReader, SegmentWriter

STOCKS = AssetClass.STOCKS
CONFIG = DetectionConfig(budget=0.1, rules={"gap": DetectorRule(share=0.1, direction="up")})
HEAD = Head(STOCKS, 60, "trades", 1, {"tapewatch": "1"}, CONFIG, [("A", 60)], b"m", [b"s"], 5.0, 3_600.0, 100, 0)
RECORDS: list[recording.Record] = [
    recording.FrameRecord(1, 2, "stream", b"[]"),
    recording.SeriesRecord([("A", 60)]), recording.TakenRecord([(0, 3), (5, 5)]),
    recording.bars_record(BarBatch.empty(60)), recording.HoleRecord("reconnect", 1, 2, 3, 0, True),
    recording.CloseRecord(60), recording.ConfigRecord(CONFIG), recording.ScoredRecord("m", "v", "timeout", 9, 1),
]  # fmt: skip


def written(path: Path) -> bytes:
    """Write every kind of record, a chunk each; give the file."""
    segment = SegmentWriter(path, HEAD)
    for record in RECORDS:
        segment.put(record)
        segment.write()
    segment.close()
    assert segment.size == path.stat().st_size
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stocks-000001.tape"
    written(path)
    reader = SegmentReader(path)
    assert reader.head == HEAD
    assert list(reader) == RECORDS
    assert not reader.torn


def test_any_cut_gives_the_whole_chunks_before_it(tmp_path: Path) -> None:
    path = tmp_path / "stocks-000001.tape"
    data = written(path)
    seen = set()
    for size in range(len(recording.MAGIC), len(data)):
        path.write_bytes(data[:size])
        try:
            reader = SegmentReader(path)
        except RecordingError:
            continue  # the head itself is cut
        found = list(reader)
        assert found == RECORDS[: len(found)]
        seen.add(len(found))
    assert seen == set(range(len(RECORDS)))


def test_a_flipped_bit_is_damage_with_its_place_but_in_the_last_chunk(tmp_path: Path) -> None:
    path = tmp_path / "stocks-000001.tape"
    data = written(path)
    starts = [len(recording.MAGIC)]
    while starts[-1] < len(data):
        starts.append(starts[-1] + recording.CHUNK.size + recording.CHUNK.unpack_from(data, starts[-1])[0])
    assert len(starts) == len(RECORDS) + 2
    for first, after in itertools.pairwise(starts[:-1]):
        for at in range(first, after):
            for bit in (0, 7):
                path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
                said = rf"^stocks-000001\.tape: expected a whole chunk at byte {first}, was damaged$"
                with pytest.raises(RecordingError, match=said):
                    list(SegmentReader(path))
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reader = SegmentReader(path)
    assert list(reader) == RECORDS[:-1]
    assert reader.torn == f"a torn tail after {starts[-2]} bytes"


def test_a_disk_that_fills_up_leaves_no_half_chunk(tmp_path: Path) -> None:
    path = tmp_path / "stocks-000001.tape"
    segment = SegmentWriter(path, HEAD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment.size + 20, limits[1]))
        segment.put(recording.FrameRecord(1, 2, "stream", bytes(range(256)) * 4))
        with pytest.raises(OSError, match=r"space|large"):
            segment.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    segment.close()
    assert path.stat().st_size == segment.size
    reader = SegmentReader(path)
    assert (list(reader), reader.torn) == ([], "")


@given(st.binary(max_size=200), st.integers(0, 150))
def test_damage_is_a_torn_tail_or_a_recording_error(data: bytes, at: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stocks-000001.tape"
        whole = written(path)
        path.write_bytes(whole[:at] + data + whole[at + len(data) :])
        try:
            found = list(SegmentReader(path))
        except RecordingError:
            return
        assert found == RECORDS[: len(found)]


def test_what_is_no_recording_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="was absent"):
        recording.segments(tmp_path / "nothing")
    with pytest.raises(RecordingError, match=r"expected files such as stocks-000001\.tape"):
        recording.segments(tmp_path)
    (tmp_path / "stocks-000001.tape").write_bytes(b"no recording at all")
    with pytest.raises(RecordingError, match="was another file"):
        SegmentReader(tmp_path / "stocks-000001.tape")


def test_old_segments_go_beyond_the_limit_and_only_of_the_same_class(tmp_path: Path) -> None:
    said: list[str] = []
    journal = Journal(RecordingPlan(tmp_path, segment_mib=0, max_mib=0), said.append)
    (tmp_path / "crypto-000001.tape").write_bytes(b"another class")
    for _ in range(3):
        journal.begin(HEAD)
    journal.end()
    assert [p.name for p in recording.segments(tmp_path)] == ["crypto-000001.tape", "stocks-000003.tape"]
    assert not said


def test_frames_not_wholly_taken_go_into_the_next_segment_too(tmp_path: Path) -> None:
    from ray_apps.ingest.events import Flush

    journal = Journal(RecordingPlan(tmp_path), print)
    for number in range(3):
        journal.frame("stream", number, number, str(number).encode(), 2)
    journal.item(Flush((), (0, 1, 2)))
    assert journal.first_part == 2
    journal.begin(HEAD)
    journal.end()
    frames = [r.data for r in SegmentReader(recording.segments(tmp_path)[0]) if isinstance(r, recording.FrameRecord)]
    assert frames == [b"1", b"2"]
    journal.item(Flush((), (3, 4, 5)))
    assert journal.first_part == 6


def test_a_disk_without_room_ends_the_recording_not_the_watch(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("")
    journal = Journal(RecordingPlan(tmp_path / "file" / "tape"), said.append)
    journal.begin(HEAD)
    journal.close(60)
    assert not journal.is_open
    assert journal.n_lost == 1
    assert said
    assert "recording stopped" in said[0]


@given(st.lists(st.integers(0, 50), unique=True).map(sorted))
def test_runs_are_the_numbers(numbers: list[int]) -> None:
    assert [n for first, last in runs(tuple(numbers)) for n in range(first, last + 1)] == numbers
