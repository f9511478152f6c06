"""`tapewatch replay RECORDING`: what it tells, what it refuses, and what it says of a folder that is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from features.decisions.config import DetectionConfig
from features.market.types import AssetClass, SlotTable
from features.stages.market import Market
from features.stages.market_stream import MarketStream
from features.stages.symbol_stream import SymbolStream
from features.stages.symbols import Symbols
from features.state import SeriesShape
from ray_apps.store import recording
from tests.support.builders import Scene, batch, block
from training.commands import findings


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Give a folder that is a recording by its files' names."""
    folder = tmp_path / "tape"
    folder.mkdir()
    (folder / "stocks-000001.tape").write_bytes(recording.MAGIC)
    return folder


OWN = "expected none with a recording: it carries its settings"
STORE = "expected none with DIR: the database is replayed without it"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--bar", "5s"], 2, f"--bar: {OWN}"),
        (["--config", "other.yaml"], 2, f"--config: {OWN}"),
        (["--from", "7d"], 2, f"--from: {STORE}"),
        (["--symbols", "AAPL"], 2, f"--symbols: {STORE}"),
        (["--asset", "bonds"], 2, "--asset: expected one of stocks"),
        (["--asset", "crypto"], 1, "expected a recording of crypto in {tape}, was one of stocks"),
        ([], 1, "stocks-000001.tape: expected a recording's head, was nothing"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tapewatch, tape: Path, tmp_path: Path, args, code, said) -> None:
    got, printed, errors = tapewatch("replay", tape, "--out", tmp_path / "x.csv", *args)
    assert (got, printed, len(errors)) == (code, "", 1)
    assert said.format(tape=tape) in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["tape"]


def test_damage_before_the_end_is_no_torn_tail(tapewatch, tape: Path) -> None:
    (tape / "stocks-000001.tape").write_bytes(b"no recording at all, but long enough")
    code, _, errors = tapewatch("replay", tape)
    assert (code, len(errors)) == (1, 1)
    assert "was another file" in errors[0]


def head(first_part: int) -> recording.Head:
    """Give the head of a segment of stocks, of stages that have seen nothing."""
    stocks, config = AssetClass.STOCKS, DetectionConfig()
    market = MarketStream(Market(SeriesShape(stocks, 60, "trades"), config), SlotTable(stocks))
    shard = SymbolStream(Symbols(stocks, 60, "trades", config))
    states = [recording.pack({k: np.asarray(v) for k, v in s.snapshot().items()}) for s in (market, shard)]
    return recording.Head(stocks, 60, "trades", 1, {}, config, [], states[0], states[1:], 5.0, 3_600.0, 100, first_part)


def segment(folder: Path, first_part: int) -> Path:
    """Write the next segment of stocks, with settings told twice."""
    writer = recording.SegmentWriter(recording.next_path(folder, AssetClass.STOCKS), head(first_part))
    for _ in range(2):
        writer.put(recording.ConfigRecord(DetectionConfig()))
        writer.write()
    writer.close()
    return writer.path


@pytest.mark.parametrize(
    ("first_part", "code", "said"),
    [
        (0, 0, "warning: stocks: stocks-000001.tape: dropped a torn tail after {at} bytes"),
        (7, 1, "error: stocks-000001.tape: expected a whole segment, as stocks-000002.tape goes on, was a torn tail "
               "after {at} bytes"),
    ],
)  # fmt: skip
def test_a_torn_tail_is_that_of_a_process_that_died(tapewatch, tmp_path: Path, first_part, code, said) -> None:
    first = segment(tmp_path, 0)
    data = first.read_bytes()
    first.write_bytes(data[:-1])
    segment(tmp_path, first_part)
    got, _, errors = tapewatch("replay", tmp_path)
    at = errors[-1].split(" bytes")[0].split()[-1]
    assert (got, errors[-1]) == (code, said.format(at=at))
    assert len(data) - 40 < int(at) < len(data)


def test_the_span_is_that_of_the_bars_whether_anything_is_called_or_not(tapewatch, tmp_path: Path) -> None:
    writer = recording.SegmentWriter(segment(tmp_path, 0).with_name("stocks-000002.tape"), head(0))
    b = block(Scene(AssetClass.STOCKS, n_symbols=3, n_windows=6, missing=0.0, bursts=0, shocks=0, faults=0))
    writer.put(recording.SeriesRecord([(f"S{i}", 60) for i in range(3)]))
    for t in (1, 2, 4, 5, 0):  # the oldest is brought last, as a filled hole's
        writer.put(recording.bars_record(batch(b, t)))
    writer.write()
    writer.close()
    first, last = int(b.ts[0, 0]) // 10**6, int(b.ts[5, 0]) // 10**6 + 60_000
    (told,) = json.loads(tapewatch("replay", tmp_path, "--json")[1])["recordings"]
    assert (told["first_ts"], told["last_ts"], told["bars"], told["anomalies"]) == (first, last, 15, 0)
    code, said, _ = tapewatch("replay", tmp_path)
    assert code == 0
    assert f"bars         15, {findings.instant(first)} to {findings.instant(last)} UTC\n" in said


def test_a_recording_without_bars_has_no_span(tapewatch, tmp_path: Path) -> None:
    segment(tmp_path, 0)
    (told,) = json.loads(tapewatch("replay", tmp_path, "--json")[1])["recordings"]
    assert (told["first_ts"], told["last_ts"], told["bars"]) == (None, None, 0)
    said = tapewatch("replay", tmp_path)[1]
    assert "recorded     1 segment, 0 frames, 0 windows\nbars         0\n" in said


def test_a_flipped_byte_in_the_middle_is_an_error_with_its_place(tapewatch, tmp_path: Path) -> None:
    path = segment(tmp_path, 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    out = tmp_path / "found.csv"
    code, printed, errors = tapewatch("replay", tmp_path, "--out", out)
    assert (code, printed, len(errors)) == (1, "", 1)
    assert errors[0].startswith("error: stocks-000001.tape: expected a whole chunk at byte ")
    assert not out.exists()
