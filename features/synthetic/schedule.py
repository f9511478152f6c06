"""Decide where anomalies go, day by day, and play a tape with them in it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, Bool
from features.synthetic.block import TapeBlock
from features.synthetic.draws import Purpose, generator
from features.synthetic.hours import MINUTE_NS, NEW_YORK, day_of
from features.synthetic.inject import EVERY_SYMBOL, Injection, InjectionKind, Label, inject, label
from features.synthetic.seconds import seconds_of
from features.synthetic.tape import Tape

# Kind, weight, minutes, size in sd of a usual minute (or a factor), factor on activity.
_MENU: tuple[tuple[InjectionKind, float, int, float, float], ...] = (
    (InjectionKind.BURST_UP, 0.30, 2, 15.0, 12.0),
    (InjectionKind.BURST_DOWN, 0.15, 2, -15.0, 12.0),
    (InjectionKind.PRICE_MOVE, 0.10, 1, 14.0, 1.0),
    (InjectionKind.VOLUME_SPIKE, 0.15, 3, 0.0, 15.0),
    (InjectionKind.VOLATILITY_SPIKE, 0.10, 20, 4.0, 1.5),
    (InjectionKind.MARKET_SHOCK, 0.05, 3, -8.0, 4.0),
    (InjectionKind.DECIMAL_SLIP, 0.05, 1, 10.0, 1.0),
    (InjectionKind.FLAT_FEED, 0.05, 20, 0.0, 1.0),
    (InjectionKind.HALT, 0.05, 10, 5.0, 1.0),
)
_FACTORS = (InjectionKind.DECIMAL_SLIP,)


def schedule(
    seed: int,
    class_index: int,
    symbols: Sequence[str],
    usual: F64,
    eligible: Bool,
    day: int,
    first_ns: int,
    n_minutes: int,
    per_day: int,
) -> list[Injection]:
    """Give a day's injections, in order of time: a pure function of seed and day.

    Parameters
    ----------
    usual, eligible
        [N] sd of a usual minute's log move, and whether the symbol prints every minute.
    first_ns, n_minutes
        The part of the day they may begin in.
    per_day
        How many, over all symbols.
    """
    columns = np.flatnonzero(eligible)
    if not per_day or not len(columns) or n_minutes < 1:
        return []
    rng = generator(seed, class_index, Purpose.INJECTIONS, day)
    weights = np.array([row[1] for row in _MENU])
    kinds = rng.choice(len(_MENU), per_day, p=weights / weights.sum())
    minutes = np.sort(rng.integers(0, n_minutes, per_day))
    who = rng.choice(columns, per_day)
    strength = np.exp(0.3 * rng.standard_normal(per_day))
    found = []
    for kind, minute, column, factor in zip(kinds, minutes, who, strength, strict=True):
        name, _, length, size, activity = _MENU[kind]
        everybody = name is InjectionKind.MARKET_SHOCK
        scale = float(np.median(usual)) if everybody else float(usual[column])
        found.append(
            Injection(
                name,
                EVERY_SYMBOL if everybody else symbols[column],
                -1 if everybody else int(column),
                first_ns + int(minute) * MINUTE_NS,
                length,
                size if name in _FACTORS else size * scale * float(factor),
                activity,
            )
        )
    return found


APART_NS = 10 * MINUTE_NS
"""So far from a given injection its symbol, and the market, have no scheduled one."""


class InjectedTape:
    """A tape with anomalies in it: those of the schedule and those given. Same methods as `Tape`.

    Parameters
    ----------
    per_day
        Scheduled injections a day.
    given
        Injections at places of the caller's choice.
    """

    def __init__(self, tape: Tape, per_day: int = 0, given: Sequence[Injection] = ()) -> None:
        self.tape = tape
        self.symbols = tape.symbols
        self.grid = tape.grid
        self._per_day, self._given = per_day, tuple(given)
        self._days: dict[int, list[Injection]] = {}
        self._anchors: dict[Injection, float | None] = {}

    def injections(self, start_ns: int, end_ns: int) -> list[Injection]:
        """Give the injections that change bars in a span."""
        days = range(
            day_of(self.tape.config.asset_class, start_ns) - 1,
            day_of(self.tape.config.asset_class, end_ns) + 1,
        )
        scheduled = [i for day in days for i in self._scheduled(day) if not self._yields(i)]
        return [i for i in (*scheduled, *self._given) if i.start_ns < end_ns and start_ns < i.over_ns]

    def _yields(self, scheduled: Injection) -> bool:
        """Say whether a scheduled injection would blur a given one of its symbol."""
        return any(
            scheduled.column in (-1, g.column)
            and scheduled.start_ns < g.over_ns + APART_NS
            and g.start_ns < scheduled.over_ns + APART_NS
            for g in self._given
        )

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give the truth about a span: every injection that begins in it."""
        return [label(i) for i in self.injections(start_ns, end_ns) if i.start_ns >= start_ns]

    def day(self, day: int) -> TapeBlock:
        """Give the rows of one trading day."""
        span = self.tape.span(day)
        if span is None:
            return self.tape.day(day)
        return self.block(span.start_ns, len(span.vol))

    def minute(self, ts_ns: int) -> TapeBlock:
        """Give the bars of one minute."""
        return self.block(ts_ns, 1)

    def seconds(self, ts_ns: int, columns: NDArray[np.intp] | None = None) -> TapeBlock:
        """Give the second bars of one minute; they add up to the injected minute's."""
        return seconds_of(self, self.tape.config.seed, self.tape.class_index, ts_ns, columns)

    def block(self, start_ns: int, n_minutes: int, columns: NDArray[np.intp] | None = None) -> TapeBlock:
        """Give consecutive minutes; with `columns` only these symbols."""
        first = start_ns // MINUTE_NS * MINUTE_NS
        found = self.injections(first, first + n_minutes * MINUTE_NS)
        if columns is not None and any(i.column < 0 for i in found):
            # Everybody's injection is drawn over everybody.
            return self.block(start_ns, n_minutes).take(slice(None), columns)
        plain = self.tape.block(start_ns, n_minutes, columns)
        grid = self.grid
        if columns is not None:
            place = {int(column): at for at, column in enumerate(columns)}
            pairs = [(i, place[i.column]) for i in found if i.column in place]
            grid = grid.take(columns)
        else:
            pairs = [(i, i.column) for i in found]
        anchors: dict[Injection, float] = {}
        moved: list[Injection] = []
        for original, column in pairs:
            here = replace(original, column=column)
            moved.append(here)
            if original.kind is InjectionKind.FLAT_FEED:
                anchor = self._anchor(original)
                anchors |= {here: anchor} if anchor is not None else {}
        played, _ = inject(plain, moved, grid, anchors)
        return played

    def _scheduled(self, day: int) -> list[Injection]:
        found = self._days.get(day)
        if found is None:
            found = self._schedule(day)
            self._days[day] = found
        return found

    def _schedule(self, day: int) -> list[Injection]:
        tape = self.tape
        span = tape.span(day)
        if not self._per_day or span is None or day < tape.config.first_day:
            return []
        asset_class = tape.config.asset_class
        first, opens, closes, _ = NEW_YORK.get(asset_class, (0, 0, 1440, 1440))
        start = span.start_ns + (opens - first) * MINUTE_NS
        return schedule(
            tape.config.seed,
            tape.class_index,
            self.symbols,
            tape.usual_move,
            ~tape.is_thin,
            day,
            start,
            closes - opens - 30,
            self._per_day,
        )

    def _anchor(self, injection: Injection) -> float | None:
        """Give the price a flat feed froze at: the open of its first minute with a bar."""
        if injection not in self._anchors:
            opens = self.tape.block(injection.start_ns, injection.minutes, np.array([injection.column])).open
            known = opens[~np.isnan(opens)]
            self._anchors[injection] = float(known[0]) if len(known) else None
        return self._anchors[injection]
