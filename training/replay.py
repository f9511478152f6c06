"""Fold the Engine over a folder of bars, as if they had been perfectly received, and give what it found."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from features.block import BarBlock
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.bars import BarColumns, aggregate
from features.market.types import I64, NS_PER_MS, NS_PER_S, U8, AssetClass, FaultBatch, SlotTable
from ray_apps.errors import UsageError, UserError
from ray_apps.store.files import FileError, SeriesFile, iter_folder
from training.difference import Comparison
from training.fold import Folding, days_of
from training.lengths import Length, common_s, length_of
from training.lines import AnomalyLine
from training.spool import Spool


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to replay: a folder is one market on one clock.

    Attributes
    ----------
    bar_s
        Length the bars are brought to, seconds; None leaves them as they are.
    spool
        Folder with room for 56 bytes a bar while it runs; None: the system's temporary folder.
    """

    folder: Path
    asset_class: AssetClass
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    bar_s: int | None = None
    spool: Path | None = None


@dataclass(slots=True)
class _Series:
    """What is kept in memory of a file."""

    name: str
    symbol: str
    number: int
    length: Length
    n_bars: int
    n_days: int
    first_ns: int
    last_ns: int
    has_trades: bool
    n_silent: int
    n_refused: int
    n_duplicates: int
    faults_ts: I64
    faults_code: U8


@dataclass(slots=True)
class Loaded:
    """The good series of a folder in their spool, sorted by symbol, and a line per fault found."""

    spool: Spool
    bar_s: int
    series: list[_Series]
    faults: list[str]
    n_bad_files: int

    @property
    def activity(self) -> str:
        """The column that measures how busy a bar was: trades only where every file counts them."""
        return "trades" if all(s.has_trades for s in self.series) else "volume"

    @property
    def newest_ns(self) -> int:
        """Close of the newest bar."""
        return max(s.last_ns for s in self.series) + self.bar_s * NS_PER_S


@dataclass(slots=True)
class Summary:
    """What a replay came to. Times in Unix ms; speeds in bars a second, wall clock."""

    asset_class: str
    series: int
    file_bar_s: list[int]
    bar_s: int
    activity: str
    bars: int
    n_silent: int
    n_refused: int
    n_duplicates: int
    first_ts: int
    last_ts: int
    symbol_days: int
    n_bad_files: int
    anomalies: int = 0
    own_episodes: int = 0
    market_episodes: int = 0
    own_episodes_per_symbol_day: float = math.nan
    episodes_by_kind: dict[str, int] = field(default_factory=dict)
    engine_s: float = 0.0
    total_s: float = 0.0

    @property
    def engine_bars_per_s(self) -> float:
        """Bars a second of the Engine alone."""
        return self.bars / max(self.engine_s, 1e-9)

    @property
    def bars_per_s(self) -> float:
        """Bars a second from the files to the last anomaly."""
        return self.bars / max(self.total_s, 1e-9)

    @property
    def is_whole(self) -> bool:
        """Whether no file was left out and no row refused."""
        return not self.n_bad_files and not self.n_refused


def replay(plan: ReplayPlan, give: Callable[[AnomalyLine], object], warn: Callable[[str], object]) -> Summary:
    """Replay a folder: `give` gets every anomaly by the time it was known, then symbol; `warn` a line per fault.

    Memory is bounded by the largest file and `spool.CELLS`, not by the folder.

    Raises
    ------
    UserError
        When the folder gives no series (UsageError where it is absent or the bar length cannot be reached).
    """
    began = time.perf_counter()
    with _loaded(plan, warn) as loaded:
        summary = _summary(plan, loaded)
        folding = Folding(_engine(plan, loaded, plan.detection), loaded.newest_ns, lambda called: give(called.line))
        for block, faults in _pieces(loaded):
            folding.take(block, faults)
    folding.tally.fill(summary)
    summary.engine_s = folding.engine_s
    summary.total_s = time.perf_counter() - began
    return summary


def compare(
    plan: ReplayPlan, other: DetectionConfig, warn: Callable[[str], object]
) -> tuple[Summary, Summary, Comparison]:
    """Replay a folder under two settings at once: give what either came to, and where they differ.

    Raises
    ------
    UserError
        As `replay`.
    """
    with _loaded(plan, warn) as loaded:
        now, then = _summary(plan, loaded), _summary(plan, loaded)
        engines = [_engine(plan, loaded, detection) for detection in (plan.detection, other)]
        comparison = Comparison(engines[0], engines[1], loaded.newest_ns)
        for block, faults in _pieces(loaded):
            comparison.take(block, faults)
    comparison.now.tally.fill(now)
    comparison.then.tally.fill(then)
    return now, then, comparison


@contextmanager
def _loaded(plan: ReplayPlan, warn: Callable[[str], object]) -> Iterator[Loaded]:
    with Spool(plan.spool) as spool:
        loaded = load(plan, spool)
        for fault in loaded.faults:
            warn(fault)
        yield loaded


def _engine(plan: ReplayPlan, loaded: Loaded, detection: DetectionConfig) -> Engine:
    table = SlotTable(plan.asset_class, cap=len(loaded.series))
    for s in loaded.series:
        table.slot(s.symbol, loaded.bar_s)
    return Engine(table, loaded.bar_s, loaded.activity, detection)


