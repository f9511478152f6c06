"""The Market stage: one per asset class, it knows every symbol's move and says what all of them did together.

The channel is the median over symbols of the signed z of the window, of five minutes, and of the overnight gap, each
against its own norm; the largest counts. Values are carried five minutes, or thin universes stay silent.
"""

import math
from typing import NamedTuple

import numpy as np

from features import catalog
from features.block import BarBlock
from features.calibration import tail_p
from features.decisions.config import DetectionConfig
from features.decisions.peaks import Rescale
from features.families.fault import LEVEL
from features.families.horizon import HorizonFamily
from features.families.table import Cells, Table
from features.families.trials import SESSIONS
from features.families.window import clock
from features.jit import kernel
from features.market.calendar import ny_day
from features.market.types import F64, I64, NS_PER_S, Bool, Hole, SlotTable
from features.stages.context import Contexts
from features.state import DAY_S, FeatureState, SeriesShape
from features.stats import ALPHA, clip

MIN_SYMBOLS = 3
"""Fewer symbols are not a market, nor a sector."""
ACTIVE_NS = 600 * NS_PER_S
CARRY_NS = 300 * NS_PER_S
FIVE_MINUTES_S = 300
KNEE, EXPONENT = 3.3, 5.0
"""Frozen tail of the channel: a median of many symbols has a lighter one than a symbol."""
TAIL_FROM = 2.0
"""-log10 p from which the market learns its own tail: it depends on how many and which symbols there are."""
TAIL_PRIOR = 30.0
"""Exceedances that the frozen tail counts for."""
TAIL_CAP = 2.0
"""One exceedance counts for two decades at most, so that an anomaly does not become the norm."""
LOG10_E = math.log10(math.e)
PRIOR_RMS = 0.5
"""Prior rms of each median, in sd of a symbol: index moves over single-stock moves."""
PRIOR_WINDOWS = 60.0
PRIOR_GAPS = 5.0

# per series: when last seen, then the values the medians run over
SEEN, Z_W, Z_5, GAP_Z, GAP_AT, MOVE = range(6)
# of the contexts' columns; the sectors' and partners' moves come after the market's
N_ACTIVE, SCORE, P_VALUE, RATE, DIRECTION, IS_SHOCK, BREADTH, MEDIAN_MOVE = range(8)
# of the market: mean squares of the three medians with counts, then the learnt tail, then trials, then the end of the
# window whose gaps were judged last, each gap once
MS_W, N_W, MS_5, N_5, MS_GAP, N_GAP, EXCESS, N_EXCESS, WINDOWS, DAY, DAY_COUNT, N_DAYS, GAP_USED, DAYS = range(14)
# rows of the values gathered at a close
W, FIVE, MORNING, HOUR = range(4)


class _Terms(NamedTuple):
    """What a market is judged by: windows a day before any day was seen, the budget, the length of a window."""

    trials: float
    budget: float
    window_ns: int
    sessions: bool


class _Feeds(NamedTuple):
    """The slots whose moves make each column: of the sectors' members and of the partners, -1 where not seen yet."""

    members: I64
    starts: I64
    partners: I64


class _Bars(NamedTuple):
    """What was seen [T, N]; `revise` [N] as in `Windows`."""

    present: Bool
    ok: Bool
    revise: Bool
    end: I64
    z: F64
    z_5: F64
    gap_z: F64
    move: F64


@kernel
def _judge(median: float, s: F64, at: int, prior: float) -> float:  # scores, then learns clipped
    if np.isnan(median):
        return np.nan
    sd = math.sqrt((PRIOR_RMS**2 * prior + s[at] * s[at + 1]) / (prior + s[at + 1]))
    z = median / sd
    d = clip(median, 3.0 * sd)
    s[at + 1] = min(s[at + 1] + 1.0, 1.0 / ALPHA)
    s[at] += (d * d - s[at]) / s[at + 1]
    return z


