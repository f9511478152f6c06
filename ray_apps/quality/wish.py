"""Say which bars a person wants judged."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from features.market.calendar import Sessions
from features.market.quality.series import Frame, frame
from features.market.quality.splits import KnownSplits
from features.market.types import NS_PER_S, AssetClass
from ray_apps.errors import UsageError, UserError
from ray_apps.store.calendar import sessions

MOST_WINDOWS = 5_000_000
"""Of one series: 3.5 years of a round-the-clock market's minutes, 58 days of its seconds; about 1 GB while judged."""

_LENGTH = re.compile(r"([1-9]\d{0,4})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which bars, and what is known beside them.

    Attributes
    ----------
    symbols
        Only these; empty: all there are.
    from_ns, to_ns
        Half-open span, UTC ns; None: as far as bars go.
    bar_s
        Only bars of this length, seconds; None: of the one length there is.
    known
        Splits the vendor lists, by symbol.
    now_ns
        Bars that begin later cannot be, UTC ns.
    """

    asset_class: AssetClass
    symbols: tuple[str, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    bar_s: int | None = None
    known: Mapping[str, KnownSplits] = field(default_factory=dict)
    now_ns: int = field(default_factory=time.time_ns)

    def one_length(self, found: Mapping[int, str]) -> int:
        """Give the bar length to judge, of those found with an example each.

        Raises
        ------
        UserError
            When it is not among them, or there are several and none was asked for.
        """
        if self.bar_s is not None and self.bar_s in found:
            return self.bar_s
        said = ", ".join(f"{length(bar_s)} ({found[bar_s]})" for bar_s in sorted(found))
        if self.bar_s is not None:
            raise UserError(f"expected bars of {length(self.bar_s)}, was {said}")
        if len(found) > 1:
            raise UsageError(f"expected bars of one length, was {said}: choose one with --bar")
        return next(iter(found))

    def refuse_absent(self, there: Sequence[str], where: str) -> None:
        """Raise where a symbol asked for is not among those there."""
        absent = [name for name in self.symbols if name not in set(there)]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise UsageError(f"--symbols: expected symbols {where}, was {', '.join(absent[:3])}{more}")

    def empty(self) -> UserError:
        """Give the error of a span without bars."""
        since = "the first" if self.from_ns is None else said(self.from_ns)
        until = "the last" if self.to_ns is None else said(self.to_ns)
        return UserError(f"expected bars of {self.asset_class} from {since} to {until}, was none")


def framed(asset_class: AssetClass, bar_s: int, from_ns: int, to_ns: int, phase_ns: int = 0) -> Frame:
    """Give the frame of a half-open span.

    Raises
    ------
    UserError
        When it has more windows than can be judged at once.
    """
    n = n_windows(asset_class, bar_s, from_ns, to_ns)
    if n > MOST_WINDOWS:
        raise UserError(
            f"expected at most {MOST_WINDOWS:,} bars a symbol, was a span of {n:,}: shorten it (--from, --to)"
        )
    return frame(asset_class, sessions_of(asset_class, from_ns, to_ns), bar_s, (from_ns, to_ns), phase_ns)


def sessions_of(asset_class: AssetClass, from_ns: int, to_ns: int) -> Sessions:
    """Give the sessions of a span, and of a day on each side."""
    first, last = (datetime.fromtimestamp(ns // NS_PER_S, UTC).date() for ns in (from_ns, to_ns))
    return sessions(asset_class, first - timedelta(days=1), last + timedelta(days=1))


def n_windows(asset_class: AssetClass, bar_s: int, from_ns: int, to_ns: int) -> int:
    """Estimate how many windows of trading a span has."""
    n = (to_ns - from_ns) // (bar_s * NS_PER_S)
    return n * 390 * 5 // (1_440 * 7) if asset_class.has_sessions else n


def seconds(text: str) -> int:
    """Read a bar length.

    >>> seconds("5m"), seconds("1s")
    (300, 1)

    Raises
    ------
    UsageError
        When it is none.
    """
    found = _LENGTH.fullmatch(text)
    bar_s = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < bar_s <= _UNITS["d"]:
        raise UsageError(f"--bar: expected a length such as 5s, 1m, 1h or 1d, was {text!r}")
    return bar_s


def length(bar_s: int) -> str:
    """Say a bar length.

    >>> length(60), length(3_600), length(90)
    ('1m', '1h', '90s')
    """
    unit, size = max(((u, n) for u, n in _UNITS.items() if bar_s % n == 0), key=lambda pair: pair[1])
    return f"{bar_s // size}{unit}"


def said(ns: int) -> str:
    """Say an instant to the minute.

    >>> said(1_789_738_200_000_000_000)
    '2026-09-18 13:30 UTC'
    """
    return datetime.fromtimestamp(ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M UTC")
