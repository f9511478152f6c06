"""The Market stage: one per asset class, it knows every symbol's move and says what all of them did together.

The channel is the median over symbols of the signed z of the window, of five minutes, and of the overnight gap, each
against its own norm; the largest counts. Values are carried five minutes, or thin universes stay silent.
"""

import math

import numpy as np

from features import catalog
from features.block import BarBlock
from features.calibration import tail_p
from features.decisions.peaks import Rescale
from features.families.horizon import HorizonFamily
from features.families.trials import SESSIONS
from features.families.window import clock
from features.jit import kernel
from features.market.types import F64, I64, NS_PER_S, Bool
from features.stages.context import Contexts
from features.state import FeatureState, SeriesShape
from features.stats import ALPHA, clip

MIN_SYMBOLS = 3
"""Fewer symbols are not a market."""
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
# of the contexts' columns
N_ACTIVE, SCORE, P_VALUE, RATE, DIRECTION, IS_SHOCK, BREADTH, MEDIAN_MOVE = range(8)
# of the market: mean squares of the three medians with counts, then the learnt tail, then trials
MS_W, N_W, MS_5, N_5, MS_GAP, N_GAP, EXCESS, N_EXCESS, WINDOWS, DAY, DAY_COUNT, N_DAYS, DAYS = range(13)


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
def _verdict(z, p, trials, budget, out):  # type: ignore[no-untyped-def]
    out[SCORE], out[P_VALUE], out[RATE], out[DIRECTION] = abs(z), p, p * trials, 1.0 if z > 0.0 else -1.0
    out[IS_SHOCK] = 1.0 if out[RATE] <= budget else 0.0


