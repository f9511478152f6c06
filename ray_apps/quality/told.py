"""Say findings and figures in words, the same on the terminal, in the page and for a program."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import zip_longest

from features.market.quality.findings import Finding, Flaw
from features.market.types import NS_PER_S
from ray_apps.quality.wish import length
from ray_apps.words import counted

NAMES = {
    Flaw.GAP: "gap",
    Flaw.STALE: "stale price",
    Flaw.PRICE_OUTLIER: "price outlier",
    Flaw.VOLUME_OUTLIER: "volume outlier",
    Flaw.SLIP: "clock slip",
    Flaw.SPLIT: "split not applied",
    Flaw.LITTLE_DATA: "little data",
    Flaw.OUTAGE: "source outage",
    Flaw.LENGTH: "longer bars",
}
ORDER = (
    *(Flaw.LENGTH, Flaw.SLIP, Flaw.SPLIT, Flaw.OUTAGE, Flaw.GAP, Flaw.STALE, Flaw.PRICE_OUTLIER, Flaw.VOLUME_OUTLIER),
    Flaw.LITTLE_DATA,
)
"""What spoils most comes first."""

_REASONS = {
    "missing_field": "without a value",
    "wrong_type": "not numbers",
    "bad_price": "price not above zero",
    "high_below_low": "high or low out of order",
    "bad_volume": "volume or trades below zero",
    "future": "of the future",
    "malformed": "without as many values as columns",
    "bad_time": "time before 1973 or after 2100",
    "bad_window": "start off the grid",
    "off_grid": "start off the grid",
    "duplicate": "repeat of another row",
    "conflict": "other values than a later row of its window",
    "out_of_order": "older than the row before",
    "vwap_outside": "vwap not between low and high",
    "no_volume": "without a trade",
}


def reasons(counts: Counter[str]) -> str:
    """Say how many rows there are of each kind, the commonest first.

    >>> reasons(Counter(bad_price=1, duplicate=2_000))
    '2,000 repeat of another row, 1 price not above zero'
    """
    return ", ".join(f"{n:,} {_REASONS.get(reason, reason.replace('_', ' '))}" for reason, n in counts.most_common())


def what(f: Finding) -> str:
    """Say what a finding is.

    >>> what(Finding(Flaw.PRICE_OUTLIER, "A", 0, 1, 1, math.log(10), 400.0))
    '+900.0 % off both sides, 400 usual moves'
    >>> what(Finding(Flaw.SPLIT, "A", 0, 1, 1, 1.5, 1.4, True))
    '3:2, volume x1.4, listed by the vendor'
    """
    match f.flaw:
        case Flaw.GAP:
            return f"{counted(f.n, 'bar')} missing"
        case Flaw.STALE:
            return f"{counted(f.n, 'bar')} at {price(f.size)}"
        case Flaw.PRICE_OUTLIER:
            return f"{math.expm1(f.size):+.1%} off both sides, {f.score:,.0f} usual moves".replace("%", " %")
        case Flaw.VOLUME_OUTLIER:
            return f"{f.size:,.0f}x the usual volume, {f.score:.1f} sd"
        case Flaw.SLIP:
            way = "late" if f.size > 0 else "early"
            return f"stamped {abs(f.size):.0f} h {way}, {counted(f.n, 'day')}" + (
                "" if math.isnan(f.score) else ", told by the others"
            )
        case Flaw.SPLIT:
            ratio = Fraction(f.size).limit_denominator(50)
            volume = "" if math.isnan(f.score) else f", volume x{f.score:.2g}"
            return f"{ratio.numerator}:{ratio.denominator}{volume}" + (", listed by the vendor" if f.is_listed else "")
        case Flaw.LITTLE_DATA:
            return counted(f.n, "bar")
        case Flaw.LENGTH:
            return f"{counted(f.n, 'bar')} of {length(round(f.size))}"
        case Flaw.OUTAGE:
            return f"{counted(f.n, 'symbol')} silent together"


def span(f: Finding) -> str:
    """Say when a finding is, to the minute, to the second where it is shorter; a split is of a day.

    >>> span(Finding(Flaw.GAP, "A", 0, 3_600 * NS_PER_S, 60, 60.0))
    '1970-01-01 00:00 - 01:00'
    """
    if f.from_ns == f.to_ns:
        return "-"
    if f.flaw is Flaw.SPLIT:
        return _time(f.from_ns, "%Y-%m-%d")
    clock = "%H:%M" if f.from_ns % (60 * NS_PER_S) == 0 and f.to_ns % (60 * NS_PER_S) == 0 else "%H:%M:%S"
    start, end = _time(f.from_ns, f"%Y-%m-%d {clock}"), _time(f.to_ns, f"%Y-%m-%d {clock}")
    return f"{start} - {end[11:] if start[:10] == end[:10] else end[5:] if start[:4] == end[:4] else end}"


def instant(ns: float) -> str:
    """Give an instant in ISO 8601, to the second.

    >>> instant(0)
    '1970-01-01T00:00:00Z'
    """
    return _time(int(ns), "%Y-%m-%dT%H:%M:%SZ")


def price(value: float) -> str:
    """Give a price in seven digits at most.

    >>> price(64_210.5), price(0.00001234)
    ('64,210.5', '1.234e-05')
    """
    return f"{value:,.7g}"


def amount(value: float) -> str:
    """Give a price or an amount: whole where it is large, a dash where there is none.

    >>> amount(37_788_180.0), amount(0.5), amount(float("nan"))
    ('37,788,180', '0.5', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else price(value)


def two_digits(value: float) -> str:
    """Give a correlation to two digits, without a sign before zero.

    >>> two_digits(-0.001), two_digits(0.456)
    ('0.00', '0.46')
    """
    return f"{round(value, 2) + 0.0:.2f}"


def percent(share: float, digits: int = 1) -> str:
    """Give a share in percent, a dash where there is none; 100 only where nothing lacks, 0 only where nothing is.

    >>> percent(0.99999), percent(1.0), percent(1e-6), percent(float("nan"))
    ('99.9 %', '100 %', '0.1 %', '-')
    """
    if math.isnan(share):
        return "-"
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    least = 10.0**-digits
    return f"{min(max(100 * share, least), 100 - least):.{digits}f} %"


def move(size: float) -> str:
    """Give a volatility in percent, a dash where there is none; it may be above 100.

    >>> move(5.127), move(0.0312), move(float("nan"))
    ('512.7 %', '3.1 %', '-')
    """
    return "-" if math.isnan(size) else f"{100 * size:.1f} %"


def sample(flaws: Sequence[Finding], most: int) -> list[Finding]:
    """Give some of many findings: of each kind and series the largest first, kinds in turn."""
    by_kind = []
    for flaw in ORDER:
        of_kind = [f for f in flaws if f.flaw is flaw]
        ranks: dict[str, int] = {}
        ranked = []
        for f in of_kind:  # each series' are in the order of their size
            ranks[f.symbol] = ranks.get(f.symbol, 0) + 1
            ranked.append((ranks[f.symbol], f))
        by_kind.append([f for _, f in sorted(ranked, key=lambda entry: entry[0])])
    in_turn = [f for turn in zip_longest(*by_kind) for f in turn if f is not None]
    kept = in_turn[:most]
    return [f for flaw in ORDER for f in kept if f.flaw is flaw]


def _time(ns: int, form: str) -> str:
    return datetime.fromtimestamp(ns // NS_PER_S, UTC).strftime(form)