def load(plan: ReplayPlan, spool: Spool) -> Loaded:
    """Read the files one after the other into the spool; keep those of the folder's bar length."""
    faults: list[str] = []
    series: list[_Series] = []
    n_files = 0
    for file in _files(plan.folder):
        n_files += 1
        try:
            if isinstance(file, FileError):
                raise file
            series.append(_take(file, plan, spool))
            if file.refused or file.n_duplicates:
                faults.append(_refused(file))
        except FileError as e:
            faults.append(str(e))
    if not series:
        raise _nothing(plan, faults)
    own_s = common_s([s.length for s in series])
    bar_s = plan.bar_s or own_s
    if bar_s % own_s:
        raise UsageError(f"--bar: expected a multiple of the bars' own {own_s} s, was {bar_s} s")
    if bar_s < 60 and 60 % bar_s:
        raise UsageError(f"expected bars that divide a minute or last one, was {bar_s} s: --bar 1m joins them")
    misfits = [s.length.misfit(own_s, plan.bar_s) for s in series]
    faults += [f"{s.name}: {misfit}" for s, misfit in zip(series, misfits, strict=True) if misfit]
    kept = [s for s, misfit in zip(series, misfits, strict=True) if not misfit]
    if not kept:
        raise _nothing(plan, faults)
    return Loaded(spool, bar_s, sorted(kept, key=lambda s: s.symbol), faults, n_files - len(kept))


def _nothing(plan: ReplayPlan, faults: list[str]) -> UserError:
    return UserError("\n".join([*faults, f"expected a good bar file in {plan.folder}, was none"]))


def _files(folder: Path) -> Iterator[SeriesFile | FileError]:
    try:
        yield from iter_folder(folder)
    except FileError as e:
        raise (UserError if folder.is_dir() else UsageError)(str(e)) from None


def _take(file: SeriesFile, plan: ReplayPlan, spool: Spool) -> _Series:
    """Bring a file to its bar length and put it into the spool."""
    bars = BarColumns(file.ts, file.open, file.high, file.low, file.close, file.volume, file.vwap, file.trades)
    # a window of no volume saw no trade; an index has no volume at all
    traded = np.ones(len(bars), np.bool_) if plan.asset_class is AssetClass.INDICES else bars.volume > 0
    n_silent = int((~traded).sum())
    if n_silent == len(bars):
        raise FileError(f"{file.path.name}: expected a bar with volume, was none in {len(bars)}")
    bars, faults_ts = bars.take(traded), file.faults_ts
    length = length_of(file.ts, file.bar_s)
    if plan.bar_s and (file.bar_s < plan.bar_s or not length.is_sure):
        at_least_s = math.gcd(file.bar_s, plan.bar_s) if length.is_sure else 1
        bars = aggregate(bars, at_least_s, plan.bar_s)
        faults_ts = faults_ts // (plan.bar_s * NS_PER_S) * (plan.bar_s * NS_PER_S)
    return _Series(
        name=file.path.name, symbol=file.symbol, number=spool.add(bars), length=length, n_bars=len(bars),
        n_days=len(np.unique(days_of(bars.ts, plan.asset_class))), first_ns=int(bars.ts[0]),
        last_ns=int(bars.ts[-1]), has_trades=file.has_trades, n_silent=n_silent,
        n_refused=sum(file.refused.values()), n_duplicates=file.n_duplicates,
        faults_ts=faults_ts, faults_code=file.faults_code,
    )  # fmt: skip


def _refused(file: SeriesFile) -> str:
    """Say what of a file is not played."""
    n_refused = sum(file.refused.values())
    n_rows = len(file) + n_refused + file.n_duplicates
    said = []
    if n_refused:
        reasons = ", ".join(f"{n} {reason}" for reason, n in file.refused.most_common())
        first = f"; {file.messages[0].removeprefix(f'{file.path.name}:')}" if file.messages else ""
        said.append(f"{n_refused} of {n_rows} rows refused ({reasons}{first})")
    if file.n_duplicates:
        said.append(f"{file.n_duplicates} of {n_rows} rows repeat another one")
    return f"{file.path.name}: {', '.join(said)}"


def _summary(plan: ReplayPlan, loaded: Loaded) -> Summary:
    series = loaded.series
    return Summary(
        asset_class=plan.asset_class.value, series=len(series), file_bar_s=sorted({s.length.bar_s for s in series}),
        bar_s=loaded.bar_s, activity=loaded.activity, bars=sum(s.n_bars for s in series),
        n_silent=sum(s.n_silent for s in series), n_refused=sum(s.n_refused for s in series),
        n_duplicates=sum(s.n_duplicates for s in series),
        first_ts=min(s.first_ns for s in series) // NS_PER_MS, last_ts=loaded.newest_ns // NS_PER_MS,
        symbol_days=sum(s.n_days for s in series),
        n_bad_files=loaded.n_bad_files,
    )  # fmt: skip


def _pieces(loaded: Loaded) -> Iterator[tuple[BarBlock, FaultBatch | None]]:
    """Give all blocks with the false prices of their span."""
    faults = _faults(loaded)
    for block in loaded.spool.blocks([s.number for s in loaded.series], loaded.bar_s):
        # the bars of a block end with its last window: so do its faults
        n = int(np.searchsorted(faults.ts_end, block.ts.max() + loaded.bar_s * NS_PER_S, side="right"))
        yield block, faults.take(slice(0, n)) if n else None
        faults = faults.take(slice(n, None))


def _faults(loaded: Loaded) -> FaultBatch:
    """Give the bars with false prices of all series, in the order of their ends."""
    slot = np.repeat(np.arange(len(loaded.series), dtype=np.int32), [len(s.faults_ts) for s in loaded.series])
    ts = np.concatenate([s.faults_ts for s in loaded.series])
    order = np.lexsort((slot, ts))
    code = np.concatenate([s.faults_code for s in loaded.series])
    return FaultBatch(slot[order], ts[order], ts[order] + loaded.bar_s * NS_PER_S, code[order], loaded.bar_s)
