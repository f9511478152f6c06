"""Put anomalies into bars at known places; each changes bars of a known span and nothing after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, NS_PER_MS
from features.synthetic.block import VALUES, Grid, TapeBlock
from features.synthetic.hours import MINUTE_NS

RECOVERY = 60
"""Minutes in which a price that was moved drifts back: a sixtieth of the move a minute goes unnoticed."""
ACTIVITY_RECOVERY = 30
_ACTIVITY_HALF_LIFE = 5.0
EVERY_SYMBOL = "*"


class InjectionKind(StrEnum):
    """What is put in; named as the kind that should be called, or the fault it is."""

    BURST_UP = "burst_up"
    BURST_DOWN = "burst_down"
    VOLUME_SPIKE = "volume_spike"
    PRICE_MOVE = "price_move"
    VOLATILITY_SPIKE = "volatility_spike"
    MARKET_SHOCK = "market_shock"
    DECIMAL_SLIP = "decimal_slip"
    FLAT_FEED = "flat_feed"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Injection:
    """One anomaly.

    Attributes
    ----------
    kind
        What.
    symbol, column
        Whose, and its column in the block; "*" and -1 = everybody's.
    start_ns, minutes
        When: start of the first window, and how many.
    size
        Log price move reached at the end (bursts, moves, shocks: signed; a halt's is the jump after it);
        sd of a minute's extra log move (volatility_spike); factor on prices (decimal_slip). Else unused.
    activity
        Factor on volume and trades.
    """

    kind: InjectionKind
    symbol: str
    column: int
    start_ns: int
    minutes: int
    size: float
    activity: float = 1.0

    def __post_init__(self) -> None:
        if self.minutes < 1:
            raise ValueError(f"expected at least one minute, was {self.minutes}")
        if self.start_ns % MINUTE_NS:
            raise ValueError(f"expected a start on a whole minute, was {self.start_ns} ns")
        if not np.isfinite(self.size) or not self.activity > 0:
            raise ValueError(f"expected a finite size and activity > 0, was {self.size}, {self.activity}")

    @property
    def end_ns(self) -> int:
        """First instant after the anomaly itself."""
        return self.start_ns + self.minutes * MINUTE_NS

    @property
    def over_ns(self) -> int:
        """First instant from which no bar is changed."""
        return self.end_ns + RECOVERY * MINUTE_NS


@dataclass(frozen=True, slots=True)
class Label:
    """The truth about one injection, as a row of a label file: times in Unix ms, end exclusive."""

    symbol: str
    kind: str
    start_ms: int
    end_ms: int
    size: float


def label(injection: Injection) -> Label:
    """Give an injection's label."""
    start_ms, end_ms = injection.start_ns // NS_PER_MS, injection.end_ns // NS_PER_MS
    return Label(injection.symbol, str(injection.kind), start_ms, end_ms, injection.size)


def inject(
    block: TapeBlock,
    injections: Sequence[Injection],
    grid: Grid,
    anchors: Mapping[Injection, float] | None = None,
) -> tuple[TapeBlock, list[Label]]:
    """Give a block of minutes with the injections in it, and the labels of those that fall into it.

    A minute without a bar stays without one. `anchors` gives the price a flat feed froze at where it began
    before the block.

    >>> columns = (np.full((2, 1), x) for x in (10., 10., 10., 10., 5., 10., 5.))
    >>> flat = TapeBlock(MINUTE_NS * np.arange(2), *columns)
    >>> move = Injection(InjectionKind.BURST_UP, "A", 0, start_ns=0, minutes=2, size=0.02, activity=10)
    >>> played, labels = inject(flat, [move], Grid(np.array([100.0]), np.array([1.0])))
    >>> played.close[:, 0], played.trades[:, 0], len(labels)
    (array([10.1, 10.2]), array([50., 50.]), 1)
    """
    touching = [i for i in injections if _touches(i, block)]
    if not touching:
        return block, []
    out = block.copy()
    for injection in touching:
        _put(out, injection, grid, (anchors or {}).get(injection))
    return out, [label(i) for i in touching if _begins_in(i, block)]


def _touches(injection: Injection, block: TapeBlock) -> bool:
    if not len(block):
        return False
    return injection.start_ns <= int(block.ts[-1]) and int(block.ts[0]) < injection.over_ns


def _begins_in(injection: Injection, block: TapeBlock) -> bool:
    return int(block.ts[0]) <= injection.start_ns <= int(block.ts[-1])


def _put(out: TapeBlock, injection: Injection, grid: Grid, anchor: float | None) -> None:
    """Change a block in place."""
    step = (out.ts - injection.start_ns) // MINUTE_NS
    rows = np.flatnonzero((step >= 0) & (step < injection.minutes + RECOVERY))
    k = step[rows]
    inside = k < injection.minutes
    columns = slice(None) if injection.column < 0 else slice(injection.column, injection.column + 1)
    grid = grid.take(columns)
    part = {name: getattr(out, name)[rows, columns] for name in VALUES}
    match injection.kind:
        case InjectionKind.DECIMAL_SLIP:
            for name in ("open", "high", "low", "close", "vwap"):
                part[name][inside] = _to_tick(part[name][inside] * injection.size, grid.ticks)
        case InjectionKind.FLAT_FEED:
            _freeze(part, inside, anchor)
        case _:
            before, after = _moves(injection, k, len(grid.ticks))
            _shift(part, before, after, grid.ticks)
            _multiply(part, _activity(injection, k), grid.lots)
            if injection.kind is InjectionKind.HALT:
                for column in part.values():
                    column[inside] = np.nan
    for name, column in part.items():
        getattr(out, name)[rows, columns] = column


def _moves(injection: Injection, k: NDArray[np.int64], n: int) -> tuple[F64, F64]:
    """Give the extra log price before and after minutes k of an injection: [T, N] each."""
    m = injection.minutes
    steps = np.arange(-1, m + RECOVERY)
    match injection.kind:
        case InjectionKind.HALT:
            rise = (steps >= m).astype(np.float64)
        case InjectionKind.VOLATILITY_SPIKE:
            rise = np.zeros(len(steps))
            # A walk that comes back to zero; keyed by time and symbol alone, so any block sees the same.
            rng = np.random.default_rng((injection.start_ns // MINUTE_NS, *injection.symbol.encode()))
            walk = np.cumsum(rng.standard_normal(m))
            rise[1 : m + 1] = walk - walk[-1] * np.arange(1, m + 1) / m
        case InjectionKind.VOLUME_SPIKE:
            rise = np.zeros(len(steps))
        case _:
            rise = np.clip((steps + 1) / m, 0, 1)
    fade = np.clip((m + RECOVERY - 1 - steps) / RECOVERY, 0, 1)
    path = injection.size * rise * np.where(steps >= m, fade, 1)
    # In a shock symbols differ in how hard they are hit.
    weight = np.ones(n)
    if injection.kind is InjectionKind.MARKET_SHOCK:
        weight = np.random.default_rng(injection.start_ns // MINUTE_NS).uniform(0.5, 1.5, n)
    return path[k][:, None] * weight, path[k + 1][:, None] * weight


def _activity(injection: Injection, k: NDArray[np.int64]) -> F64:
    """Give the factor on activity in minutes k: [T, 1]."""
    since = np.maximum(k - injection.minutes + 1, 0)
    fade = np.where(since < ACTIVITY_RECOVERY, 0.5 ** (since / _ACTIVITY_HALF_LIFE), 0)
    return np.asarray(1 + (injection.activity - 1) * fade, dtype=np.float64)[:, None]


def _to_tick(price: F64, ticks: F64) -> F64:
    return np.maximum(np.rint(price * ticks), 1) / ticks


def _shift(part: dict[str, F64], before: F64, after: F64, ticks: F64) -> None:
    """Move open by `before` and close by `after`; wicks and the average's place in the range stay."""
    opens, highs, lows, closes = (part[name] for name in ("open", "high", "low", "close"))
    upper, lower = highs / np.maximum(opens, closes), lows / np.minimum(opens, closes)
    span = highs - lows
    place = np.where(span > 0, (part["vwap"] - lows) / np.where(span > 0, span, 1), 0.5)
    moved = (before != 0) | (after != 0)
    new_open, new_close = _to_tick(opens * np.exp(before), ticks), _to_tick(closes * np.exp(after), ticks)
    new_high = _to_tick(np.maximum(new_open, new_close) * upper, ticks)
    new_low = _to_tick(np.minimum(new_open, new_close) * lower, ticks)
    fine = 100 * ticks
    vwap = np.clip(np.rint((new_low + place * (new_high - new_low)) * fine) / fine, new_low, new_high)
    new = {"open": new_open, "high": new_high, "low": new_low, "close": new_close, "vwap": vwap}
    for name, column in new.items():
        part[name] = np.where(moved, column, part[name])


def _multiply(part: dict[str, F64], factor: F64, lots: F64) -> None:
    trades = np.rint(part["trades"] * factor)
    volume = np.maximum(np.rint(part["volume"] * factor * lots), trades) / lots
    part["trades"] = np.where(factor == 1, part["trades"], np.maximum(trades, 1))
    part["volume"] = np.where(factor == 1, part["volume"], volume)


def _freeze(part: dict[str, F64], inside: NDArray[np.bool_], anchor: float | None) -> None:
    """Hold every price at the anchor, else at the first open of the block's part."""
    opens = part["open"][inside]
    if anchor is None:
        known = opens[~np.isnan(opens)]
        if not len(known):
            return
        anchor = float(known[0])
    for name in ("open", "high", "low", "close", "vwap"):
        part[name][inside] = np.where(np.isnan(part[name][inside]), np.nan, anchor)
