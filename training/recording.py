"""Fold a recording once more: the same frames, batches, closes and settings give the same anomalies, bit for bit."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from features.decisions.anomalies import RETRACTED, Anomalies
from features.market.bars import merge
from features.market.polygon import Limits
from features.market.readers import READERS
from features.market.symbols import shard_of
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass, BarBatch, FaultBatch, Hole, SlotTable
from features.stages.context import Contexts
from features.stages.desk import Desk
from features.stages.market import Market
from features.stages.market_stream import Item, MarketStream
from features.stages.symbol_stream import SymbolStream
from features.stages.symbols import Symbols
from features.state import SeriesShape
from ray_apps.store import recording
from ray_apps.store.recording import Head, Record, RecordingError, SegmentReader
from training.lines import CONFIRM_NS, AnomalyLine, line_of


@dataclass(slots=True)
class RecordingSummary:
    """What a recording came to, of one asset class.

    Times in Unix ms, from the first bar's start to the last one's end; None without bars. `notes` are lines about what
    was found.
    """

    asset_class: str
    series: int = 0
    segments: int = 0
    frames: int = 0
    bars: int = 0
    windows: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    anomalies: int = 0
    holes: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)
    models: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def replay_recording(
    folder: Path, asset_class: AssetClass | None, give: Callable[[AnomalyLine], object]
) -> list[RecordingSummary]:
    """Replay a recording of one class, or of all: `give` gets every anomaly in its last state, by time known.

    Raises
    ------
    RecordingError
        When there is nothing to replay, or a segment is damaged before its end.
    """
    paths = recording.segments(folder)
    classes = sorted({p.name.split("-")[0] for p in paths})
    if asset_class is not None and asset_class.value not in classes:
        raise RecordingError(f"expected a recording of {asset_class} in {folder}, was one of {', '.join(classes)}")
    summaries = []
    for name in classes if asset_class is None else [asset_class.value]:
        run = _Run(RecordingSummary(name))
        for path in (p for p in paths if p.name.startswith(f"{name}-")):
            run.segment(SegmentReader(path))
        for line in run.lines():
            give(line)
        summaries.append(run.summary)
    return summaries


class _Run:
    """The stages of one class, as they stood and as they went on."""

    def __init__(self, summary: RecordingSummary) -> None:
        self.summary = summary
        self._before: SegmentReader | None = None
        self._found: dict[str, AnomalyLine] = {}
        self._waiting: dict[str, Anomalies] = {}
        self._confirmed_to = 0

    def segment(self, reader: SegmentReader) -> None:
        """Start from a segment's state and fold what follows."""
        if self._before and self._before.torn and reader.head.first_part:  # after a process that died it is 0
            expected = f"expected a whole segment, as {reader.path.name} goes on"
            raise RecordingError(f"{self._before.path.name}: {expected}, was {self._before.torn}")
        self._start(reader.head)
        self.summary.segments += 1
        for record in reader:
            self._fold(record)
        self._before = reader
        if reader.torn:
            self.summary.notes.append(f"{reader.path.name}: dropped {reader.torn}")

    def _start(self, head: Head) -> None:
        self.head, config = head, head.detection
        self.table = SlotTable(head.asset_class)
        for symbol, bar_s in head.series:
            self.table.slot(symbol, bar_s)
        self.stream = MarketStream(Market(SeriesShape(head.asset_class, head.bar_s, head.activity), config),
                                   self.table)  # fmt: skip
        self.stream.restore(recording.unpack(head.market))
        self.shards = []
        for blob in head.shards:
            shard = SymbolStream(Symbols(head.asset_class, head.bar_s, head.activity, config))
            for slot, (symbol, _) in enumerate(head.series):
                shard.symbols.open(slot, symbol)
            shard.restore(recording.unpack(blob))
            self.shards.append(shard)
        self.config = config
        self.desk = Desk(head.asset_class, config, lambda slot: self.table[slot].symbol)
        self.limits = Limits(head.max_frame_bytes, head.future_s, head.too_old_s)
        self.parts: dict[int, BarBatch | FaultBatch] = {}
        self.n_parts = head.first_part
        self._shard_of = np.empty(0, dtype=np.int64)

    def _fold(self, record: Record) -> None:
        match record:
            case recording.FrameRecord():
                self._parse(record)
            case recording.SeriesRecord():
                self._number(record)
            case recording.TakenRecord():
                self._take(record)
            case recording.BarsRecord():
                self._bars(recording.batch_of(record))
            case recording.HoleRecord():
                hole = Hole(record.cause, record.from_ns, record.to_ns, record.count, record.bar_s, record.is_filled)
                self.summary.holes["filled" if hole.is_filled else hole.cause] += 1
                self._tell(self.stream.miss(hole))
            case recording.CloseRecord():
                self._close(self.stream.close(), record.end_ns)
            case recording.ConfigRecord():
                self.config = record.detection
                self.desk.config = record.detection
                self._tell(self.stream.configure(record.detection))
            case recording.ScoredRecord():
                self.summary.shadow[f"{record.model} {record.outcome}"] += 1
                if record.version and f"{record.model} {record.version}" not in self.summary.models:
                    self.summary.models.append(f"{record.model} {record.version}")

    def _number(self, record: recording.SeriesRecord) -> None:
        for symbol, bar_s in record.series:
            self.table.slot(symbol, bar_s)

    def _parse(self, frame: recording.FrameRecord) -> None:
        self.summary.frames += 1
        parsed = READERS[frame.form](frame.data, self.table, frame.now_ns, frame.recv_ns, self.limits)
        parts: tuple[BarBatch | FaultBatch, ...] = (*parsed.batches, *parsed.faults)
        for part in parts:
            self.parts[self.n_parts] = part
            self.n_parts += 1

    def _take(self, record: recording.TakenRecord) -> None:
        numbers = [n for first, last in record.runs for n in range(first, last + 1)]
        missing = [n for n in numbers if n not in self.parts]
        if missing:
            raise RecordingError(f"expected the frame of part {missing[0]} before it was taken, was none")
        taken = [self.parts[n] for n in numbers]
        for n in [n for n in self.parts if n <= numbers[-1]]:  # what lies between was shed
            del self.parts[n]
        for batch in merge([p for p in taken if isinstance(p, BarBatch)]):
            self._bars(batch)
        for fault in (p for p in taken if isinstance(p, FaultBatch)):
            self._split(fault)

    def _bars(self, batch: BarBatch) -> None:
        self.summary.bars += len(batch)
        self._see(batch)
        for item in self.stream.take(batch, 0.0):
            if isinstance(item, Contexts):
                self._close(item, int(item.end[0]))
            else:
                self._split(item)

    def _see(self, batch: BarBatch) -> None:
        """Widen the span of what was recorded: holes are filled with bars older than the first that came live."""
        s = self.summary
        if not len(batch):
            return
        first, last = int(batch.ts.min()) // NS_PER_MS, int(batch.ts_end.max()) // NS_PER_MS
        s.first_ts = first if s.first_ts is None else min(s.first_ts, first)
        s.last_ts = last if s.last_ts is None else max(s.last_ts, last)

    def _split(self, batch: BarBatch | FaultBatch) -> None:
        for series in self.table.since(len(self._shard_of)):
            for shard in self.shards:
                shard.symbols.open(len(self._shard_of), series.symbol)
            self._shard_of = np.append(self._shard_of, shard_of(series.symbol, len(self.shards)))
        shards = self._shard_of[batch.slot]
        for i, shard in enumerate(self.shards):
            rows = np.flatnonzero(shards == i)
            if len(rows):
                self._note(shard, batch.take(rows))

    def _tell(self, item: Item) -> None:
        for shard in self.shards:
            self._note(shard, item)

    def _close(self, ctx: Contexts, end_ns: int) -> None:
        if int(ctx.end[0]) != end_ns:
            raise RecordingError(f"expected the window ending at {end_ns} to close, was {int(ctx.end[0])}")
        self.summary.windows += 1
        self._tell(ctx)
        self._settle(ctx)

    def _note(self, shard: SymbolStream, item: Item) -> None:
        for found in shard.take(item).found:
            for i in range(len(found)):
                self._keep(found.take(np.array([i])))
        for day, (peaks, series) in shard.symbols.primary.take_totals().items():
            self.stream.market.rescale.credit(day, peaks, series)

    def _keep(self, a: Anomalies) -> None:
        """Take one anomaly, new or in another state; its episode, once given, stays."""
        series = self.table[int(a.slot[0])]
        line = line_of(a, 0, series, self.config.budget)
        had = self._found.get(line.id)
        if had is not None:
            line = line._replace(episode_id=had.episode_id)
        self._found[line.id] = line
        if a.state[0] == RETRACTED:
            self._waiting.pop(line.id, None)
        elif not line.episode_id:
            self._waiting[line.id] = a

    def _settle(self, ctx: Contexts) -> None:
        """Give episodes to what waits up to a window's end, as the live desk does."""
        end = int(ctx.end[0])
        due = {i: a for i, a in self._waiting.items() if int(a.end[0]) <= end}
        window_ns = self.stream.market.shape.window_s * NS_PER_S
        order = sorted(due, key=lambda i: (int(due[i].end[0]), int(due[i].slot[0])))
        for window in sorted({-(-int(due[i].end[0]) // window_ns) for i in order}):
            ids = [i for i in order if -(-int(due[i].end[0]) // window_ns) == window]
            found = Anomalies.concat([due[i] for i in ids])
            settled = self.desk.settle(found, ctx if window * window_ns == end else None)
            for i, episode in zip(ids, settled.episode_ids, strict=True):
                self._found[i] = self._found[i]._replace(episode_id=episode)
                del self._waiting[i]
        self._confirmed_to = max(self._confirmed_to, end - CONFIRM_NS)

    def lines(self) -> Iterator[AnomalyLine]:
        """Give the anomalies in their last states, by time known, then symbol."""
        self.summary.series = len(self.table)
        self.summary.anomalies = len(self._found)
        for line in sorted(self._found.values(), key=lambda x: (x.available_ts, x.symbol)):
            if line.is_provisional and line.available_ts * NS_PER_MS <= self._confirmed_to:
                line = line.confirmed()
            self.summary.kinds[line.kind] += 1
            self.summary.states[line.state] += 1
            yield line
