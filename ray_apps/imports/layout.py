"""Say which column of a file is what, from its header."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from features.market.types import AssetClass
from ray_apps.errors import UsageError
from ray_apps.imports.errors import QuestionError
from ray_apps.store.files import FileError
from ray_apps.store.sieve import one_line

PRICES = ("o", "h", "l", "c")
SPELLINGS = {
    "t": (
        *("t", "ts", "time", "timestamp", "date", "datetime", "date_time"),
        *("window_start", "start", "start_time", "open_time"),
    ),
    "o": ("o", "open"),
    "h": ("h", "high"),
    "l": ("l", "low"),
    "c": ("c", "close"),
    "v": ("v", "vol", "volume"),
    "vw": ("vw", "vwap"),
    "n": ("n", "trades", "transactions", "trade_count", "num_trades", "number_of_trades"),
    "symbol": ("symbol", "ticker"),
}
FLAT_FILE = frozenset({"ticker", "open", "close", "high", "low", "window_start"})
"""What the vendor's flat files of every class have; `volume` and `transactions` where the class has any."""

_SOLID = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file.

    Attributes
    ----------
    names
        All of them, in order, as the file spells them.
    columns
        By field (t, o, h, l, c, v, vw, n, symbol) the column that has it.
    separator
        What stands between the values of a line.
    """

    names: tuple[str, ...]
    columns: Mapping[str, str]
    separator: str = ","

    @property
    def values(self) -> tuple[str, ...]:
        """Give the fields that are plain numbers."""
        return tuple(f for f in self.columns if f not in ("t", "symbol"))

    @property
    def ignored(self) -> tuple[str, ...]:
        """Give the columns that are not read."""
        return tuple(name for name in self.names if name not in self.columns.values())

    @property
    def kind(self) -> str:
        """Name the layout for people."""
        if set(self.names) >= FLAT_FILE:
            return "flat file"
        return "symbols" if "symbol" in self.columns else "series"


def layout_of(name: str, names: Sequence[str], told: Mapping[str, str], asset_class: AssetClass) -> Layout:
    """Find the columns of a file by their names, in upper or lower case; `told` says what they do not.

    >>> names = ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]
    >>> layout_of("A.csv", names, {}, AssetClass.STOCKS).ignored
    ('Adj Close',)

    Raises
    ------
    FileError
        When a column is missing.
    QuestionError
        When two could be meant.
    """
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FileError(f"{name}: expected each column once, was {one_line(twice[0])} twice or more")
    columns: dict[str, str] = {}
    for field in SPELLINGS:
        found = _column(name, field, names, told)
        if found is not None:
            columns[field] = found
    required = ["t", *PRICES] if asset_class in (AssetClass.INDICES, AssetClass.FOREX) else ["t", *PRICES, "v"]
    missing = [field for field in required if field not in columns]
    if missing:
        had = one_line(",".join(names))
        mend = f"; --columns {missing[0]}=NAME says which it is"
        raise FileError(
            f"{name}: expected the columns {','.join(required)}, was without {','.join(missing)}: {had}{mend}"
        )
    return Layout(tuple(names), columns)


def _column(name: str, field: str, names: Sequence[str], told: Mapping[str, str]) -> str | None:
    if field in told:
        if told[field] not in names:
            had = one_line(",".join(names))
            raise FileError(f"{name}: --columns {field}={told[field]}: expected one of {had}, was no such column")
        return told[field]
    taken = set(told.values())
    found = [n for n in names if n not in taken and _SOLID.sub("_", n.strip().lower()) in SPELLINGS[field]]
    if len(found) > 1:
        said = [one_line(n) for n in found]
        raise QuestionError(f"{name}: which column is {field}: {' or '.join(said)}? --columns {field}={said[0]}, say")
    return found[0] if found else None


def told_columns(text: str | None) -> dict[str, str]:
    """Read what `--columns` says.

    >>> told_columns("t=window_start, o=Open Price")
    {'t': 'window_start', 'o': 'Open Price'}

    Raises
    ------
    UsageError
        For anything but pairs of a known field and a name.
    """
    told: dict[str, str] = {}
    for part in (text or "").split(","):
        field, is_pair, column = (side.strip() for side in part.partition("="))
        if not part.strip():
            continue
        if field not in SPELLINGS or not is_pair or not column:
            expected = f"pairs such as t=window_start of {', '.join(SPELLINGS)}"
            raise UsageError(f"--columns: expected {expected}, was {part.strip()!r}")
        if field in told or column in told.values():
            raise UsageError(f"--columns: expected each field and each column once, was {part.strip()!r} again")
        told[field] = column
    return told
