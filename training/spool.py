"""Lay the bars of many files out in time order without holding them in memory.

Files come one series at a time, the Engine wants one span of time of all series. Between the two lies an unnamed
file: it goes away with the process, however that ends.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features.block import BarBlock, align
from features.market.bars import BarColumns
from features.market.types import NS_PER_S

RECORD = np.dtype([("t", np.int64), *((name, np.float64) for name in "ohlcvn")])
"""One bar: window start in UTC ns, prices, volume, trades."""
COLUMNS = {"t": "ts", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "n": "trades"}
CELLS = 1 << 20
"""Cells [T, N] of a block: 60 MB of columns, a day and a half of 500 symbols' minutes."""

Records = NDArray[np.void]


@dataclass(slots=True)
class _Run:
    """Where the bars of one series lie in the file, and how far they are read."""

    start: int
    count: int
    next_ns: int
    read: int = 0


class Spool:
    """Bars of many series on disk, given back as blocks over all of them; a context manager.

    Parameters
    ----------
    folder
        Where the unnamed file is made: 56 bytes a bar are needed there. None: the system's temporary folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by `close`)
        self._runs: list[_Run] = []
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on disk back."""
        self._file.close()

    def add(self, bars: BarColumns) -> int:
        """Append a series, oldest bar first; give its number."""
        records = np.empty(len(bars), dtype=RECORD)
        for name, column in COLUMNS.items():
            records[name] = getattr(bars, column)
        self._file.write(records.data)
        self._runs.append(_Run(self._end, len(bars), int(bars.ts[0])))
        self._end += records.nbytes
        return len(self._runs) - 1

    def blocks(self, series: list[int], bar_s: int, cells: int = CELLS) -> Iterator[BarBlock]:
        """Give the chosen series as blocks of whole windows, oldest first; `series[i]` gets slot i.

        A block holds about `cells` cells, at least one window of all series.
        """
        self._file.flush()
        window_ns = max(bar_s, 60) * NS_PER_S
        a_window = max(1, window_ns // (bar_s * NS_PER_S))
        n_windows = max(1, cells // (a_window * len(series)))
        runs = [self._runs[i] for i in series]
        for run in runs:
            run.read = 0
            run.next_ns = int(self._read(run, 1)["t"][0])
        while any(r.read < r.count for r in runs):
            first = min(r.next_ns for r in runs if r.read < r.count)
            # windows hold the bars that end in them; a bar belongs to the one its end falls into
            end = (-(-(first + bar_s * NS_PER_S) // window_ns) - 1 + n_windows) * window_ns
            slots: list[int] = []
            columns: list[dict[str, Any]] = []
            for slot, run in enumerate(runs):
                if run.read < run.count and run.next_ns + bar_s * NS_PER_S <= end:
                    part = self._take(run, end - bar_s * NS_PER_S, n_windows * a_window)
                    slots.append(slot)
                    columns.append({name: part[name] for name in COLUMNS})
            yield align(slots, columns, bar_s)

    def _take(self, run: _Run, last_ns: int, most: int) -> Records:
        """Read on in a series up to the bar that starts at `last_ns`."""
        found = self._read(run, most + 1)
        n = int(np.searchsorted(found["t"], last_ns, side="right"))
        run.read += n
        if n < len(found):
            run.next_ns = int(found["t"][n])
        return found[:n]

    def _read(self, run: _Run, most: int) -> Records:
        """Read the next bars of a series, at most so many."""
        n = min(most, run.count - run.read)
        at = run.start + run.read * RECORD.itemsize
        data = os.pread(self._file.fileno(), n * RECORD.itemsize, at)
        if len(data) != n * RECORD.itemsize:
            raise OSError(f"expected {n} bars in the unnamed file, was {len(data)} bytes")
        return np.frombuffer(data, dtype=RECORD)