@kernel
def _own_p(p: float, s: F64) -> float:
    """Give p on the market's own tail, then learn it."""
    depth = -math.log10(p)
    share = (TAIL_PRIOR + s[N_EXCESS]) / (TAIL_PRIOR / 10.0**-TAIL_FROM + s[WINDOWS])
    slope = (TAIL_PRIOR * LOG10_E + s[EXCESS]) / (TAIL_PRIOR + s[N_EXCESS])
    own = p
    if depth > TAIL_FROM:
        own = min(1.0, share) * 10.0 ** (-(depth - TAIL_FROM) * LOG10_E / slope)
        s[N_EXCESS] += 1.0
        s[EXCESS] += min(depth - TAIL_FROM, TAIL_CAP)
    s[WINDOWS] += 1.0
    return own


@kernel
def _median(values: F64, n: int) -> float:
    return np.median(values[:n]) if n >= MIN_SYMBOLS else np.nan


@kernel
def _trials(day: int, s: F64, prior: float) -> float:
    """Give the windows a day known before this one: the mean of the last five days."""
    if s[DAY] != day:
        if s[DAY_COUNT] > 0.0:
            s[DAYS + int(s[N_DAYS]) % SESSIONS] = s[DAY_COUNT]
            s[N_DAYS] += 1.0
        s[DAY] = day
        s[DAY_COUNT] = 0.0
    s[DAY_COUNT] += 1.0
    known = min(int(s[N_DAYS]), SESSIONS)
    total = 0.0
    for j in range(known):
        total += s[DAYS + j]
    return total / known if known > 0 else prior


@kernel
def _verdict(z: float, p: float, trials: float, budget: float, out: F64) -> None:
    out[SCORE], out[P_VALUE], out[RATE], out[DIRECTION] = abs(z), p, p * trials, 1.0 if z > 0.0 else -1.0
    out[IS_SHOCK] = 1.0 if out[RATE] <= budget else 0.0


@kernel
def _put(values: F64, n: I64, row: int, x: float) -> None:
    if not np.isnan(x):
        values[row, n[row]] = x
        n[row] += 1


@kernel
def _is_active(last: F64, slot: int, end: int) -> bool:
    if not 0 <= slot < last.shape[0]:
        return False
    seen = last[slot, SEEN]
    active: bool = seen > 0.0 and end - seen < ACTIVE_NS
    return active


@kernel
def _gather(last: F64, end: int, gap_used: float, values: F64, n: I64) -> int:
    """Lay the values still carried at `end` into the rows of `values`, `n` [4] of each; give the active series."""
    n_active = 0
    for i in range(last.shape[0]):
        if not _is_active(last, i, end):
            continue
        v = last[i]
        n_active += 1
        carried = end - v[SEEN] < CARRY_NS
        has_gap = v[GAP_AT] > gap_used and end - v[GAP_AT] < CARRY_NS
        _put(values, n, HOUR, v[MOVE])
        if carried:
            _put(values, n, W, v[Z_W])
            _put(values, n, FIVE, v[Z_5])
        if carried and has_gap:
            _put(values, n, MORNING, v[GAP_Z])
    return n_active


@kernel
def _peer_moves(last: F64, end: int, feeds: _Feeds, out: F64) -> None:
    """Fill `out` with the median move of each sector, then each partner's own."""
    n_sectors = feeds.starts.shape[0] - 1
    values = np.empty(feeds.members.shape[0])
    for g in range(n_sectors):
        n = 0
        for j in range(feeds.starts[g], feeds.starts[g + 1]):
            slot = feeds.members[j]
            if _is_active(last, slot, end) and not np.isnan(last[slot, MOVE]):
                values[n] = last[slot, MOVE]
                n += 1
        out[g] = _median(values, n)
    for g in range(feeds.partners.shape[0]):
        slot = feeds.partners[g]
        out[n_sectors + g] = last[slot, MOVE] if _is_active(last, slot, end) else np.nan


@kernel
def _breadth(values: F64, n: int, direction: float) -> float:
    """Give the part of the values that lie more than one sd on the market's side."""
    with_market = 0
    for i in range(n):
        if values[i] * direction > 1.0:
            with_market += 1
    return with_market / n if n > 0 else np.nan


