"""Judge one series: everything that can be said of it without the others."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.market.bars import BarColumns
from features.market.calendar import Sessions
from features.market.quality import findings
from features.market.quality.days import BUCKET_S, TradingDays, Windows, seconds_of_day, trading_days, windows
from features.market.quality.findings import Finding, Flaw
from features.market.quality.gaps import Coverage, coverage
from features.market.quality.lengths import longer_bars
from features.market.quality.outages import STEADY, Silences
from features.market.quality.outliers import Outliers, price_outliers, volume_outliers
from features.market.quality.profile import (
    DayTable,
    GridCloses,
    Volatility,
    day_table,
    grid_closes,
    moves_by_time,
    volatility,
    volume_by_time,
)
from features.market.quality.rows import NEVER, printed, sound_rows
from features.market.quality.schema import FieldRange, ranges
from features.market.quality.slips import slips
from features.market.quality.splits import KnownSplits, splits
from features.market.quality.stale import stale_runs
from features.market.types import F64, I64, NS_PER_S, AssetClass

LITTLE_DATA = 100
"""Fewer bars have no habits to hold them against."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the series of a class are held against: its trading days and the windows of one bar length in them."""

    days: TradingDays
    expected: Windows
    bar_s: int

    @property
    def asset_class(self) -> AssetClass:
        """Whose days they are."""
        return self.days.asset_class

    @property
    def step_ns(self) -> int:
        """Length of a bar, ns."""
        return self.bar_s * NS_PER_S


@dataclass(frozen=True, slots=True)
class SeriesQuality:
    """What is known of one series.

    Attributes
    ----------
    symbol
        Whose bars.
    n_rows, n_bars
        Rows as they came, and bars in which something traded.
    first_ns, last_ns
        Start of the first and of the last bar, UTC ns; 0 where there is none.
    refused, doubtful
        Rows by reason, as in `features.market.quality.rows.Rows`; of files also what their reader refused.
    fields
        What the fields hold, of all rows.
    coverage
        Day by day, and the gaps.
    n_flaws, flaws
        How many of each kind, and the largest by place.
    volatility, moves_by_time, volume_by_time
        As in `features.market.quality.profile`.
    grid
        Five-minute closes, for correlations.
    silences
        Windows without a bar, of a series that nearly always prints; else None.
    turnover
        Median of a day's volume times its last price; of a class without volumes 0.
    """

    symbol: str
    n_rows: int
    n_bars: int
    first_ns: int
    last_ns: int
    refused: Counter[str]
    doubtful: Counter[str]
    fields: tuple[FieldRange, ...]
    coverage: Coverage
    n_flaws: Counter[Flaw]
    flaws: tuple[Finding, ...]
    volatility: Volatility
    moves_by_time: F64
    volume_by_time: F64
    grid: GridCloses
    silences: Silences | None
    turnover: float


def frame(
    asset_class: AssetClass, sessions: Sessions, bar_s: int, span_ns: tuple[int, int], phase_ns: int = 0
) -> Frame:
    """Give the frame of a half-open span; `phase_ns` is how far bars start beyond whole multiples of their length."""
    days = trading_days(asset_class, sessions, *span_ns)
    return Frame(days, windows(days, bar_s, phase_ns), bar_s)


