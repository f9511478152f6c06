"""Play a market that never was: bars of thousands of symbols as a pure function of seed and time."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, AssetClass, Bool
from features.synthetic import intraday
from features.synthetic.block import VALUES, Grid, TapeBlock
from features.synthetic.draws import GROUP
from features.synthetic.hours import MINUTE_NS, NEW_YORK, Hours, day_of, hours, rows_of
from features.synthetic.intraday import CHUNK, WHOLE, Columns, GroupDay, MarketDay
from features.synthetic.names import names
from features.synthetic.seconds import seconds_of
from features.synthetic.shape import SHAPES, TapeShape
from features.synthetic.universe import CLASS_INDEX, traits
from features.synthetic.walk import Walk

K = TypeVar("K")
V = TypeVar("V")

FIRST_DAY = 18_262
"""2020-01-01, the day the walk starts; there are no bars before it."""

_FEW_SYMBOLS, _MANY_CHUNKS = 8, 8
"""Few symbols over many chunks are made without the rest of their group, which is not kept then."""


@dataclass(frozen=True, slots=True)
class TapeConfig:
    """What a tape plays.

    Attributes
    ----------
    asset_class
        The market.
    n_symbols
        Size of the universe; a smaller universe is the head of a larger one, bar for bar.
    seed
        Same seed, same bars.
    shape
        The numbers behind the bars; None = the class's own.
    first_day
        Days since 1970 of the first day with bars.
    """

    asset_class: AssetClass
    n_symbols: int
    seed: int = 7
    shape: TapeShape | None = None
    first_day: int = FIRST_DAY

    def __post_init__(self) -> None:
        if self.n_symbols < 1:
            raise ValueError(f"expected at least one symbol, was {self.n_symbols}")
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, was {self.seed}")


class Tape:
    """Give any minute of any day; asking in another order, or in another process, changes nothing.

    Keeps two days' compact state (8 bytes per minute and symbol) and the bars of three chunks. Not safe for threads.

    >>> tape = Tape(TapeConfig(AssetClass.CRYPTO, n_symbols=3))
    >>> minute = tape.minute(1_789_738_200 * 10**9)
    >>> tape.symbols[0], minute.present.tolist(), bool(minute.low[0, 0] <= minute.high[0, 0])
    ('BTC-USD', [[True, True, True]], True)
    """

    def __init__(self, config: TapeConfig) -> None:
        self.config = config
        self.shape = config.shape or SHAPES[config.asset_class]
        universe = names(config.asset_class, config.n_symbols)
        self.symbols: tuple[str, ...] = tuple(name for name, _ in universe)
        prices = np.array([price for _, price in universe], dtype=np.float64)
        self.traits = traits(config.asset_class, self.shape, config.seed, prices)
        self.class_index = CLASS_INDEX[config.asset_class]
        self._fractions: dict[int, float] = {}
        self._walks = [
            Walk(self.shape, t, self._key(g), config.first_day, self._day_fraction) for g, t in enumerate(self.traits)
        ]
        groups = len(self.traits)
        self._market_days: OrderedDict[int, MarketDay] = OrderedDict()
        self._group_days: OrderedDict[tuple[int, int], GroupDay] = OrderedDict()
        self._chunks: OrderedDict[tuple[int, int, int], tuple[F64, ...]] = OrderedDict()
        self._keep_days, self._keep_chunks = 2 * groups, max(3 * groups, 8)

    def day(self, day: int) -> TapeBlock:
        """Give the rows of one trading day (days since 1970): [T, N]; T = 0 where it is closed."""
        found = self.span(day)
        if found is None or day < self.config.first_day:
            return TapeBlock.empty(np.empty(0, dtype=np.int64), len(self.symbols))
        return self.block(found.start_ns, len(found.vol))

    def minute(self, ts_ns: int) -> TapeBlock:
        """Give the bars of the minute that contains a time: T = 1."""
        return self.block(ts_ns, 1)

    def seconds(self, ts_ns: int, columns: NDArray[np.intp] | None = None) -> TapeBlock:
        """Give the second bars [60, N] of the minute that contains a time; they add up to it exactly."""
        return seconds_of(self, self.config.seed, self.class_index, ts_ns, columns)

    @property
    def grid(self) -> Grid:
        """Steps of price and volume, [N] each."""
        ticks, lots = (np.concatenate([getattr(t.grid, name) for t in self.traits]) for name in ("ticks", "lots"))
        return Grid(ticks, lots).take(slice(0, len(self.symbols)))

    @property
    def usual_move(self) -> F64:
        """[N] sd of a symbol's log move in a usual minute of its day."""
        _, opens, closes, _ = NEW_YORK.get(self.config.asset_class, (0, 0, 1440, 1440))
        share = np.sqrt((1 - self.shape.overnight_share) / (closes - opens))
        daily: F64 = np.concatenate([t.daily_vol for t in self.traits])[: len(self.symbols)] * share
        return daily.astype(np.float64)

    @property
    def is_thin(self) -> Bool:
        """[N] whether a symbol misses minutes."""
        joined: Bool = np.concatenate([t.is_thin for t in self.traits])[: len(self.symbols)]
        return joined

    def block(self, start_ns: int, n_minutes: int, columns: NDArray[np.intp] | None = None) -> TapeBlock:
        """Give `n_minutes` consecutive minutes from the one that contains `start_ns` on: [T, N].

        With `columns` only these symbols (their numbers): the cost is that of their groups of 256.
        """
        wanted = np.arange(len(self.symbols)) if columns is None else np.asarray(columns, dtype=np.intp)
        first = start_ns // MINUTE_NS * MINUTE_NS
        ts: I64 = first + MINUTE_NS * np.arange(n_minutes, dtype=np.int64)
        out = TapeBlock.empty(ts, len(wanted))
        end = first + n_minutes * MINUTE_NS
        config = self.config
        days = range(day_of(config.asset_class, first), day_of(config.asset_class, end - 1) + 1)
        for day in days:
            found = self.span(day)
            if found is not None and day >= config.first_day:
                self._fill(out, wanted, day, found)
        if config.asset_class is AssetClass.INDICES:
            nothing = np.full_like(out.close, np.nan)
            out = replace(out, volume=nothing, vwap=nothing, trades=nothing)
        return out

    def _fill(self, out: TapeBlock, wanted: NDArray[np.intp], day: int, found: Hours) -> None:
        """Write a day's part of a block, chunk by chunk and group by group."""
        low = max(int(out.ts[0] - found.start_ns) // MINUTE_NS, 0)
        high = min(int(out.ts[-1] - found.start_ns) // MINUTE_NS + 1, len(found.vol))
        shift = int(found.start_ns - out.ts[0]) // MINUTE_NS
        for group, at, chunks in _pieces(wanted, range(low // CHUNK, -(-high // CHUNK) if high > low else 0)):
            inside = wanted[at] - group * GROUP
            of: Columns = WHOLE if len(chunks) > 1 else _as_slice(inside)
            if len(chunks) > 1:
                made = self._few(day, found, group, chunks, inside)
            else:
                made = self._chunk(day, found, group, chunks)
            first = chunks.start * CHUNK
            a, b = max(low, first), min(high, chunks.stop * CHUNK)
            # Whole ranges are copied as slices: fancy indexing of 11,000 columns is slow.
            to = _as_slice(at)
            for name, column in zip(VALUES, made, strict=True):
                getattr(out, name)[a + shift : b + shift, to] = column[a - first : b - first, of]

    def _chunk(self, day: int, found: Hours, group: int, chunks: range) -> tuple[F64, ...]:
        """Give one chunk of a whole group."""
        return _cached(
            self._chunks,
            (day, group, chunks.start),
            self._keep_chunks,
            lambda: intraday.bars(
                self.shape,
                self._key(group),
                day,
                found,
                self.traits[group],
                self._group_day(day, found, group),
                chunks,
            ),
        )

    def _few(self, day: int, found: Hours, group: int, chunks: range, columns: NDArray[np.intp]) -> tuple[F64, ...]:
        """Give many chunks of a few of a group's symbols; nothing of it is kept."""
        whole = self._group_days.get((day, group))
        mine = self._make_day(day, found, group, columns) if whole is None else whole.take(columns)
        return intraday.bars(self.shape, self._key(group), day, found, self.traits[group], mine, chunks, columns)

    def _group_day(self, day: int, found: Hours, group: int) -> GroupDay:
        return _cached(
            self._group_days, (day, group), self._keep_days, lambda: self._make_day(day, found, group, WHOLE)
        )

    def _make_day(self, day: int, found: Hours, group: int, columns: Columns) -> GroupDay:
        state, market = self._walks[group].day(day), self._market_day(day)
        return intraday.group_day(self.shape, self._key(group), day, found, self.traits[group], state, market, columns)

    def _market_day(self, day: int) -> MarketDay:
        rows = rows_of(self.config.asset_class)
        return _cached(
            self._market_days,
            day,
            4,
            lambda: intraday.market_day(self.shape, self.config.seed, self.class_index, day, rows),
        )

    def _key(self, group: int) -> tuple[int, int, int]:
        return self.config.seed, self.class_index, group

    def span(self, day: int) -> Hours | None:
        """Give the minutes of a trading day, None where it is closed."""
        return hours(self.config.asset_class, day, self.shape)

    def _day_fraction(self, day: int) -> float:
        """Give a day's share of a full day's variance."""
        fraction = self._fractions.get(day)
        if fraction is None:
            found = self.span(day)
            fraction = 0.0 if found is None else float(np.sum(found.vol.astype(np.float64) ** 2))
            self._fractions[day] = fraction
        return fraction


def _pieces(wanted: NDArray[np.intp], chunks: range) -> Iterator[tuple[int, NDArray[np.intp], range]]:
    """Cut a span of symbols and chunks into what is made together: a group, where its symbols go, which chunks."""
    group_of = wanted // GROUP
    at_of = [(int(g), np.flatnonzero(group_of == g)) for g in np.unique(group_of)]
    few = {g for g, at in at_of if len(at) <= _FEW_SYMBOLS and len(chunks) >= _MANY_CHUNKS}
    yield from ((g, at, chunks) for g, at in at_of if g in few)
    for chunk in chunks:
        yield from ((g, at, range(chunk, chunk + 1)) for g, at in at_of if g not in few)


def _as_slice(numbers: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    first, n = int(numbers[0]), len(numbers)
    consecutive = int(numbers[-1]) == first + n - 1 and bool(np.all(np.diff(numbers) == 1))
    return slice(first, first + n) if consecutive else numbers


def _cached(cache: OrderedDict[K, V], key: K, keep: int, make: Callable[[], V]) -> V:
    """Give a cached value, made if need be; the least recently used beyond `keep` are dropped."""
    found = cache.get(key)
    if found is None:
        found = make()
        cache[key] = found
        while len(cache) > keep:
            cache.popitem(last=False)
    else:
        cache.move_to_end(key)
    return found
