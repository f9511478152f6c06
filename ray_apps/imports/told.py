"""What the user says of the files: what they do not say themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from features.market.symbols import EXAMPLES
from features.market.types import AssetClass
from ray_apps.errors import UsageError
from ray_apps.imports.spelling import ours
from ray_apps.store.files import without_suffix


@dataclass(frozen=True, slots=True)
class Told:
    """How files are to be read, None where they say it themselves.

    Attributes
    ----------
    symbol
        Whose bars the files are; where they name symbols, the one to take.
    symbols
        The same of the files whose name without its ending fits a pattern, by pattern; one with a slash is held
        against the path below the folder that was asked for.
    bar_s
        Length of their bars, seconds.
    zone
        IANA zone of times that name none.
    unit
        Of times that are numbers.
    columns
        By field the column that has it.
    """

    asset_class: AssetClass
    symbol: str | None = None
    bar_s: int | None = None
    zone: str | None = None
    unit: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)

    @property
    def reading(self) -> str:
        """Give all that is told of one file as one text: a file read otherwise is another.

        >>> Told(AssetClass.STOCKS, bar_s=60).reading
        '{"bar_s": 60}'
        """
        said = {
            "symbol": self.symbol, "bar_s": self.bar_s, "zone": self.zone, "unit": self.unit,
            "columns": dict(self.columns) or None,
        }  # fmt: skip
        return json.dumps({name: value for name, value in said.items() if value is not None}, sort_keys=True)

    def of(self, label: str) -> "Told":
        """Give what is told of the file of a label.

        >>> Told(AssetClass.STOCKS, symbols={"a*": "AAPL"}).of("2025/apple").symbol
        'AAPL'
        """
        if not self.symbols:
            return self
        return replace(self, symbol=next(iter(self._fitting(label)), None), symbols={})

    def check(self, labels: Sequence[str]) -> None:
        """Raise UsageError where a pattern fits none of the files, or several symbols are told of one."""
        for pattern in self.symbols:
            if not any(_fits(pattern, label) for label in labels):
                more = ", ..." if len(labels) > 3 else ""
                named = f"one of {', '.join(labels[:3])}{more}" if len(labels) > 1 else labels[0]
                raise UsageError(f"--symbol: expected the name of a file before =, {named}, was {pattern!r}")
        for label in labels:
            found = self._fitting(label)
            if len(found) > 1:
                raise UsageError(f"--symbol: expected one symbol for {label}, was {' and '.join(found)}")

    def _fitting(self, label: str) -> list[str]:
        return list(dict.fromkeys(s for pattern, s in self.symbols.items() if _fits(pattern, label)))


def told_symbols(told: Told, texts: Sequence[str]) -> Told:
    """Add what `--symbol` says: one name, or FILE=NAME for some files, with commas between.

    >>> told_symbols(Told(AssetClass.CRYPTO), ["BTCUSD=BTC-USD,ETHUSD=ETH-USD"]).symbols
    {'BTCUSD': 'BTC-USD', 'ETHUSD': 'ETH-USD'}
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    if len(words) == 1 and "=" not in words[0]:
        return replace(told, symbol=_spelled(told.asset_class, words[0]))
    symbols: dict[str, str] = {}
    for word in words:
        pattern, is_pair, name = word.partition("=")
        if not (pattern and is_pair):
            raise UsageError(f"--symbol: expected one name, or FILE=NAME for each of some files, was {word!r}")
        pattern = without_suffix(pattern)
        symbol = _spelled(told.asset_class, name)
        if symbols.setdefault(pattern, symbol) != symbol:
            raise UsageError(f"--symbol: expected one symbol for {pattern}, was {symbols[pattern]} and {symbol}")
    return replace(told, symbols=symbols)


def pair_of(label: str, symbol: str) -> str:
    """Give what says the symbol of one file, as `--symbol` takes it.

    >>> pair_of("BTCUSD", "BTC-USD"), pair_of("a,b [1]", "NAME")
    ('BTCUSD=BTC-USD', 'a?b ?1]=NAME')
    """
    return f"{''.join('?' if c in '*?[,=' else c for c in label)}={symbol}"


def _fits(pattern: str, label: str) -> bool:
    return fnmatchcase(label if "/" in pattern else label.rpartition("/")[2], pattern)


def _spelled(asset_class: AssetClass, text: str) -> str:
    found = ours(asset_class, text)
    if found is None:
        expected = f"a symbol of {asset_class} such as {EXAMPLES[asset_class]}"
        raise UsageError(f"--symbol: expected {expected}, was {text!r}")
    return found
