"""Play a folder of bar files as one market."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.market.bars import BarColumns, aggregate
from features.market.calendar import ny_seconds
from features.market.symbols import is_symbol
from features.market.types import I64, NS_PER_S, AssetClass
from features.synthetic.block import VALUES
from features.synthetic.hours import NEW_YORK, is_regular
from features.synthetic.inject import Label
from ray_apps.simulator.sources import DAY_NS, Bars, empty
from ray_apps.store.files import FileError, SeriesFile, read_folder

_MINUTE_S = 60


class FolderSource:
    """The bars of a folder, held in memory. Bars shorter than a minute make minutes too.

    The stream knows seconds and minutes only: a folder of seconds gives both, of anything else up to a minute
    gives minutes, and longer bars go out as minute bars with their own end. Symbols are the files' names.
    """

    def __init__(self, folder: Path, asset_class: AssetClass, warn: Callable[[str], None]) -> None:
        files = _readable(folder, warn)
        lengths = sorted({f.bar_s for f in files})
        # A thin series may never print twice in a row and so look coarser than it is.
        self.base_s = lengths[0]
        if any(length % self.base_s for length in lengths):
            raise FileError(f"expected files of one bar length in {folder}, was {lengths} s")
        self.asset_class = asset_class
        self.symbols = tuple(f.symbol for f in files)
        columns = [_columns(f) for f in files]
        self._tables = {self.base_s: _Table(columns)}
        self.lengths_s: tuple[int, ...] = (self.base_s,)
        if self.base_s < _MINUTE_S:
            minutes = [aggregate(c, self.base_s, _MINUTE_S) for c in columns]
            self._tables[_MINUTE_S] = _Table(minutes)
            self.lengths_s = (_MINUTE_S, 1) if self.base_s == 1 else (_MINUTE_S,)
        self.first_ns = int(self._tables[self.lengths_s[0]].ts[0])

    def window(self, start_ns: int, bar_s: int, rows: NDArray[np.intp] | None = None) -> Bars:
        """Give the bars of one window."""
        found = self._tables[bar_s].window(start_ns)
        return found if rows is None else found.take(np.isin(found.row, rows))

    def history(self, row: int, bar_s: int, start_ns: int, end_ns: int) -> Bars:
        """Give one symbol's bars."""
        return self._tables[bar_s].history(row, start_ns, end_ns)

    def day_start(self, ts_ns: int) -> int:
        """Give the start of the New York or UTC day."""
        if self.asset_class in NEW_YORK:
            return ts_ns - ny_seconds(ts_ns)[1] * NS_PER_S - ts_ns % NS_PER_S
        return ts_ns // DAY_NS * DAY_NS

    def regular(self, ts_ns: int) -> bool:
        """Say whether a window lies in regular hours."""
        return is_regular(self.asset_class, ts_ns)

    def labels(self, start_ns: int, end_ns: int) -> list[Label]:
        """Give nothing: what happens in real bars is not known."""
        return []


def _readable(folder: Path, warn: Callable[[str], None]) -> list[SeriesFile]:
    """Give the files that can be played, and a warning for all that cannot."""
    found = read_folder(folder)
    for error in found.errors:
        warn(str(error))
    for message in (m for f in found.files for m in f.messages):
        warn(message)
    for f in found.files:
        if not is_symbol(f.symbol):
            warn(f"{f.path.name}: expected a file named after a symbol, was {f.symbol!r}: left out")
    files = [f for f in found.files if is_symbol(f.symbol)]
    if not files:
        raise FileError(f"expected a good bar file in {folder}, was none")
    return files


class _Table:
    """Bars of all symbols sorted by time, then symbol, and where each symbol's are."""

    def __init__(self, columns: list[BarColumns]) -> None:
        row = np.concatenate([np.full(len(c), i, dtype=np.intp) for i, c in enumerate(columns)])
        ts: I64 = np.concatenate([c.ts for c in columns])
        order = np.lexsort((row, ts))
        values = (np.concatenate([getattr(c, name) for c in columns])[order] for name in VALUES)
        self._bars = Bars(row[order], ts[order], *values)
        self.ts = self._bars.ts
        by_symbol = np.argsort(self._bars.row, kind="stable")
        edges = np.searchsorted(self._bars.row[by_symbol], np.arange(len(columns) + 1))
        self._places: list[NDArray[np.intp]] = [by_symbol[a:b] for a, b in pairwise(edges)]

    def window(self, start_ns: int) -> Bars:
        a, b = np.searchsorted(self.ts, (start_ns, start_ns + 1))
        return self._bars.take(slice(int(a), int(b)))

    def history(self, row: int, start_ns: int, end_ns: int) -> Bars:
        place = self._places[row]
        a, b = np.searchsorted(self.ts[place], (start_ns, end_ns))
        return self._bars.take(place[a:b]) if b > a else empty()


def _columns(file: SeriesFile) -> BarColumns:
    return BarColumns(file.ts, *(getattr(file, name) for name in VALUES))
