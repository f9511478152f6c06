"""Fill a day: minute moves of a group of symbols, bridged to the day's total, and the bars they make."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from features.market.types import F64
from features.synthetic.draws import GROUP, Purpose, autoregress, fat, generator, land, normal
from features.synthetic.hours import Hours
from features.synthetic.shape import TapeShape
from features.synthetic.universe import Traits
from features.synthetic.walk import DayState

Columns = NDArray[np.intp] | slice
T = TypeVar("T", Traits, DayState)
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]

WHOLE = slice(None)
"""All symbols of a group."""

CHUNK = 15
"""Minutes whose bars are made together; divides every class's day."""

_MOST_JUMP = np.float32(40.0)
"""Bound of a minute's change of log volatility, in its sd; as below."""

_MOST_MOVE = np.float32(60.0)
"""Bound of a minute's own move, in its sd: a power law alone loses a company in one of 10^7 minutes."""

_MOST_ACTIVITY = np.float32(7.0)
"""Bound of log activity over the day's level, a thousandfold: a power law in the exponent knows none itself."""

_USUAL_MOVE = np.float32(0.5)
"""Mean of log(1 + (move / sd)^2): what a usual minute's move adds is no noise, so quiet hours do not widen it."""


@dataclass(frozen=True, slots=True)
class MarketDay:
    """What all symbols share in a day.

    Attributes
    ----------
    market
        [T] moves of the market, unit variance, its own volatility included.
    sectors
        [T, sectors] the same of the sectors.
    log_vol
        [T] the market's log volatility.
    """

    market: F32
    sectors: F32
    log_vol: F32


@dataclass(frozen=True, slots=True)
class GroupDay:
    """The compact state of a group's day, from which any chunk of bars is made; 8 bytes a bar.

    Attributes
    ----------
    path
        [T, GROUP] log price at each minute's end over the day's start.
    log_vol
        [T, GROUP] log of a minute's sd over its usual value for this symbol and time of day.
    activity
        [T, GROUP] log activity over its usual value, from the persistent noise alone.
    usual
        [GROUP] sd of a minute of relative volatility 1.
    open_level
        [GROUP] log price over base price at the start.
    """

    path: F32
    log_vol: F16
    activity: F16
    usual: F32
    open_level: F32

    def take(self, columns: NDArray[np.intp]) -> "GroupDay":
        """Give the day of some symbols of the group."""
        return GroupDay(
            np.ascontiguousarray(self.path[:, columns]),
            self.log_vol[:, columns],
            self.activity[:, columns],
            self.usual[columns],
            self.open_level[columns],
        )


def market_day(shape: TapeShape, seed: int, class_index: int, day: int, rows: int) -> MarketDay:
    """Give the day of the market and its sectors."""
    rng, start, end = _edges(shape, seed, class_index, Purpose.MARKET_MINUTES, day, 1)
    log_vol = autoregress(normal(rng, rows, 1), start[0], shape.vol_persistence, shape.market_vol_size)
    land(log_vol, end[0] * np.float32(shape.market_vol_size), shape.vol_persistence)
    market = fat(normal(rng, rows, 1), shape.market_tail_exponent)
    sectors = fat(normal(rng, rows, shape.sectors), shape.market_tail_exponent)
    return MarketDay(market[:, 0], sectors, log_vol[:, 0])