@kernel
def _close(last, end, day, prior_trials, budget, s, out):  # type: ignore[no-untyped-def]
    buffer = np.empty((4, last.shape[0]))
    n_w = n_5 = n_gap = n_move = n_active = 0
    for i in range(last.shape[0]):
        if end - last[i, SEEN] >= ACTIVE_NS or last[i, SEEN] == 0.0:
            continue
        n_active += 1
        if not np.isnan(last[i, MOVE]):
            buffer[3, n_move] = last[i, MOVE]
            n_move += 1
        if end - last[i, SEEN] >= CARRY_NS:
            continue
        if not np.isnan(last[i, Z_W]):
            buffer[0, n_w] = last[i, Z_W]
            n_w += 1
        if not np.isnan(last[i, Z_5]):
            buffer[1, n_5] = last[i, Z_5]
            n_5 += 1
        if end - last[i, GAP_AT] < CARRY_NS:
            buffer[2, n_gap] = last[i, GAP_Z]
            n_gap += 1
    out[MEDIAN_MOVE] = _median(buffer[3], n_move) if n_active >= MIN_SYMBOLS else np.nan
    out[N_ACTIVE] = n_active
    trials = _trials(day, s, prior_trials)
    m_w, m_5 = _median(buffer[0], n_w), _median(buffer[1], n_5)
    z = _judge(m_w, s, MS_W, PRIOR_WINDOWS)
    z_5 = _judge(m_5, s, MS_5, PRIOR_WINDOWS)
    channel = 0
    if np.isnan(z) or abs(z_5) > abs(z):
        z, channel = z_5, 1
    if not np.isnan(z):
        _verdict(z, _own_p(tail_p(abs(z), KNEE, EXPONENT), s), trials, budget, out)
    if n_gap >= max(MIN_SYMBOLS, n_active // 2):
        z_gap = _judge(_median(buffer[2], n_gap), s, MS_GAP, PRIOR_GAPS)
        p = tail_p(abs(z_gap), KNEE, EXPONENT)
        # one trial a morning, judged beside the day's windows: each clock has the budget
        if np.isnan(z) or p < out[RATE]:
            _verdict(z_gap, p, 1.0, budget, out)
            channel = 2
        for i in range(last.shape[0]):
            last[i, GAP_AT] = 0.0
    n = (n_w, n_5, n_gap)[channel]
    with_market = 0
    for i in range(n):
        if buffer[channel, i] * out[DIRECTION] > 1.0:
            with_market += 1
    if n > 0:
        out[BREADTH] = with_market / n


@kernel
def _fold(rows, ok, closes, end, day, z, z_5, gap_z, move, trials, budget, window_ns, last, s, out):  # type: ignore[no-untyped-def]
    for t in range(ok.shape[0]):
        close_at = 0
        for n in range(rows.shape[0]):
            if not ok[t, n]:
                continue
            v = last[rows[n]]
            v[SEEN] = end[t, n]
            v[Z_W] = z[t, n]
            v[Z_5] = z_5[t, n]
            v[MOVE] = move[t, n]
            if not np.isnan(gap_z[t, n]):
                v[GAP_Z] = gap_z[t, n]
                v[GAP_AT] = end[t, n]
            if end[t, n] > close_at:
                close_at = end[t, n]
        if closes[t] and close_at > 0:
            window_end = -(-close_at // window_ns) * window_ns
            _close(last, window_end, day[t], trials, budget, s, out[t])


class Market:
    """Judges the market of one asset class from the series of one bar length."""

    def __init__(self, shape: SeriesShape, budget: float) -> None:
        self.shape = shape
        self.budget = budget
        self.features = FeatureState(shape, only=("fault", "window", "returns", "gap", "horizon"))
        self.five = HorizonFamily(shape.window_s, FIVE_MINUTES_S)
        self.last = np.zeros((0, 6))
        self.state = np.zeros(DAYS + SESSIONS)
        self.rescale = Rescale()

    def grow(self, n_rows: int) -> None:
        """Make room for `n_rows` series."""
        self.features.grow(n_rows)
        capacity = len(self.features.fault.table.state)
        self.five.table.grow(capacity)
        if len(self.last) < capacity:
            grown = np.zeros((capacity, 6))
            grown[: len(self.last)] = self.last
            self.last = grown

    def observe(self, rows: I64, block: BarBlock, closes: Bool) -> Contexts:
        """Fold bars; where `closes` [T] says so a row ends its window. Give the contexts of those."""
        seen = self.features.observe(rows, block)
        w = seen.windows
        z = seen.x[:, :, catalog.MOVE_Z]
        five = self.five.fold(rows, w.present, w.ok, w.revise, w.new_day & self.shape.asset_class.has_sessions,
                              block.open, block.close, w.end)  # fmt: skip
        n_windows = FIVE_MINUTES_S / self.shape.window_s
        z_5 = five[0] / (seen.x[:, :, catalog.RETURN_SD] * np.sqrt(np.maximum(five[1] * n_windows, 1.0)))
        if n_windows <= 1.0:
            z_5 = np.full_like(z, np.nan)
        out = np.full((len(closes), 8), np.nan)
        end = np.where(w.ok, w.end, 0).max(axis=1, initial=0)
        day = np.where(w.ok, w.day, 0).max(axis=1, initial=0)
        _fold(rows, w.ok, closes, w.end, day, z, z_5, seen.x[:, :, catalog.GAP_Z], seen.move,
              self.shape.session_windows, self.budget, self.shape.window_s * NS_PER_S, self.last, self.state,
              out)  # fmt: skip
        return self._contexts(end[closes], day[closes], out[closes])

    def close(self, end_ns: int) -> Contexts:
        """Close the window ending at `end_ns` from what was observed so far."""
        day, _ = clock(end_ns - 1, end_ns - 1, self.shape.asset_class.has_sessions)
        out = np.full((1, 8), np.nan)
        _close(self.last, end_ns, day, self.shape.session_windows, self.budget, self.state, out[0])
        return self._contexts(np.array([end_ns]), np.array([day]), out)

    def _contexts(self, end: I64, day: I64, out: F64) -> Contexts:
        window = self.shape.window_s * NS_PER_S
        return Contexts(
            end=-(-end // window) * window,
            n_active=np.nan_to_num(out[:, N_ACTIVE]).astype(np.int64),
            score=out[:, SCORE], p_value=out[:, P_VALUE], rate=out[:, RATE], direction=out[:, DIRECTION],
            is_shock=out[:, IS_SHOCK] == 1.0, breadth=out[:, BREADTH], move=out[:, MEDIAN_MOVE],
            day=day, scale=np.array([self.rescale.factor(int(d) + 1) for d in day]),
        )  # fmt: skip

    def snapshot(self) -> dict[str, F64]:
        """Give every array of the stage."""
        n = self.features.n_rows
        five = {f"five.{k}": v for k, v in self.five.table.snapshot(n).items()}
        rescale = {f"rescale.{k}": v for k, v in self.rescale.snapshot().items()}
        own = {"last": self.last[:n].copy(), "state": self.state.copy()}
        return {**own, **{f"features.{k}": v for k, v in self.features.snapshot().items()}, **five, **rescale}

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        self.features.restore(_part(arrays, "features."))
        self.five.table.restore(_part(arrays, "five."))
        self.rescale.restore(_part(arrays, "rescale."))
        self.last, self.state = arrays["last"].copy(), arrays["state"].copy()


def _part(arrays: dict[str, F64], prefix: str) -> dict[str, F64]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
