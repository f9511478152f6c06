"""Write down every input of one feed that is no pure function: what a replay needs to give the same, bit for bit."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.decisions.config import DetectionConfig
from features.market.readers import Form
from features.market.types import BarBatch, Hole, Series
from ray_apps.ingest.events import Flush
from ray_apps.store import recording
from ray_apps.store.recording import FrameRecord, Head, SegmentWriter

LOG = logging.getLogger(__name__)

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """Where a recording goes and how large it may grow: segments of `segment_mib`, `max_mib` in all per feed."""

    folder: Path
    segment_mib: int = 256
    max_mib: int = 8_192


class Journal:
    """Appends to the current segment of a recording; without one (a disk that is full) it drops and counts.

    Records are written out before what they say goes on: a crash of this process loses none that had an effect.
    """

    def __init__(self, plan: RecordingPlan, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.n_lost = 0
        self._tell = tell
        self._segment: SegmentWriter | None = None
        self._parsed = 0
        self._pending: deque[tuple[FrameRecord, int]] = deque()  # frames not wholly taken, with their first part

    @property
    def first_part(self) -> int:
        """The number of the first parsed part that no item took yet, or of one just before it."""
        return self._pending[0][1] if self._pending else self._parsed

    @property
    def is_full(self) -> bool:
        """Whether the segment is due to be ended and followed by a new one."""
        return self._segment is not None and self._segment.size >= self.plan.segment_mib * MIB

    @property
    def is_open(self) -> bool:
        """Whether records are kept now."""
        return self._segment is not None

    def begin(self, head: Head) -> None:
        """End the segment and start another from a whole state; the oldest go where there are too many."""
        self.end()
        folder = self.plan.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._segment = SegmentWriter(recording.next_path(folder, head.asset_class), head)
            for frame, _ in self._pending:
                self._segment.put(frame)
            self._segment.write()
            self._forget(head.asset_class)
        except OSError as e:
            self._give_up(e)

    def frame(self, form: Form, recv_ns: int, now_ns: int, data: bytes, n_parts: int) -> None:
        """Note a frame that gave so many parts; it is written out with what it leads to."""
        record = FrameRecord(recv_ns, now_ns, form, data)
        self._pending.append((record, self._parsed))
        self._parsed += n_parts
        self._put(record)

    def series(self, series: Sequence[Series]) -> None:
        """Note series that another process numbered."""
        self._put(recording.SeriesRecord([(s.symbol, s.bar_s) for s in series]))

    def item(self, item: Flush | Hole) -> None:
        """Note what the Market takes next."""
        if isinstance(item, Hole):
            self._put(
                recording.HoleRecord(item.cause, item.from_ns, item.to_ns, item.count, item.bar_s, item.is_filled)
            )
        elif item.numbers:
            self._put(recording.TakenRecord(runs(item.numbers)))
            while len(self._pending) > 1 and self._pending[1][1] <= item.numbers[-1] + 1:
                self._pending.popleft()
            if self._parsed == item.numbers[-1] + 1:
                self._pending.clear()
        else:
            for part in item.parts:
                if isinstance(part, BarBatch):
                    self._put(recording.bars_record(part))
        self._write()

    def close(self, end_ns: int) -> None:
        """Note that the open window is closed by the clock."""
        self._put(recording.CloseRecord(end_ns))
        self._write()

    def configure(self, detection: DetectionConfig) -> None:
        """Note settings in force from here on."""
        self._put(recording.ConfigRecord(detection))
        self._write()

    def scored(self, model: str, version: str, outcome: str, rows: int) -> None:
        """Note what a learned model came to in shadow."""
        self._put(recording.ScoredRecord(model, version, outcome, rows, time.time_ns()))

    def end(self) -> None:
        """Close the segment."""
        segment, self._segment = self._segment, None
        if segment is not None:
            try:
                segment.close()
            except OSError as e:
                self._give_up(e)

    def _put(self, record: recording.Record) -> None:
        if self._segment is None:
            self.n_lost += 1
        else:
            self._segment.put(record)

    def _write(self) -> None:
        if self._segment is None:
            return
        try:
            self._segment.write()
        except OSError as e:
            self._give_up(e)

    def _give_up(self, e: OSError) -> None:
        """Record no more until the next segment begins: the market is watched without."""
        self._segment = None
        self._tell(f"recording stopped: expected room in {self.plan.folder}, was {e.strerror}")
        LOG.warning("recording stopped: %s", e)

    def _forget(self, asset_class: str) -> None:
        """Delete the oldest segments of the class beyond the limit, never the current one."""
        mine = [p for p in recording.segments(self.plan.folder) if p.name.startswith(f"{asset_class}-")]
        sizes = {p: p.stat().st_size for p in mine}
        for path in mine[:-1]:
            if sum(sizes.values()) <= self.plan.max_mib * MIB:
                return
            path.unlink()
            del sizes[path]


def runs(numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Give rising numbers as runs (first, last).

    >>> runs((3, 4, 5, 9))
    [(3, 5), (9, 9)]
    """
    out: list[tuple[int, int]] = []
    for n in numbers:
        if out and out[-1][1] + 1 == n:
            out[-1] = (out[-1][0], n)
        else:
            out.append((n, n))
    return out