def group_day(
    shape: TapeShape,
    key: tuple[int, int, int],
    day: int,
    hours: Hours,
    traits: Traits,
    state: DayState,
    market: MarketDay,
    columns: Columns = WHOLE,
) -> GroupDay:
    """Give a group's day, or that of some of its symbols. key = (seed, class index, group).

    Numbers are drawn for the whole group whatever the columns: they do not change a symbol's bars.
    """
    rows = len(hours.vol)
    traits, state = _of(traits, columns), _of(state, columns)
    rng, start, end = _edges(shape, *key[:2], Purpose.SYMBOL_MINUTES, day, GROUP, key[2])
    start, end = start[:, columns], end[:, columns]
    innovations = fat(_drawn(rng, rows, columns), shape.vol_tail_exponent)
    innovations = np.clip(innovations, -_MOST_JUMP, _MOST_JUMP)
    log_vol = autoregress(innovations, start[0], shape.vol_persistence, shape.vol_size)
    land(log_vol, end[0] * np.float32(shape.vol_size), shape.vol_persistence)
    moves = np.clip(fat(_drawn(rng, rows, columns), shape.tail_exponent), -_MOST_MOVE, _MOST_MOVE)
    moves *= traits.own
    moves += traits.market * market.market[:, None]
    moves += traits.sector * market.sectors[:, traits.sector_of]

    log_vol += market.log_vol[:, None]
    # From this day's volatility to the next one's, and less the excess of E exp(2h) over 1.
    ramp = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    log_vol += state.vol + ramp * (state.next_vol - state.vol)
    log_vol -= np.float32(shape.vol_size**2 + shape.market_vol_size**2 + shape.day_vol_size**2)
    usual = traits.daily_vol * np.float32(np.sqrt(1 - shape.overnight_share))
    moves *= np.exp(log_vol)
    moves *= usual
    moves *= hours.vol[:, None]

    path = np.cumsum(moves, axis=0, dtype=np.float32)
    weight = np.cumsum(hours.vol.astype(np.float64) ** 2)
    weight /= weight[-1]
    total = state.close_level - state.open_level
    path += weight.astype(np.float32)[:, None] * (total - path[-1])

    activity = autoregress(_drawn(rng, rows, columns), start[1], shape.activity_persistence, shape.activity_size)
    land(activity, end[1] * np.float32(shape.activity_size), shape.activity_persistence)
    activity += state.activity
    return GroupDay(path, log_vol.astype(np.float16), activity.astype(np.float16), usual, state.open_level)


def _edges(
    shape: TapeShape, seed: int, class_index: int, purpose: Purpose, day: int, width: int, *group: int
) -> tuple[np.random.Generator, F32, F32]:
    """Give a day's generator and the volatility and activity it starts and ends with, in sd: [2, width] each.

    The end is the next day's start, so that nothing jumps at midnight.
    """
    rng = generator(seed, class_index, purpose, day, *group)
    start = normal(rng, 2, width)
    end = normal(generator(seed, class_index, purpose, day + 1, *group), 2, width)
    return rng, start, end


def bars(
    shape: TapeShape,
    key: tuple[int, int, int],
    day: int,
    hours: Hours,
    traits: Traits,
    group: GroupDay,
    chunks: range,
    columns: Columns = WHOLE,
) -> tuple[F64, ...]:
    """Give the bars of consecutive chunks of a group's day, columns [CHUNK n, GROUP] in the order of VALUES.

    With `columns` those of some symbols of the group only, whose day `group` is.
    """
    rows = slice(chunks.start * CHUNK, chunks.stop * CHUNK)
    traits = _of(traits, columns)
    z, u = _draws(key, day, chunks, columns)

    before = np.zeros_like(group.path[rows])
    before[1:] = group.path[rows][:-1]
    if chunks.start:
        before[0] = group.path[rows.start - 1]
    log_vol = group.log_vol[rows].astype(np.float32)
    sd = group.usual * hours.vol[rows, None] * np.exp(log_vol)
    is_open = hours.is_open[rows, None]
    move = group.path[rows] - before
    sigmas = np.abs(move) / np.where(sd > 0, sd, 1)

    noise = np.float32(shape.activity_noise) * fat(z[0], shape.activity_tail_exponent)
    noise += group.activity[rows]
    noise += np.float32(shape.activity_vol_coupling) * log_vol
    noise += np.float32(shape.activity_return_coupling) * (np.log1p(np.square(sigmas)) - _USUAL_MOVE)
    level = hours.activity[rows, None] + hours.spread[rows, None] * noise
    level += np.float32(shape.activity_return_coupling) * _USUAL_MOVE
    expected = traits.activity + np.minimum(level, _MOST_ACTIVITY)
    # sqrt of a Poisson number is near normal with sd 1/2 (Anscombe 1948), down to the share of zeros.
    root = np.maximum(np.exp(0.5 * expected) + 0.5 * z[1], 0)
    trades = np.where(is_open, np.rint(root * root), 0).astype(np.float64)

    with np.errstate(invalid="ignore", divide="ignore"):
        prices = _prices(shape, traits, group, rows, before, sd, trades, z[2], u)
    size = traits.trade_size + np.float32(shape.trade_size_noise) * z[3] / np.sqrt(np.maximum(trades, 1))
    volume = trades * np.exp(size.astype(np.float64))
    lots = traits.grid.lots
    volume = np.maximum(np.rint(volume * lots), trades) / lots

    opens, highs, lows, closes = prices
    middle = 0.25 * (opens + highs + lows + closes) + 0.1 * z[4] * (highs - lows)
    # Two figures finer than a tick; clipping keeps it inside the bar whatever the rounding does.
    fine = 100 * traits.grid.ticks
    vwap = np.clip(np.rint(middle * fine) / fine, lows, highs)
    made = (opens, highs, lows, closes, volume, vwap, trades)
    for column in made:
        column[trades == 0] = np.nan
    return made


