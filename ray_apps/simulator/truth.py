"""Play a source as the knobs have it: the bars that never were taken out, splits put in, late corrections kept back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, NS_PER_MS, NS_PER_S, Bool
from features.synthetic.chance import chance
from features.synthetic.hours import MINUTE_NS
from features.synthetic.inject import Label
from ray_apps.simulator.aggs import day_start
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.sources import Bars, Source

_MISSING, _CORRECTED = 1, 2
"""What a chance is for."""
_EPOCH = date(1970, 1, 1)
_LATEST_NS = 15 * MINUTE_NS
"""So long after its end a bar is corrected on the stream; after that in REST alone."""
_PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True, slots=True)
class Pause:
    """A halt of one symbol: nothing prints in [start, end)."""

    row: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class _Step:
    """A split: new shares per old one from a time on."""

    row: int
    ts_ns: int
    ratio: float


@dataclass(frozen=True, slots=True)
class _Rules:
    """The knobs in rows of a source; None where nothing is asked."""

    silent: Bool | None
    missing: F64 | None
    pauses: tuple[Pause, ...]
    steps: tuple[_Step, ...]
    late: float

    @property
    def is_empty(self) -> bool:
        return self.silent is None and self.missing is None and not self.pauses and not self.steps


class Truth:
    """What happened on a market: a source, less what the knobs took away. The stream and REST both tell it.

    Prices before a split are `split_to / split_from` times the source's: its bars are those of a share of today.
    """

    def __init__(self, source: Source, faults: Callable[[], Faults]) -> None:
        self._source, self._faults = source, faults
        self.asset_class, self.symbols = source.asset_class, source.symbols
        self.lengths_s, self.first_ns = source.lengths_s, source.first_ns
        self._row_of = {name: row for row, name in enumerate(source.symbols)}
        self._seen: Faults | None = None
        self._made: _Rules

    def window(self, start_ns: int, bar_s: int, rows: NDArray[np.intp] | None = None) -> Bars:
        """Give the bars of one window."""
        return self._real(self._source.window(start_ns, bar_s, rows))

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give one symbol's bars."""
        return self._real(self._source.history(row, bar_s, start_ns, end_ns))

    def day_start(self, ts_ns: int) -> int:
        """Give the start of the trading day a time belongs to."""
        return self._source.day_start(ts_ns)

    def regular(self, ts_ns: int) -> bool:
        """Say whether a window lies in regular hours."""
        return self._source.regular(ts_ns)

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give the injected anomalies that begin in a span."""
        return self._source.labels(start_ns, end_ns)

    def streamed(self, bars: Bars, bar_s: int) -> Bars:
        """Give bars as the stream has them: some are corrected too late for it."""
        late = self._rules().late
        return _premature(bars, self._corrected(bars, late)) if late and bar_s >= 60 else bars

    def pauses(self, start_ns: int, end_ns: int) -> list[Pause]:
        """Give the halts that begin or end in [start, end)."""
        spans = self._rules().pauses
        return [p for p in spans if start_ns <= p.start_ns < end_ns or start_ns <= p.end_ns < end_ns]

    def view(self, now_ns: int, adjusted: bool = False) -> Source:
        """Give the source REST answers from at this time: late corrections in, splits undone where wished."""
        rules = self._rules()
        return View(self, now_ns, adjusted) if rules.late or (rules.steps and adjusted) else self

    def known(self, bars: Bars, bar_s: int, now_ns: int, adjusted: bool) -> Bars:
        """Give bars as REST has them at this time."""
        rules = self._rules()
        if rules.late and bar_s >= 60:
            fresh = bars.ts + bar_s * NS_PER_S + _LATEST_NS > now_ns
            bars = _premature(bars, fresh & self._corrected(bars, rules.late))
        done = [step for step in rules.steps if step.ts_ns <= now_ns] if adjusted else []
        return _scaled(bars, [replace(step, ratio=1 / step.ratio) for step in done])

    def _real(self, bars: Bars) -> Bars:
        rules = self._rules()
        if rules.is_empty or not len(bars):
            return bars
        keep = np.ones(len(bars), np.bool_)
        if rules.silent is not None:
            keep &= ~rules.silent[bars.row]
        if rules.missing is not None:
            keep &= chance(_MISSING, bars.row, bars.ts // MINUTE_NS) >= rules.missing[bars.row]
        for pause in rules.pauses:
            keep &= (bars.row != pause.row) | (bars.ts < pause.start_ns) | (bars.ts >= pause.end_ns)
        return _scaled(bars.take(keep), rules.steps)

    def _corrected(self, bars: Bars, share: float) -> Bool:
        return np.asarray(chance(_CORRECTED, bars.row, bars.ts // MINUTE_NS) < share)

    def _rules(self) -> _Rules:
        faults = self._faults()
        if faults is not self._seen:
            self._seen, self._made = faults, self._compile(faults)
        return self._made

    def _compile(self, faults: Faults) -> _Rules:
        rows = self._row_of
        silent = np.isin(np.arange(len(rows)), [rows[name] for name in faults.zero_activity if name in rows])
        missing = np.full(len(rows), faults.missing_minutes.get("*", 0.0))
        for name, share in faults.missing_minutes.items():
            if name in rows:
                missing[rows[name]] = share
        pauses = []
        for halt in faults.halt:
            start = halt.start_ms * NS_PER_MS // MINUTE_NS * MINUTE_NS
            if halt.symbol in rows:
                pauses.append(Pause(rows[halt.symbol], start, start + halt.minutes * MINUTE_NS))
        steps = []
        for split in faults.split_event:
            if split.symbol in rows:
                at = day_start(self._source, (date.fromisoformat(split.date) - _EPOCH).days)
                steps.append(_Step(rows[split.symbol], at, split.split_to / split.split_from))
        return _Rules(
            silent if silent.any() else None,
            missing if missing.any() else None,
            tuple(pauses),
            tuple(steps),
            faults.correction_after_15m,
        )


class View:
    """A truth as REST has it at one time."""

    def __init__(self, truth: Truth, now_ns: int, adjusted: bool) -> None:
        self._truth, self._now_ns, self._adjusted = truth, now_ns, adjusted
        self.asset_class, self.symbols = truth.asset_class, truth.symbols
        self.lengths_s, self.first_ns = truth.lengths_s, truth.first_ns
        self.day_start, self.regular, self.labels = truth.day_start, truth.regular, truth.labels

    def window(self, start_ns: int, bar_s: int, rows: NDArray[np.intp] | None = None) -> Bars:
        """Give the bars of one window."""
        return self._truth.known(self._truth.window(start_ns, bar_s, rows), bar_s, self._now_ns, self._adjusted)

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give one symbol's bars."""
        found = self._truth.history(row, bar_s, start_ns, end_ns)
        return self._truth.known(found, bar_s, self._now_ns, self._adjusted)


