"""Measure what writing a recording costs the feed, against what the feed does with the same frames anyway."""

import statistics
import tempfile
import time
from pathlib import Path

from features.decisions.config import DetectionConfig
from features.market.polygon import parse
from features.market.types import AssetClass, SlotTable
from ray_apps.bench.parse import frames
from ray_apps.ingest.events import Flush
from ray_apps.ingest.journal import Journal, RecordingPlan
from ray_apps.store.recording import Head

TARGET_RATE = 25_000
"""Second bars a second that the whole system must sustain."""
FRAME_BARS = 200
"""A second's bars of some thousand stocks come in frames of about this size."""


def recording_cost(bars: int = 40_000, rounds: int = 5) -> dict[str, float]:
    """Journal the frames of some bars as a feed does, each round paired with the parsing of the same frames.

    Returns
    -------
    dict
        Microseconds a bar that the journal takes (`recording_us`) and that parsing takes (`parse_us`), the share of
        one core at the rate the system must sustain (`share_of_core`), and bytes a bar on the disk.
    """
    made = frames(bars, FRAME_BARS)
    table = SlotTable(AssetClass.STOCKS)
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        journal = Journal(RecordingPlan(Path(folder)), told.append)
        journal.begin(_head())
        pairs = [(_parsed(made, table), _journaled(made, journal, k * len(made))) for k in range(rounds)]
        journal.end()
        size = sum(p.stat().st_size for p in Path(folder).iterdir())
    if told:
        raise OSError(told[0])
    recording_us = statistics.median(r for _, r in pairs) / bars * 1e6
    return {
        "recording_us": recording_us,
        "parse_us": statistics.median(p for p, _ in pairs) / bars * 1e6,
        "share_of_core": recording_us * TARGET_RATE / 1e6,
        "recorded_bytes": size / (bars * rounds),
    }


def _parsed(made: list[bytes], table: SlotTable) -> float:
    began = time.perf_counter()
    for frame in made:
        parse(frame, table, 0, 0)
    return time.perf_counter() - began


def _journaled(made: list[bytes], journal: Journal, first: int) -> float:
    """Note each frame and that the Market took it, as when each is taken at once: the costliest case."""
    began = time.perf_counter()
    for i, frame in enumerate(made, first):
        journal.frame("stream", 0, 0, frame, 1)
        journal.item(Flush((), (i,)))
    return time.perf_counter() - began


def _head() -> Head:
    return Head(
        AssetClass.STOCKS, 60, AssetClass.STOCKS.activity, 0, {}, DetectionConfig(), [], b"", [], 0.0, 0.0, 0, 0
    )  # fmt: skip
