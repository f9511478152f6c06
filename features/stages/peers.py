"""What each symbol is held against: its market, its sector, or one symbol named for it."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from features.market.types import AssetClass

MIN_MEMBERS = 3
"""A sector of fewer symbols has no median, as a market has none."""
MARKET = 0
"""The column of the market, in `Contexts.moves`."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The sectors and pairs of one asset class, and the columns of `Contexts.moves` they make.

    Column 0 is the market, then comes one per sector, then one per partner. A symbol is held against the partner of
    its pair, without a pair against its sector, without a sector against the market. Symbols are in our spelling,
    without the class.

    Attributes
    ----------
    sectors
        Members of each sector: at least three, a symbol in one sector at most.
    pairs
        (judged, partner): a symbol is judged in one pair at most, a partner may serve many.
    members, starts
        The symbols of all sectors, sector after sector, and [sectors + 1] where each begins.
    partners
        The symbol that each column after the sectors' follows.
    names
        Whose move each column is, as a sentence says it.
    keys
        What tells one column's past from another's, 0 for the market. A sector is its name: members may come and go,
        as they do in a market.

    Examples
    --------
    >>> peers = Peers({"tech": ("AAPL", "MSFT", "NVDA")}, (("GOOG", "GOOGL"), ("AAPL", "GOOGL")))
    >>> [peers.names[peers.reference(s)] for s in ("MSFT", "GOOG", "AAPL", "GOOGL")]
    ["its sector's (tech)", "GOOGL's", "GOOGL's", "the market's"]
    """

    sectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    members: tuple[str, ...] = field(init=False)
    starts: tuple[int, ...] = field(init=False)
    partners: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    keys: tuple[float, ...] = field(init=False)
    _reference: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_sectors(self.sectors)
        _check_pairs(self.pairs)
        starts = [0]
        for listed in self.sectors.values():
            starts.append(starts[-1] + len(listed))
        partners = tuple(dict.fromkeys(partner for _, partner in self.pairs))
        sectors = {s: 1 + g for g, listed in enumerate(self.sectors.values()) for s in listed}
        column = {partner: 1 + len(self.sectors) + g for g, partner in enumerate(partners)}
        keys = [*(f"sector {name}" for name in self.sectors), *(f"symbol {partner}" for partner in partners)]
        told = {
            "members": tuple(s for listed in self.sectors.values() for s in listed),
            "starts": tuple(starts),
            "partners": partners,
            "names": ("the market's", *(f"its sector's ({name})" for name in self.sectors),
                      *(f"{partner}'s" for partner in partners)),
            "keys": (0.0, *(float(zlib.crc32(key.encode())) for key in keys)),
            "_reference": sectors | {judged: column[partner] for judged, partner in self.pairs},
        }  # fmt: skip
        for name, value in told.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls, asset_class: AssetClass, sectors: Mapping[str, Sequence[str]], pairs: Iterable[tuple[str, str]]
    ) -> "Peers":
        """Take one asset class's part of sectors and pairs over symbols such as `stocks:AAPL` or `AAPL`.

        A symbol written without its class is of the classes named beside it in the sector or pair, of every class
        where none is.

        Raises
        ------
        ValueError
            Where the sectors or pairs of the class are not what `Peers` expects, or a pair spans two classes.

        Examples
        --------
        >>> Peers.of(AssetClass.STOCKS, {"tech": ["stocks:AAPL", "MSFT", "NVDA"]}, []).members
        ('AAPL', 'MSFT', 'NVDA')
        >>> Peers.of(AssetClass.CRYPTO, {"tech": ["stocks:AAPL", "MSFT", "NVDA"]}, []).members
        ()
        """
        own = {name: tuple(_part(asset_class, listed)) for name, listed in sectors.items()}
        ours = {name: part for name, part in own.items() if part or not sectors[name]}
        mine: list[tuple[str, str]] = []
        for pair in pairs:
            if len({split(s)[0] for s in pair} - {None}) > 1:
                raise ValueError(f"expected both symbols of a pair of one class, was {' against '.join(pair)}")
            part = list(_part(asset_class, pair))
            if part:
                mine.append((part[0], part[1]))
        return cls(ours, tuple(mine))

    def __len__(self) -> int:
        return len(self.names)

    def reference(self, symbol: str) -> int:
        """Give the column a symbol is held against."""
        return self._reference.get(symbol, MARKET)


def split(listed: str) -> tuple[AssetClass | None, str]:
    """Give the class, where it is written, and our spelling of a symbol.

    >>> split("crypto:BTC-USD"), split("I:SPX")
    ((<AssetClass.CRYPTO: 'crypto'>, 'BTC-USD'), (None, 'I:SPX'))
    """
    head, _, rest = listed.partition(":")
    return (AssetClass(head), rest) if rest and head in list(AssetClass) else (None, listed)


def _part(asset_class: AssetClass, listed: Iterable[str]) -> Iterator[str]:
    """Give the symbols of a list that are of one class."""
    parts = [split(text) for text in listed]
    is_ours = asset_class in {of for of, _ in parts} or all(of is None for of, _ in parts)
    return (symbol for of, symbol in parts if is_ours and of in (None, asset_class))


def _check_sectors(sectors: Mapping[str, tuple[str, ...]]) -> None:
    sector_of: dict[str, str] = {}
    for name, listed in sectors.items():
        for symbol in listed:
            if symbol in sector_of:
                raise ValueError(f"expected a symbol in one sector, was {symbol} in {sector_of[symbol]} and {name}")
            sector_of[symbol] = name
        if len(listed) < MIN_MEMBERS:
            raise ValueError(f"expected at least {MIN_MEMBERS} symbols of a class in sector {name}, was {len(listed)}")


def _check_pairs(pairs: tuple[tuple[str, str], ...]) -> None:
    for judged, partner in pairs:
        if judged == partner:
            raise ValueError(f"expected two symbols in a pair, was {judged} twice")
    judged, n = next(iter(Counter(first for first, _ in pairs).most_common(1)), ("", 0))
    if n > 1:
        raise ValueError(f"expected a symbol first in one pair, was {judged} in {n}")
