"""Play a synthetic tape as one market."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from features.market.types import NS_PER_S
from features.synthetic.block import TapeBlock
from features.synthetic.hours import MINUTE_NS, day_of, is_regular
from features.synthetic.inject import Label
from features.synthetic.schedule import InjectedTape
from ray_apps.simulator.shelf import Shelf
from ray_apps.simulator.sources import DAY_NS, Bars, bars_of, between, empty, join

_FEW_MINUTES = 120
"""A span shorter than this is made alone, not with its day."""
_KEPT_MINUTES = 2
"""Minutes of seconds kept for the stream: its two hosts are a quarter of an hour apart."""


class SyntheticSource:
    """A synthetic tape, with or without injected anomalies."""

    def __init__(self, tape: InjectedTape) -> None:
        self._tape = tape
        self.asset_class = tape.tape.config.asset_class
        self.symbols = tape.symbols
        self.lengths_s: tuple[int, ...] = (60, 1)
        self.first_ns = tape.tape.config.first_day * DAY_NS
        self._rows = np.arange(len(self.symbols))
        self._seconds: OrderedDict[tuple[int, bytes], TapeBlock] = OrderedDict()
        self._shelf = Shelf(len(self.symbols), self._make_day)

    def window(self, start_ns: int, bar_s: int, rows: NDArray[np.intp] | None = None) -> Bars:
        """Give the bars of one minute or second."""
        wanted = self._rows if rows is None else rows
        if not len(wanted):
            return empty()
        if bar_s == 60:
            block = self._tape.minute(start_ns) if rows is None else self._tape.block(start_ns, 1, rows)
            return bars_of(block, wanted)
        minute = start_ns // MINUTE_NS * MINUTE_NS
        second = (start_ns - minute) // NS_PER_S
        return bars_of(self._minute_of_seconds(minute, rows).take(slice(second, second + 1)), wanted)

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give one symbol's bars."""
        if bar_s == 1:
            return self._second_history(row, start_ns, end_ns)
        first, last = start_ns // MINUTE_NS, -(-end_ns // MINUTE_NS)
        if last <= first:
            return empty()
        if last - first < _FEW_MINUTES:
            columns = np.array([row])
            return between(
                bars_of(self._tape.block(first * MINUTE_NS, last - first, columns), columns), start_ns, end_ns
            )
        days = range(day_of(self.asset_class, start_ns), day_of(self.asset_class, end_ns - 1) + 1)
        return join(
            [between(self._shelf.day(row, day), start_ns, end_ns) for day in days if self._meets(day, start_ns, end_ns)]
        )

    def _meets(self, day: int, start_ns: int, end_ns: int) -> bool:
        """Say whether a day's rows and a span have minutes in common."""
        found = self._tape.tape.span(day)
        return found is not None and found.start_ns < end_ns and start_ns < found.start_ns + len(found.vol) * MINUTE_NS

    def _make_day(self, day: int, columns: NDArray[np.intp]) -> TapeBlock:
        span = self._tape.tape.span(day)
        assert span is not None
        return self._tape.block(span.start_ns, len(span.vol), columns)

    def _minute_of_seconds(self, minute: int, rows: NDArray[np.intp] | None) -> TapeBlock:
        key = (minute, b"" if rows is None else rows.tobytes())
        found = self._seconds.get(key)
        if found is None:
            found = self._seconds[key] = self._tape.seconds(minute, rows)
            while len(self._seconds) > _KEPT_MINUTES:
                self._seconds.popitem(last=False)
        self._seconds.move_to_end(key)
        return found

    def _second_history(self, row: int, start_ns: int, end_ns: int) -> Bars:
        columns = np.array([row])
        minutes = range(start_ns // MINUTE_NS, -(-end_ns // MINUTE_NS))
        parts = [bars_of(self._tape.seconds(m * MINUTE_NS, columns), columns) for m in minutes]
        return join([between(part, start_ns, end_ns) for part in parts])

    def day_start(self, ts_ns: int) -> int:
        """Give the first minute of the day's rows."""
        day = day_of(self.asset_class, ts_ns)
        span = self._tape.tape.span(day)
        return span.start_ns if span is not None else ts_ns // MINUTE_NS * MINUTE_NS

    def regular(self, ts_ns: int) -> bool:
        """Say whether a window lies in regular hours."""
        return is_regular(self.asset_class, ts_ns)

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give the injected anomalies that begin in a span."""
        return [i for i in self._tape.labels(start_ns, end_ns) if i.start_ms < end_ns // 1_000_000]