def judge_series(
    symbol: str,
    rows: BarColumns,
    held: Frame,
    known: KnownSplits | None = None,
    refused: Mapping[str, int] | None = None,
    now_ns: int = NEVER,
) -> SeriesQuality:
    """Judge a series. About 0.4 us a bar.

    Parameters
    ----------
    rows
        [N] rows as they came: any order, any values.
    held
        Its class's frame; it must reach over all rows that are not of the future.
    known
        Splits the vendor lists.
    refused
        Rows a reader has refused before, by reason.
    now_ns
        Rows of windows that begin later are refused as future.
    """
    kept = sound_rows(rows, held.bar_s, held.asset_class is not AssetClass.INDICES, now_ns)
    bars = printed(kept.bars)
    covered = coverage(bars.ts, held.days, held.expected, held.bar_s)
    row = held.days.row_of(bars.ts)
    prices = price_outliers(bars)
    right = row >= 0
    right[prices.row] = False
    inside, inside_row = bars.take(right), row[right]
    grid = grid_closes(inside, inside_row, held.days)
    table = day_table(inside, inside_row, grid, held.days)
    jumps = splits(table.day, table.first, table.last, table.volume, known) if held.asset_class in _SPLIT else ()
    n_flaws, flaws = _flaws(symbol, bars, held, row, covered, prices)
    flaws += findings.splits(symbol, jumps)
    n_flaws[Flaw.SPLIT] = len(jumps)
    return SeriesQuality(
        symbol=symbol,
        n_rows=len(rows),
        n_bars=len(bars),
        first_ns=int(bars.ts[0]) if len(bars) else 0,
        last_ns=int(bars.ts[-1]) if len(bars) else 0,
        refused=kept.refused + Counter(refused or {}),
        doubtful=kept.doubtful,
        fields=ranges(rows),
        coverage=covered,
        n_flaws=+n_flaws,
        flaws=tuple(flaws),
        volatility=volatility(table, held.asset_class, np.array([s.day for s in jumps], np.int64)),
        moves_by_time=moves_by_time(grid, held.asset_class),
        volume_by_time=volume_by_time(bars, held.asset_class),
        grid=grid,
        silences=_silences(bars.ts, covered, held),
        turnover=_turnover(table),
    )


_SPLIT = (AssetClass.STOCKS, AssetClass.OPTIONS)


def _flaws(
    symbol: str, bars: BarColumns, held: Frame, row: I64, covered: Coverage, prices: Outliers
) -> tuple[Counter[Flaw], list[Finding]]:
    """Give how many flaws there are, and the largest."""
    second = seconds_of_day(held.asset_class, bars.ts)
    half_hour = second // BUCKET_S
    still = stale_runs(bars, row, half_hour)
    volumes = volume_outliers(bars.volume, second // max(held.bar_s, 60), half_hour)
    longer = longer_bars(bars.ts, held.bar_s)
    slipped = slips(bars.ts, bars.volume, held.days, held.bar_s)
    n_flaws = Counter({
        Flaw.GAP: len(covered.gaps),
        Flaw.STALE: len(still),
        Flaw.PRICE_OUTLIER: len(prices),
        Flaw.VOLUME_OUTLIER: len(volumes),
        Flaw.SLIP: len(slipped),
        Flaw.LENGTH: len(longer),
    })  # fmt: skip
    flaws = [
        *findings.gaps(symbol, covered),
        *findings.stale(symbol, still, bars.ts, bars.close, held.step_ns),
        *findings.outliers(Flaw.PRICE_OUTLIER, symbol, prices, bars.ts, held.step_ns),
        *findings.outliers(Flaw.VOLUME_OUTLIER, symbol, volumes, bars.ts, held.step_ns),
        *findings.slips(symbol, slipped),
        *findings.longer(symbol, longer, bars.ts),
    ]
    if len(bars) < LITTLE_DATA:
        n_flaws[Flaw.LITTLE_DATA] = 1
        first, last = (int(bars.ts[0]), int(bars.ts[-1]) + held.step_ns) if len(bars) else (0, 0)
        flaws.append(Finding(Flaw.LITTLE_DATA, symbol, first, last, len(bars), float(len(bars))))
    return n_flaws, flaws


def _silences(ts: I64, covered: Coverage, held: Frame) -> Silences | None:
    """Give the windows a steady series missed in its life."""
    if covered.usual_share < STEADY:
        return None
    life = held.expected.within(int(ts[0]), int(ts[-1]) + 1).ts
    return Silences(life[~np.isin(life, ts, assume_unique=True)], len(life))


def _turnover(table: DayTable) -> float:
    traded = (table.volume * table.last)[table.volume > 0]
    return float(np.median(traded)) if len(traded) else 0.0
