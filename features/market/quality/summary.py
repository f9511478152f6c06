"""Sum up the series of a class: their flaws together, coverage by day, and how they go together."""

import heapq
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from features.market.quality.correlation import Correlation, clock_lags, correlations
from features.market.quality.days import DAY_NS, TradingDays, count_windows
from features.market.quality.findings import MOST_KEPT, Finding, Flaw
from features.market.quality.outages import outages
from features.market.quality.profile import GridCloses
from features.market.quality.schema import FieldRange, joined
from features.market.quality.series import SeriesQuality
from features.market.types import F64, I64, NS_PER_S, AssetClass

MOST_CORRELATED = 30
"""Series in the matrix: those with the largest turnover."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known of the series of a class over a span.

    Attributes
    ----------
    asset_class, bar_s
        Which bars; length in seconds.
    from_ns, to_ns
        The half-open span judged, UTC ns.
    series
        [N] each one, by symbol.
    fields
        What the fields hold in all of them.
    day, n_windows
        [D] int64, the trading days of the span and the windows in each.
    coverage
        [N, D] float64, bars as part of those usual for the series, at most 1; 0 where it has none.
    n_flaws, flaws
        Flaws of all series and of the class as a whole: how many of each kind, and the largest by place.
    correlated
        [K] rows of `series` in the matrix.
    correlation
        Of those.
    """

    asset_class: AssetClass
    bar_s: int
    from_ns: int
    to_ns: int
    series: tuple[SeriesQuality, ...]
    fields: tuple[FieldRange, ...]
    day: I64
    n_windows: I64
    coverage: F64
    n_flaws: Counter[Flaw]
    flaws: tuple[Finding, ...]
    correlated: tuple[int, ...]
    correlation: Correlation

    @property
    def covered(self) -> F64:
        """[N] part of the usual bars of the whole span that each series has."""
        total = self.n_windows.sum()
        if not total:
            return np.zeros(len(self.series))
        out: F64 = self.coverage @ self.n_windows / total
        return out


class Survey:
    """Takes judged series one by one, in any order, and keeps what the summary needs: some 10 kB a series and year."""

    def __init__(self) -> None:
        self._series: list[SeriesQuality] = []
        self._grids: list[tuple[float, str, GridCloses]] = []  # a heap: the least traded first

    def __len__(self) -> int:
        return len(self._series)

    @property
    def has_bars(self) -> bool:
        """Whether any series has a bar."""
        return any(s.n_bars for s in self._series)

    @property
    def span_ns(self) -> tuple[int, int]:
        """Give the start of the first and of the last bar of all series; (0, 0) where there is none."""
        seen = [s for s in self._series if s.n_bars]
        return min((s.first_ns for s in seen), default=0), max((s.last_ns for s in seen), default=0)

    def add(self, series: SeriesQuality) -> None:
        """Take a series."""
        entry = (series.turnover, series.symbol, series.grid)
        if len(self._grids) < MOST_CORRELATED:
            heapq.heappush(self._grids, entry)
        else:
            heapq.heappushpop(self._grids, entry)
        none = np.empty(0, np.int64)
        self._series.append(replace(series, grid=GridCloses(none, none, np.empty(0), np.empty(0))))

    def result(self, days: TradingDays, bar_s: int, span_ns: tuple[int, int]) -> Quality:
        """Sum up a half-open span; `days` are whole ones and reach over it and all series."""
        series = sorted(self._series, key=lambda s: s.symbol)
        inside = days.within(*span_ns)
        n_windows = count_windows(inside, bar_s, span_ns[0] % (bar_s * NS_PER_S))
        grids = {symbol: grid for _, symbol, grid in self._grids if len(grid.ts)}
        correlated = tuple(k for k, s in enumerate(series) if s.symbol in grids)
        chosen = [grids[series[k].symbol] for k in correlated]
        flaws = [f for s in series for f in s.flaws]
        n_flaws = sum((s.n_flaws for s in series), Counter[Flaw]())
        for more in (_outages(series, bar_s), _lags([series[k].symbol for k in correlated], chosen, days)):
            flaws += more[:MOST_KEPT]
            n_flaws += Counter(f.flaw for f in more)
        return Quality(
            days.asset_class, bar_s, *span_ns, tuple(series), joined([s.fields for s in series]),
            inside.day, n_windows, _coverage(series, inside.day, n_windows), n_flaws, tuple(flaws),
            correlated, correlations(chosen, days),
        )  # fmt: skip


def _lags(symbols: list[str], grids: list[GridCloses], days: TradingDays) -> list[Finding]:
    """Give series whose clock runs apart from the others', where no sessions tell."""
    if days.asset_class is not AssetClass.CRYPTO:
        return []
    return [
        Finding(
            Flaw.SLIP, symbols[lag.series], lag.from_ns, lag.to_ns, round((lag.to_ns - lag.from_ns) / DAY_NS),
            float(lag.hours), lag.correlation - lag.unmoved,
        )
        for lag in clock_lags(grids, days)
    ]  # fmt: skip


def _outages(series: list[SeriesQuality], bar_s: int) -> list[Finding]:
    found = outages([s.silences for s in series if s.silences is not None], bar_s * NS_PER_S)
    columns = zip(found.from_ns.tolist(), found.to_ns.tolist(), found.n_series.tolist(), strict=True)
    return [Finding(Flaw.OUTAGE, "", start, end, n, float(n)) for start, end, n in columns]


def _coverage(series: list[SeriesQuality], day: I64, n_windows: I64) -> F64:
    out = np.zeros((len(series), len(day)))
    for k, s in enumerate(series):
        mine = s.coverage
        at = np.searchsorted(day, mine.day).clip(max=max(len(day) - 1, 0))
        here = np.flatnonzero(day[at] == mine.day) if len(day) else np.empty(0, np.intp)
        out[k, at[here]] = mine.share_of(n_windows[at[here]], here)
    return out