@kernel
def _close(last: F64, end: int, terms: _Terms, feeds: _Feeds, s: F64, out: F64) -> None:
    """Judge the window that ends at `end` from what is carried; learn it; fill the context's columns `out`."""
    values = np.empty((4, last.shape[0]))
    n = np.zeros(4, dtype=np.int64)
    n_active = _gather(last, end, s[GAP_USED], values, n)
    out[N_ACTIVE] = n_active
    out[MEDIAN_MOVE] = _median(values[HOUR], n[HOUR]) if n_active >= MIN_SYMBOLS else np.nan
    _peer_moves(last, end, feeds, out[MEDIAN_MOVE + 1 :])
    day, _ = clock(end - 1, end - 1, terms.sessions)
    trials = _trials(day, s, terms.trials)
    z = _judge(_median(values[W], n[W]), s, MS_W, PRIOR_WINDOWS)
    z_5 = _judge(_median(values[FIVE], n[FIVE]), s, MS_5, PRIOR_WINDOWS)
    channel = W
    if np.isnan(z) or abs(z_5) > abs(z):
        z, channel = z_5, FIVE
    if not np.isnan(z):
        _verdict(z, _own_p(tail_p(abs(z), KNEE, EXPONENT), s), trials, terms.budget, out)
    if n[MORNING] >= max(MIN_SYMBOLS, n_active // 2):
        s[GAP_USED] = end
        z_gap = _judge(_median(values[MORNING], n[MORNING]), s, MS_GAP, PRIOR_GAPS)
        p = tail_p(abs(z_gap), KNEE, EXPONENT)
        # one trial a morning, judged beside the day's windows: each clock has the budget
        if np.isnan(z) or p < out[RATE]:
            _verdict(z_gap, p, 1.0, terms.budget, out)
            channel = MORNING
    out[BREADTH] = _breadth(values[channel], n[channel], out[DIRECTION])


@kernel
def _fold(
    rows: I64, bars: _Bars, closes: Bool, terms: _Terms, feeds: _Feeds, table: Cells, s: F64, ends: I64, out: F64
) -> None:
    """Fold bars into the values carried; fill `ends` [T] and `out` [T, 7 + G] where a row closes a window."""
    last, undo, _, _ = table
    for t in range(bars.ok.shape[0]):
        close_at = 0
        for n in range(rows.shape[0]):
            if not bars.present[t, n]:
                continue
            v, u = last[rows[n]], undo[rows[n]]
            if bars.revise[n]:
                v[:] = u
            else:
                u[:] = v
            close_at = max(close_at, bars.end[t, n])
            if not bars.ok[t, n]:
                continue
            v[SEEN] = bars.end[t, n]
            v[Z_W], v[Z_5], v[MOVE] = bars.z[t, n], bars.z_5[t, n], bars.move[t, n]
            if not np.isnan(bars.gap_z[t, n]):
                v[GAP_Z], v[GAP_AT] = bars.gap_z[t, n], bars.end[t, n]
        if closes[t] and close_at > 0:
            ends[t] = -(-close_at // terms.window_ns) * terms.window_ns
            _close(last, ends[t], terms, feeds, s, out[t])


class Market:
    """Judges the market of one asset class from the series of one bar length."""

    def __init__(self, shape: SeriesShape, config: DetectionConfig) -> None:
        self.shape = shape
        self.peers = config.peers
        self.features = FeatureState(shape, only=("fault", "window", "returns", "gap", "horizon"))
        self.five = HorizonFamily(shape.window_s, FIVE_MINUTES_S)
        self.last = Table(6)
        self.state = np.zeros(DAYS + SESSIONS)
        self.rescale = Rescale()
        self.n_named = 0
        self._feed(SlotTable(shape.asset_class))
        self.configure(config)

    def configure(self, config: DetectionConfig) -> None:
        """Judge by this budget from the next window on; sectors and pairs stay what they were."""
        window_ns = self.shape.window_s * NS_PER_S
        self.terms = _Terms(self.shape.session_windows, config.budget, window_ns, self.shape.asset_class.has_sessions)

    def grow(self, table: SlotTable) -> None:
        """Make room for the series of a table, and learn which of them make a sector or are a partner."""
        self.features.grow(len(table))
        capacity = len(self.features.fault.table.state)
        self.five.table.grow(capacity)
        self.last.grow(capacity)
        if len(table) > self.n_named and len(self.peers) > 1:
            self._feed(table)
        self.n_named = len(table)

    def _feed(self, table: SlotTable) -> None:
        members, partners = (
            table.find(names, self.shape.bar_s).astype(np.int64) for names in (self.peers.members, self.peers.partners)
        )
        self.feeds = _Feeds(members, np.array(self.peers.starts, dtype=np.int64), partners)

    def observe(self, rows: I64, block: BarBlock, closes: Bool) -> Contexts:
        """Fold bars; where `closes` [T] says so a row with bars ends its window. Give the contexts of those."""
        seen = self.features.observe(rows, block)
        w = seen.windows
        z = seen.x[:, :, catalog.MOVE_Z]
        reset = (w.new_day & self.terms.sessions) | (seen.code == LEVEL)
        five = self.five.fold(rows, w, reset, block.open, block.close)
        n_windows = FIVE_MINUTES_S / self.shape.window_s
        z_5 = five[0] / (seen.x[:, :, catalog.RETURN_SD] * np.sqrt(np.maximum(five[1] * n_windows, 1.0)))
        if n_windows <= 1.0:
            z_5 = np.full_like(z, np.nan)
        bars = _Bars(w.present, w.ok, w.revise, w.end, z, z_5, seen.x[:, :, catalog.GAP_Z], seen.move)
        out = self._blank(len(closes))
        ends = np.zeros(len(closes), dtype=np.int64)
        _fold(rows, bars, closes, self.terms, self.feeds, self.last.cells, self.state, ends, out)
        return self._contexts(ends[ends > 0], out[ends > 0])

    def miss(self, hole: Hole) -> None:
        """Learn that bars are missing: no move is measured across them."""
        if not hole.is_filled and hole.bar_s in (0, self.shape.bar_s):
            self.features.miss(hole.to_ns)

    def close(self, end_ns: int) -> Contexts:
        """Close the window ending at `end_ns` from what was observed so far."""
        out = self._blank(1)
        _close(self.last.state, end_ns, self.terms, self.feeds, self.state, out[0])
        return self._contexts(np.array([end_ns]), out)

    def _blank(self, n: int) -> F64:
        return np.full((n, MEDIAN_MOVE + len(self.peers)), np.nan)

    def _contexts(self, end: I64, out: F64) -> Contexts:
        day = ny_day(end - 1) if self.terms.sessions else (end - 1) // (DAY_S * NS_PER_S)
        c = out[:, :MEDIAN_MOVE].T.copy()
        return Contexts(
            end=end, n_active=np.nan_to_num(c[N_ACTIVE]).astype(np.int64), score=c[SCORE], p_value=c[P_VALUE],
            rate=c[RATE], direction=c[DIRECTION], is_shock=c[IS_SHOCK] == 1.0, breadth=c[BREADTH],
            moves=out[:, MEDIAN_MOVE:].copy(), day=day, scale=self._scales(day),
        )  # fmt: skip

    def _scales(self, day: I64) -> F64:
        """Give the factor [C] on the rates of the day after each of `day` [C]."""
        days, place = np.unique(day, return_inverse=True)
        factors = np.array([self.rescale.factor(d + 1) for d in days.tolist()], dtype=np.float64)
        return np.asarray(factors[place])

    def snapshot(self) -> dict[str, F64]:
        """Give every array of the stage."""
        n = self.features.n_rows
        five = {f"five.{k}": v for k, v in self.five.table.snapshot(n).items()}
        rescale = {f"rescale.{k}": v for k, v in self.rescale.snapshot().items()}
        last = {f"last.{k}": v for k, v in self.last.snapshot(n).items()}
        features = {f"features.{k}": v for k, v in self.features.snapshot().items()}
        return {"state": self.state.copy(), **last, **features, **five, **rescale}

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        self.features.restore(_part(arrays, "features."))
        self.five.table.restore(_part(arrays, "five."))
        self.rescale.restore(_part(arrays, "rescale."))
        self.last.restore(_part(arrays, "last."))
        self.state = arrays["state"].copy()


def _part(arrays: dict[str, F64], prefix: str) -> dict[str, F64]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