def _draws(key: tuple[int, int, int], day: int, chunks: range, columns: Columns) -> tuple[F32, F32]:
    """Give a span's normal and uniform numbers, [5, T, n] and [6, T, n]; each chunk has a generator of its own."""
    z, u = [], []
    for chunk in chunks:
        rng = generator(*key[:2], Purpose.BARS, day, key[2], chunk)
        z.append(normal(rng, 5, CHUNK, GROUP)[:, :, columns])
        u.append(rng.random((6, CHUNK, GROUP), dtype=np.float32)[:, :, columns])
    return (z[0], u[0]) if len(chunks) == 1 else (np.concatenate(z, axis=1), np.concatenate(u, axis=1))


def _drawn(rng: np.random.Generator, rows: int, columns: Columns) -> F32:
    """Draw a group's normal numbers and give some of them, [rows, n]."""
    return np.ascontiguousarray(normal(rng, rows, GROUP)[:, columns])


def _of(whole: T, columns: Columns) -> T:
    """Give what some symbols have of a group's."""
    return whole if isinstance(columns, slice) else whole.take(columns)


def _prices(
    shape: TapeShape,
    traits: Traits,
    group: GroupDay,
    rows: slice,
    before: F32,
    sd: F32,
    trades: F64,
    z: F32,
    u: F32,
) -> tuple[F64, F64, F64, F64]:
    """Give open, high, low and close on the symbol's ticks.

    Between open 0 and close r a Brownian path of variance s^2 has the maximum
    (r + sqrt(r^2 - 2 s^2 ln u)) / 2; few trades see only part of it, one trade none.
    """
    last = group.path[rows]
    first = before + np.float32(shape.open_noise) * sd * z
    first = np.where(trades == 1, last, first)
    r = last - first
    seen = np.sqrt(np.maximum(1 - 2 / np.maximum(trades, 1), 0)).astype(np.float32)
    inner = np.float32(shape.wick) * sd + np.float32(shape.wick_coupling) * np.abs(r)
    spread = np.square(inner) * np.float32(-2) * np.log1p(-u[:2])
    reach = 0.5 * (np.sqrt(np.square(r) + spread) - np.abs(r)) * seen
    base = traits.price * np.exp(group.open_level.astype(np.float64))
    up, down = np.maximum(first, last) + reach[0], np.minimum(first, last) - reach[1]
    # A price between two ticks prints at either, the nearer more often; the dithers of n trades reach u^(1/n).
    n = np.maximum(trades, 1)
    dithers = (u[2], u[3] ** (1 / n), 1 - u[4] ** (1 / n), np.where(trades == 1, u[2], u[5]))
    opens, highs, lows, closes = (
        np.maximum(np.floor(base * np.exp(x.astype(np.float64)) * traits.grid.ticks + dither), 1) / traits.grid.ticks
        for x, dither in zip((first, up, down, last), dithers, strict=True)
    )
    one = trades == 1
    highs = np.where(one, closes, np.maximum(highs, np.maximum(opens, closes)))
    lows = np.where(one, closes, np.minimum(lows, np.minimum(opens, closes)))
    return opens, highs, lows, closes
