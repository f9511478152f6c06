"""The series of one bar length inside a shard: bars in, anomalies out."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.block import BarBlock, plain
from features.decisions import peaks, raising
from features.decisions.anomalies import AMENDED, NO_KIND, PROVISIONAL, RETRACTED, Anomalies
from features.decisions.config import DetectionConfig
from features.decisions.judge import Judge, Verdict
from features.detectors.base import DATA_FAULT, KINDS, MARKET_SHOCK, VOLUME_SPIKE
from features.families.cross_section import Closes
from features.families.fault import FLAT, SLIP
from features.market.types import F64, I32, I64, NS_PER_S, U8, Bool
from features.stages import newest as nb
from features.stages.context import Contexts
from features.stages.peers import MARKET
from features.state import FAMILIES, FeatureState, Observation, SeriesShape

N_FEATURES = len(catalog.CATALOG)
ROWS = ("newest", "newest_x", "newest_why", "peaks", "raised")
"""The arrays that hold a row per series."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A block as observed, before it is decided."""

    rows: I64
    block: BarBlock
    seen: Observation


class SymbolGroup:
    """Features, judgement and newest bars of many series; only a primary group spends budget."""

    def __init__(self, shape: SeriesShape, config: DetectionConfig, *, is_primary: bool = True) -> None:
        self.shape = shape
        self.is_primary = is_primary
        self.peers = config.peers
        self.keys = np.array(self.peers.keys)
        self.configure(config)
        idle = () if config.min_dollar_volume > 0.0 else ("turnover",)
        self.features = FeatureState(shape, only=tuple(f for f in FAMILIES if f not in idle))
        self.row_of = np.full(0, -1, dtype=np.int64)
        self.reference = np.zeros(0, dtype=np.int64)
        self.slot_of = np.empty(0, dtype=np.int32)
        self.newest = np.zeros((0, nb.WIDTH))
        self.newest_x = np.zeros((0, N_FEATURES))
        self.newest_why = np.zeros((0, N_FEATURES), dtype=np.uint8)
        self.peaks = np.zeros((0, peaks.WIDTH))
        self.raised = np.zeros((0, 2))
        self.shock = raising.no_shock()
        self.totals: dict[int, list[float]] = {}
        self.scales: dict[int, float] = {}

    def configure(self, config: DetectionConfig) -> None:
        """Judge by these settings from the next bar on; norms and newest bars stay, sectors and pairs too."""
        self.config = config
        known = config.detectors(self.shape.activity)
        self.every = Judge(known, config, self.shape.window_s)
        spending = known if self.is_primary else ()
        self.own = Judge(tuple(d for d in spending if not d.at_close), config, self.shape.window_s)
        self.closing = Judge(tuple(d for d in spending if d.at_close), config, self.shape.window_s)
        self.peak_level = peaks.peak_level(sum(d.share for d in self.own.detectors))

    def open(self, slot: int, symbol: str) -> None:
        """Learn what the series of a slot is held against; until then it is the market."""
        self._reserve(slot + 1)
        self.reference[slot] = self.peers.reference(symbol)

    def _reserve(self, n: int) -> None:
        for name, fill in (("row_of", -1), ("reference", MARKET)):
            old = getattr(self, name)
            if n > len(old):
                setattr(self, name, np.concatenate([old, np.full(max(n, 2 * len(old)) - len(old), fill)]))

    def rows(self, slots: I32) -> I64:
        """Give the rows of slots, opening new ones."""
        self._reserve(int(slots.max(initial=-1)) + 1)
        fresh = slots[self.row_of[slots] < 0]
        if len(fresh):
            n = len(self.slot_of)
            self.row_of[fresh] = np.arange(n, n + len(fresh))
            self.slot_of = np.concatenate([self.slot_of, fresh.astype(np.int32)])
            self.features.grow(len(self.slot_of))
            self._grow(len(self.features.fault.table.state))
        return self.row_of[slots]

    def _grow(self, capacity: int) -> None:
        for name in ROWS:
            old = getattr(self, name)
            if len(old) < capacity:
                grown = np.zeros((capacity, old.shape[1]), dtype=old.dtype)
                grown[: len(old)] = old
                setattr(self, name, grown)

    def observe(self, block: BarBlock) -> Observed:
        """Fold bars into the features."""
        block = plain(block)
        rows = self.rows(block.slot)
        return Observed(rows, block, self.features.observe(rows, block))

    def decide(self, observed: Observed) -> Anomalies:
        """Judge what can be judged at once; a revision may amend or retract what its first version raised."""
        rows, block, seen = observed.rows, observed.block, observed.seen
        w = seen.windows
        verdict = self.own.verdict(seen.x, seen.trials)
        self._count_peaks(rows, seen, verdict.rate)
        scale = self._scale(w.day)
        verdict.rate[...] *= scale
        if self.config.volume_classic:  # called at every ratio, whatever the day's rates are
            is_spike = (verdict.kind == VOLUME_SPIKE) & (verdict.score > 0.0)
            verdict.rate[...] = np.where(is_spike, np.minimum(verdict.rate, self.config.budget), verdict.rate)
        is_open = self._is_open(block, seen)
        verdict.rate[~is_open] = np.inf
        is_fault = ((seen.code == SLIP) | (seen.code == FLAT)) & self.config.rule(KINDS[DATA_FAULT]).enabled
        is_anomaly = (verdict.rate <= self.config.budget) | is_fault
        verdict.kind[is_fault] = DATA_FAULT
        bars = nb.stack({
            nb.TS: block.ts, nb.END: block.ts + block.bar_s * NS_PER_S, nb.MOVE: seen.move, nb.REACH: seen.reach,
            nb.IS_CUT: seen.is_cut, nb.TRIALS: seen.trials, nb.SCALE: scale, nb.RATE: verdict.rate,
            nb.SCORE: verdict.score, nb.P_VALUE: verdict.p_value, nb.PRICE: block.close, nb.KIND: verdict.kind,
            nb.FLAGGED: is_anomaly, nb.OPEN: is_open,
        }, verdict.rate.shape)  # fmt: skip
        found = self._own_anomalies(observed, bars, verdict, is_anomaly)
        if block.revise is not None and block.revise.any():
            found = self._amend(observed, bars, found, is_anomaly[0])
        self._keep(rows, w.present, bars, seen, block.revise)
        return found

    def fold(self, block: BarBlock, ctx: Contexts) -> Anomalies:
        """Observe, decide and close a block of whole windows: the same kernels over [T, N] and [C, N]."""
        observed = self.observe(block)
        rows, w = observed.rows, observed.seen.windows
        before = self.newest[rows, nb.CLOSED]
        own = self.decide(observed)
        if not self.is_primary or not len(ctx):
            return own
        at = np.full((len(ctx), len(rows)), -1, dtype=np.int64)
        end = block.ts + block.bar_s * NS_PER_S
        nb.last_of_windows(w.present, end, ctx.end, self.shape.window_s * NS_PER_S, at)
        n = np.arange(len(rows))
        bars = np.where((at >= 0)[..., None], self._bars[at, n], 0.0)
        x = observed.seen.x[at, n]
        closed = self._close(rows, bars, x, np.zeros(len(rows), dtype=np.bool_), ctx)
        closed_end = bars[:, :, nb.END].max(axis=0)
        self.newest[rows, nb.CLOSED] = np.where(closed_end > 0.0, closed_end, before)
        return last_of_bars(Anomalies.concat([own, closed]))

    def close(self, ctx: Contexts) -> Anomalies:
        """Close one window live: judge the newest bars that belong to it and were not closed since they came."""
        end = int(ctx.end[0])
        bars = self.newest[: len(self.slot_of)]
        due = (bars[:, nb.END] > end - self.shape.window_s * NS_PER_S) & (bars[:, nb.END] <= end)
        rows = np.flatnonzero(due & (bars[:, nb.CLOSED] != bars[:, nb.END]))
        # a bar that came late into a closed window replaces, like a revision, what the window taught
        revise = np.abs(bars[rows, nb.CLOSED]) > end - self.shape.window_s * NS_PER_S
        found = self._close(rows, bars[rows][None], self.newest_x[rows][None], revise, ctx)
        revised = rows[bars[rows, nb.CLOSED] == -bars[rows, nb.END]]
        self.newest[rows, nb.CLOSED] = self.newest[rows, nb.END]
        state = np.where(np.isin(found.slot, self.slot_of[revised]), np.uint8(AMENDED), found.state)
        return found.with_states(state)

    def due(self, closed_to_ns: int) -> I64:
        """Give the ends of windows already closed that hold bars which came or changed since."""
        window = self.shape.window_s * NS_PER_S
        bars = self.newest[: len(self.slot_of)]
        late = (bars[:, nb.END] <= closed_to_ns) & (bars[:, nb.CLOSED] != bars[:, nb.END]) & (bars[:, nb.END] > 0)
        return np.unique(-(-bars[late, nb.END].astype(np.int64) // window) * window)

    def _close(self, rows: I64, bars: F64, x: F64, revise: Bool, ctx: Contexts) -> Anomalies:
        """Judge closed windows: `bars` [C, N, WIDTH] and `x` [C, N, F] of each window's last bar, END 0 where none."""
        present = bars[:, :, nb.END] > 0.0
        move, reach = bars[:, :, nb.MOVE].copy(), bars[:, :, nb.REACH].copy()
        is_cut = bars[:, :, nb.IS_CUT] == 1.0
        at = self.reference[self.slot_of[rows]]
        closes = Closes(present, revise, move, reach, is_cut, np.take(ctx.moves, at, axis=1), self.keys[at])
        residual, why = self.features.close(rows, closes)
        for j, column in enumerate((catalog.RESIDUAL, catalog.RESIDUAL_Z, catalog.BETA)):
            x[:, :, column] = residual[j]
        verdict = self.closing.verdict(x, bars[:, :, nb.TRIALS])
        rate = verdict.rate * np.where(present, bars[:, :, nb.SCALE], 1.0)
        own_rate = bars[:, :, nb.RATE]
        shock = np.full((*present.shape, 5), np.nan)
        shocks = np.stack([ctx.end.astype(np.float64), ctx.score, ctx.p_value, ctx.rate, ctx.direction], axis=1)
        usable = present & np.isfinite(bars[:, :, nb.MOVE]) & (bars[:, :, nb.OPEN] == 1.0)
        is_shock = ctx.is_shock & self.config.rule(KINDS[MARKET_SHOCK]).enabled
        closed = raising.Closed(shocks, is_shock, present, usable, revise)
        raising.raise_symbols(rows, closed, self.shock, self.raised, shock)
        is_raised = ~np.isnan(shock[:, :, raising.END])
        is_closing = (rate < own_rate) & (rate <= self.config.budget) & usable & ~is_raised
        is_own = bars[:, :, nb.FLAGGED] == 1.0
        found = Anomalies.concat([
            self._closing_anomalies(rows, bars, x, verdict, rate, is_closing, is_own),
            self._raised_anomalies(rows, bars, x, shock, is_raised, is_own),
        ]).ordered()  # fmt: skip
        is_newest = bars[:, :, nb.END] == self.newest[rows, nb.END]
        flagged = ((is_closing | is_raised) & is_newest).any(axis=0)
        self.newest[rows[flagged], nb.FLAGGED] = 1.0
        self._keep_closed(rows, is_newest & present, x, why)
        return found

    def _keep_closed(self, rows: I64, is_newest: Bool, x: F64, why: U8) -> None:
        """Remember what the close added to the newest bars; `is_newest` [C, N] says in which window each lies."""
        c, n = np.nonzero(is_newest)
        at = np.ix_(rows[n], np.arange(catalog.CLOSE_FROM, N_FEATURES))
        self.newest_x[at] = x[c, n, catalog.CLOSE_FROM :]
        has_value = ~np.isnan(self.newest_x[at])
        self.newest_why[at] = np.where(has_value, catalog.VALUE, why[c, n][:, None])

    def _closing_anomalies(
        self, rows: I64, bars: F64, x: F64, v: Verdict, rate: F64, yes: Bool, own: Bool
    ) -> Anomalies:
        verdict = np.stack([v.score[yes], v.p_value[yes], rate[yes]], axis=1)
        own_kind = np.where(own[yes], bars[yes][:, nb.KIND], NO_KIND).astype(np.uint8)
        direction = nb.directions(self.closing, v.kind[yes], x[yes])
        slots = np.broadcast_to(self.slot_of[rows], yes.shape)[yes]
        return nb.anomalies_of(slots, bars[yes], x[yes], v.kind[yes], own_kind, verdict, direction, PROVISIONAL,
                               self.every)  # fmt: skip

    def _raised_anomalies(self, rows: I64, bars: F64, x: F64, shock: F64, yes: Bool, own: Bool) -> Anomalies:
        own_kind = np.where(own[yes], bars[yes][:, nb.KIND], NO_KIND).astype(np.uint8)
        kind = np.full(len(own_kind), MARKET_SHOCK, dtype=np.uint8)
        verdict = shock[yes][:, [raising.SCORE, raising.P_VALUE, raising.RATE]]
        slots = np.broadcast_to(self.slot_of[rows], yes.shape)[yes]
        return nb.anomalies_of(slots, bars[yes], x[yes], kind, own_kind, verdict, shock[yes][:, raising.DIRECTION],
                               PROVISIONAL, self.every)  # fmt: skip

    def _own_anomalies(self, observed: Observed, bars: F64, v: Verdict, yes: Bool) -> Anomalies:
        kind = v.kind[yes]
        x = observed.seen.x[yes]
        verdict = nb.fault_verdict(kind, np.stack([v.score[yes], v.p_value[yes], v.rate[yes]], axis=1))
        slots = np.broadcast_to(observed.block.slot, yes.shape)[yes]
        return nb.anomalies_of(slots, bars[yes], x, kind, kind, verdict, nb.directions(self.own, kind, x),
                               PROVISIONAL, self.every)  # fmt: skip

    def _amend(self, observed: Observed, bars: F64, found: Anomalies, is_anomaly: Bool) -> Anomalies:
        """Mark revised anomalies amended, and retract those whose revision shows nothing."""
        revise = observed.block.revise
        assert revise is not None
        was = self.newest[observed.rows, nb.FLAGGED] == 1.0
        state = found.state.copy()
        state[np.isin(found.slot, observed.block.slot[revise & was])] = AMENDED
        gone = revise & was & ~is_anomaly
        kind = self.newest[observed.rows[gone], nb.KIND].astype(np.uint8)
        lost = nb.anomalies_of(
            observed.block.slot[gone], bars[0, gone], observed.seen.x[0, gone], kind, kind,
            bars[0, gone][:, [nb.SCORE, nb.P_VALUE, nb.RATE]], np.zeros(int(gone.sum())), RETRACTED, self.every,
        )  # fmt: skip
        return Anomalies.concat([found.with_states(state), lost])

    def _keep(self, rows: I64, present: Bool, bars: F64, seen: Observation, revise: Bool | None) -> None:
        """Remember each series' last bar of the block."""
        self._bars = bars
        last = present.shape[0] - 1 - np.argmax(present[::-1], axis=0)
        n = np.flatnonzero(present.any(axis=0))
        closed = self.newest[rows[n], nb.CLOSED]
        if revise is not None:
            same = revise[n] & (closed == self.newest[rows[n], nb.END])
            closed = np.where(same, -closed, closed)
        self.newest[rows[n]] = bars[last[n], n]
        self.newest[rows[n], nb.CLOSED] = closed
        self.newest_x[rows[n]] = seen.x[last[n], n]
        self.newest_why[rows[n]] = seen.reason[last[n], n]

    def _is_open(self, block: BarBlock, seen: Observation) -> Bool:
        """Say which bars the universe's price and turnover rules let in."""
        is_open = np.ones(block.shape, dtype=np.bool_)
        if self.config.min_price > 0.0:
            is_open &= block.close >= self.config.min_price
        if seen.turnover is not None:
            is_open &= seen.turnover >= self.config.min_dollar_volume
        return is_open

    def _count_peaks(self, rows: I64, seen: Observation, rate: F64) -> None:
        w = seen.windows
        if not self.is_primary or not w.present.any():
            return
        days = w.day[w.present]
        first = int(days.min())
        totals = np.zeros((int(days.max()) - first + 1, 2))
        bars = peaks.Rates(w.present, w.ok, w.revise, w.end, w.day, rate)
        peaks.fold_peaks(rows, bars, self.peak_level, first, self.peaks, totals)
        for i in np.flatnonzero(totals.any(axis=1)):
            total = self.totals.setdefault(first + int(i), [0.0, 0.0])
            total[0] += totals[i, 0]
            total[1] += totals[i, 1]

    def windows_left(self, rows: I64) -> dict[str, I64]:
        """Give per kind how many windows each row [N] still needs before the kind can be called; 0: it can."""
        left = self.features.windows_left(rows)
        return {
            d.kind: np.max([left[catalog.CATALOG[c].family] for c in d.columns], axis=0) for d in self.every.detectors
        }

    def take_totals(self) -> dict[int, list[float]]:
        """Give the peaks and series counted per day since last asked."""
        totals, self.totals = self.totals, {}
        return totals

    def learn_scale(self, day: int, scale: float) -> None:
        """Use `scale` on every rate from `day` on."""
        if self.scales.get(day) != scale:
            self.scales = {d: s for d, s in self.scales.items() if d >= day - 14} | {day: scale}

    def _scale(self, day: I64) -> F64:
        known = sorted(self.scales)
        values = np.array([1.0, *(self.scales[d] for d in known)])
        return values[np.searchsorted(known, day, side="right")] if known else np.ones(day.shape)

    def snapshot(self) -> dict[str, F64]:
        """Give every array of the group."""
        n = len(self.slot_of)
        own = {name: getattr(self, name)[:n].copy() for name in ROWS}
        scales = np.array(sorted(self.scales.items()), dtype=np.float64).reshape(-1, 2)
        totals = np.array([[d, *v] for d, v in sorted(self.totals.items())], dtype=np.float64).reshape(-1, 3)
        features = {f"features.{k}": v for k, v in self.features.snapshot().items()}
        slots = self.slot_of.astype(np.float64)
        return {
            **own,
            **features,
            "slots": slots,
            "shock": self.shock.copy(),
            "scales": scales,
            "totals": totals,
        }

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        slots = arrays["slots"].astype(np.int32)
        self.row_of = np.full(int(slots.max(initial=-1)) + 1, -1)
        self.row_of[slots] = np.arange(len(slots))
        self._reserve(len(self.row_of))
        self.slot_of = slots
        for name in (*ROWS, "shock"):
            setattr(self, name, arrays[name].copy())
        self.scales = {int(d): s for d, s in arrays["scales"].tolist()}
        self.totals = {int(d): [p, n] for d, p, n in arrays["totals"].tolist()}
        prefix = "features."
        self.features.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})


def last_of_bars(found: Anomalies) -> Anomalies:
    """Keep the last anomaly of each bar, ordered by time known and slot."""
    order = np.lexsort((np.arange(len(found)), found.slot, found.ts))
    slot, ts = found.slot[order], found.ts[order]
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = (slot[1:] != slot[:-1]) | (ts[1:] != ts[:-1])
    return found.take(order[is_last]).ordered()