def check_symbols(faults: Faults, sources: Iterable[Source]) -> None:
    """Raise ValueError where a knob names a symbol nobody plays."""
    unknown = faults.symbols.difference(*(s.symbols for s in sources))
    if unknown:
        raise ValueError(f"expected symbols that are played, was {', '.join(sorted(unknown))}")


def _premature(bars: Bars, which: Bool) -> Bars:
    """Give bars of which some are as they were before their last trades came: less volume, another close."""
    return replace(
        bars,
        volume=np.where(which, np.round(bars.volume * 0.8, 8), bars.volume),
        close=np.where(which, bars.open, bars.close),
    )


def _scaled(bars: Bars, steps: Sequence[_Step]) -> Bars:
    """Give bars with prices times each step's ratio before its time, and volume through it."""
    for step in steps:
        which = (bars.row == step.row) & (bars.ts < step.ts_ns)
        if which.any():
            changed: dict[str, Any] = {name: np.round(getattr(bars, name) * step.ratio, 4) for name in _PRICES}
            # No fewer shares than trades; the shares of a class without trades are whole too.
            changed["volume"] = np.fmax(np.rint(bars.volume / step.ratio), bars.trades)
            bars = replace(bars, **{name: np.where(which, x, getattr(bars, name)) for name, x in changed.items()})
    return bars
