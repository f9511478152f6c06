"""Keep what is good of the rows of a bar file; count the others by reason and name the first by their lines."""

import csv
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.market.types import F64, FAULT_REASONS, I64, Bool

ABSENT = ("", "nan", "NaN", "NAN", "null", "None", "NA")
MESSAGES_KEPT = 5


def plainly(value: float) -> str:
    """Write a number for a message.

    >>> plainly(1743600000.0)
    '1743600000'
    """
    return f"{value:.15g}"


@dataclass(slots=True)
class Rows:
    """Columns as read, float64 each (a millisecond is exact below 2**53), with each row's line in the file.

    Attributes
    ----------
    name
        The file's, for messages.
    line
        [T] int64, from 1.
    refused
        Rows dropped, by reason; `messages` names the first few by their lines.
    faults
        Start, ms, and index into FAULT_REASONS of rows dropped for prices that cannot be true.
    said
        Messages with the lines they are about, in the order of those.
    most
        How many messages are kept.
    """

    name: str
    columns: dict[str, F64]
    line: I64
    refused: Counter[str] = field(default_factory=Counter)
    said: list[tuple[int, str]] = field(default_factory=list)
    faults: list[tuple[float, int]] = field(default_factory=list)
    most: int = MESSAGES_KEPT

    @property
    def messages(self) -> list[str]:
        """What is said of the first rows that were dropped."""
        return [text for _, text in self.said]

    def first(self, bad: Bool) -> list[int]:
        """Give the rows of the mask that are the first in the file, as many as are named."""
        at = np.flatnonzero(bad)
        first: list[int] = at[np.argsort(self.line[at], kind="stable")[: self.most]].tolist()
        return first

    def refuse(
        self, bad: Bool, reason: str, expected: str, column: str, write: Callable[[float], str] = plainly
    ) -> None:
        """Drop the rows of the mask, counting them; `write` says what was there."""
        if not bad.any():
            return
        self.refused[reason] += int(bad.sum())
        if reason in FAULT_REASONS:
            self.faults += [(t, FAULT_REASONS.index(reason)) for t in self.columns["t"][bad].tolist()]
        for i in self.first(bad):
            self.say(int(self.line[i]), expected, write(self.columns[column][i]))
        self.keep(~bad)

    def say(self, line: int, expected: str, was: str) -> None:
        """Keep a message about a line, if there are not enough about earlier ones."""
        if len(self.said) < self.most or line < self.said[-1][0]:
            insort(self.said, (line, f"{self.name}:{line}: expected {expected}, was {one_line(was)}"))
            del self.said[self.most :]

    def keep(self, rows: Bool | I64) -> None:
        """Keep the given rows alone."""
        self.columns = {name: column[rows] for name, column in self.columns.items()}
        self.line = self.line[rows]


def refuse_missing(rows: Rows, names: Sequence[str]) -> None:
    """Drop rows without a value in one of the columns."""
    for name in names:
        rows.refuse(np.isnan(rows.columns[name]), "missing_field", f"a value in {name}", name)


def refuse_bad_values(rows: Rows) -> None:
    """Drop rows whose prices cannot be true, and those of negative volume."""
    for name in ("o", "h", "l", "c"):
        price = rows.columns[name]
        rows.refuse(~(np.isfinite(price) & (price > 0)), "bad_price", f"a positive price in {name}", name)
    c = rows.columns
    outside = (c["h"] < np.maximum(c["o"], c["c"])) | (c["l"] > np.minimum(c["o"], c["c"]))
    rows.refuse(outside, "high_below_low", "l <= o, c <= h", "h")
    for name in ("v", "n"):
        if name in rows.columns:  # an index has neither
            amount = rows.columns[name]
            rows.refuse((amount < 0) | np.isinf(amount), "bad_volume", f"{name} of 0 or more", name)


def whole_lines(
    rows: Rows, lines: Iterable[str], first: int, n_fields: int, separator: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Give the fields of CSV lines with their numbers from `first` on; count those that have too few or too many."""
    for line, text in enumerate(lines, first):
        try:  # a line at a time: an open quote spoils one line, not the rest of the file
            fields = next(csv.reader([text.rstrip("\r")], delimiter=separator), [])
        except csv.Error as e:
            rows.refused["malformed"] += 1
            rows.say(line, "a line of values", str(e))
            continue
        if not fields:
            continue
        if len(fields) != n_fields:
            rows.refused["missing_field" if len(fields) < n_fields else "malformed"] += 1
            rows.say(line, f"{n_fields} values", str(len(fields)))
            continue
        yield line, fields


def one_line(text: str) -> str:
    """Give the start of a text without what would break or garble a line.

    >>> one_line("a" + chr(10) + "b")
    'a?b'
    """
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def number(text: str) -> float:
    """Read a number as a file writes it; NaN where it says that there is none.

    >>> number(" 1.5 "), number("NA")
    (1.5, nan)
    """
    stripped = text.strip()
    return float("nan") if stripped in ABSENT else float(stripped)
