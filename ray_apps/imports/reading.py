"""Give a file's bars as sheaves the store takes, and keep count of what became of its rows."""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from features.market.types import I64
from ray_apps.imports.lengths import grid_s, other_length, steps_of
from ray_apps.imports.pieces import pieces
from ray_apps.imports.place import Place
from ray_apps.imports.recipe import Recipe
from ray_apps.imports.sift import Bars, Limits, Sift
from ray_apps.imports.times import said_ms
from ray_apps.imports.told import Told
from ray_apps.store.files import FileError
from ray_apps.store.history import Sheaf
from ray_apps.store.partitions import DAY_NS
from ray_apps.store.sieve import MESSAGES_KEPT

DAYS_AT_ONCE = 300
"""Of one transaction, in which each takes some of the server's 4,096 locks."""

OFF_GRID_SHARE = 0.05
"""Of a piece's rows: so many off the grid, and it is the length that is wrong."""


@dataclass(slots=True)
class Tally:
    """What became of one file so far.

    Attributes
    ----------
    new, revised, same
        Bars stored, replaced, and there before.
    n_repeats
        Rows that repeat another one exactly.
    refused
        Rows that could not be used, by reason; `messages` names the first `listed` by their lines.
    first_ns, last_ns
        Starts of the oldest and newest bar.
    n_bytes
        How far it has been read.
    is_open
        Whether its last line has no end, and may be half a line that looks like a whole one.
    failure
        Why it is not complete; "" where it is, or may still be.
    pair
        FILE=NAME, where the question is whose bars it has and its name has the answer.
    """

    place: Place
    listed: int = MESSAGES_KEPT
    bar_s: int = 0
    symbols: set[str] = field(default_factory=set)
    new: int = 0
    revised: int = 0
    same: int = 0
    n_repeats: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    first_ns: int | None = None
    last_ns: int | None = None
    n_bytes: int = 0
    is_open: bool = False
    failure: str = ""
    is_question: bool = False
    pair: str = ""
    is_known: bool = False
    is_over: bool = False

    @property
    def n_bars(self) -> int:
        """Bars that came."""
        return self.new + self.revised + self.same

    @property
    def n_refused(self) -> int:
        """Rows that could not be used."""
        return sum(self.refused.values())


@dataclass(frozen=True, slots=True)
class Part:
    """Bars to be written in one transaction; `line` and `to_line` are those of the file they came from."""

    sheaf: Sheaf
    line: int
    to_line: int
    n_bytes: int


def parts(recipe: Recipe, told: Told, limits: Limits, tally: Tally) -> Generator[Part]:
    """Give a file's bars; what cannot be used is counted in the tally.

    Raises
    ------
    FileError
        When it breaks off, or has bars of another length after all, after the bars before that.
    """
    sift = Sift(recipe.clock, told, recipe.symbol, limits, recipe.bar_s)
    grid = _Grid(recipe)
    for piece in pieces(recipe.place, recipe.layout):
        line = int(piece.rows.line[0]) if len(piece.rows.line) else 0
        to_line = int(piece.rows.line[-1]) if len(piece.rows.line) else 0
        tally.is_open = piece.is_open
        bars = sift.take(piece)
        try:
            grid.check(bars, line)
        finally:
            tally.refused.update(bars.rows.refused)
            tally.messages += bars.rows.messages[: tally.listed - len(tally.messages)]
            tally.n_repeats += bars.n_repeats
        if not len(bars):
            tally.n_bytes = piece.n_bytes
            continue
        for sheaf in _by_days(bars, recipe.bar_s):
            yield Part(sheaf, line, to_line, piece.n_bytes)
    tally.n_bytes = recipe.place.n_bytes


class _Grid:
    """Checks that a file's bars are all of one length."""

    def __init__(self, recipe: Recipe) -> None:
        self._name = recipe.place.name
        self._bar_s = recipe.bar_s
        self._grid_ms = grid_s(recipe.bar_s) * 1_000
        self._rest_ms: float | None = None

    def check(self, bars: Bars, line: int) -> None:
        """Drop the few rows off the grid; raise where many are, or where there are longer bars."""
        if not len(bars):
            return
        c = bars.rows.columns
        rest = c["t"] % self._grid_ms
        if self._rest_ms is None:  # what most of the first have
            values, counts = np.unique(rest, return_counts=True)
            self._rest_ms = float(values[counts.argmax()])
        off = rest != self._rest_ms
        expected = f"starts {self._grid_ms // 1000} s apart"
        if off.mean() > OFF_GRID_SHARE:
            many = f"{int(off.sum()):,} of {len(off):,} rows"
            mend = "--bar says which length, or split the file"
            raise FileError(f"{self._name}:{line}: expected {expected}, was otherwise in {many}: {mend}")
        bars.rows.refuse(off, "off_grid", expected, "t", said_ms)
        other_s = other_length(steps_of(c["row"], c["t"]), self._bar_s)
        if other_s is not None:
            mend = "--symbol takes one symbol, --bar says its length, or split the file"
            said = f"expected bars of {self._bar_s} s, was some of {other_s} s from here on"
            raise FileError(f"{self._name}:{line}: {said}: {mend}")


def _by_days(bars: Bars, bar_s: int) -> Iterator[Sheaf]:
    """Give the bars in as few sheaves as the server's locks allow."""
    columns, row = bars.columns(), bars.row
    series = [(name, bar_s) for name in bars.names]
    day: I64 = columns.ts // DAY_NS
    days = np.unique(day)
    for first in range(0, len(days), DAYS_AT_ONCE):
        some = days[first : first + DAYS_AT_ONCE]
        chosen = (day >= some[0]) & (day <= some[-1])
        used, at = np.unique(row[chosen], return_inverse=True)
        yield Sheaf([series[k] for k in used.tolist()], at.astype(np.int32), columns.take(chosen))
