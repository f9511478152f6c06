"""Walk the days: each symbol's price level and volatility from session to session, from a fixed first day."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.synthetic.draws import GROUP, Purpose, fat, generator, normal
from features.synthetic.shape import TapeShape
from features.synthetic.universe import Traits

F32 = NDArray[np.float32]

BLOCK = 64
"""Days drawn together."""


@dataclass(frozen=True, slots=True)
class DayState:
    """What one day sets for the symbols of a group, [GROUP] each.

    Attributes
    ----------
    open_level, close_level
        Log price over base price at the start and the end of the day's rows.
    vol, next_vol
        Log volatility at the start of the day and of the next one.
    activity
        Log activity of the day.
    """

    open_level: F32
    close_level: F32
    vol: F32
    next_vol: F32
    activity: F32

    def take(self, columns: NDArray[np.intp]) -> "DayState":
        """Give the state of some symbols of the group."""
        return DayState(*(getattr(self, f.name)[columns] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class _State:
    level: F32
    vol: F32


@dataclass(frozen=True, slots=True)
class _Block:
    """Arrays [BLOCK, GROUP]; `vol` has one row more."""

    opens: F32
    closes: F32
    vol: F32
    activity: F32


class Walk:
    """The days of one group. Any day gives the same state whatever was asked before.

    States at the start of every block are kept (they are small), blocks themselves only the last few.

    Parameters
    ----------
    day_fraction
        Gives a day's share of a full day's variance: 0 = closed.
    """

    def __init__(
        self,
        shape: TapeShape,
        traits: Traits,
        key: tuple[int, int, int],
        first_day: int,
        day_fraction: Callable[[int], float],
        keep: int = 3,
    ) -> None:
        self._shape, self._traits, self._key = shape, traits, key
        self._first_day, self._day_fraction, self._keep = first_day, day_fraction, keep
        zero = np.zeros(GROUP, dtype=np.float32)
        self._starts = [_State(zero, zero)]
        self._blocks: OrderedDict[int, _Block] = OrderedDict()

    def day(self, day: int) -> DayState:
        """Give a day's state."""
        if day < self._first_day:
            raise ValueError(f"expected a day from {self._first_day} on, was {day}")
        number, row = divmod(day - self._first_day, BLOCK)
        block = self._block(number)
        return DayState(block.opens[row], block.closes[row], block.vol[row], block.vol[row + 1], block.activity[row])

    def _block(self, number: int) -> _Block:
        found = self._blocks.get(number)
        if found is None:
            # Starts are only known in order: walk up to the block asked for.
            for n in range(min(number, len(self._starts) - 1), number + 1):
                found = self._walk(n)
            assert found is not None
            self._blocks[number] = found
            while len(self._blocks) > self._keep:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return found

    def _walk(self, number: int) -> _Block:
        shape, first = self._shape, self._first_day + number * BLOCK
        gap, move, vol_noise, activity = self._draw(number)
        vol = np.empty((BLOCK + 1, GROUP), dtype=np.float32)
        vol[0] = self._starts[number].vol
        phi = np.float32(shape.day_vol_persistence)
        vol_noise *= np.float32(shape.day_vol_size * np.sqrt(1 - shape.day_vol_persistence**2))
        for row in range(BLOCK):
            vol[row + 1] = phi * vol[row] + vol_noise[row]

        scale = self._traits.daily_vol * np.exp(vol[:-1])
        fraction = np.array([self._day_fraction(first + row) for row in range(BLOCK)])
        gap *= scale * (np.sqrt(shape.overnight_share) * (fraction > 0))[:, None].astype(np.float32)
        move *= scale * np.sqrt((1 - shape.overnight_share) * fraction)[:, None].astype(np.float32)
        pull = np.where(fraction > 0, 1 - 0.5 ** (1 / shape.reversion_days), 0.0).astype(np.float32)
        opens, closes = np.empty_like(gap), np.empty_like(gap)
        level = self._starts[number].level
        for row in range(BLOCK):
            opens[row] = level + gap[row]
            level = opens[row] + move[row] - pull[row] * level
            closes[row] = level
        if number + 1 == len(self._starts):
            self._starts.append(_State(level.copy(), vol[-1].copy()))
        return _Block(opens, closes, vol, activity)

    def _draw(self, number: int) -> tuple[F32, F32, F32, F32]:
        """Draw a block's overnight and daily moves, volatility noise and activity, [BLOCK, GROUP]."""
        seed, class_index, group = self._key
        shape, traits = self._shape, self._traits
        common = generator(seed, class_index, Purpose.MARKET_DAYS, number)
        market = fat(normal(common, 2, BLOCK), shape.market_tail_exponent)
        sectors = fat(normal(common, 2, BLOCK, shape.sectors), shape.market_tail_exponent)
        market_vol = normal(common, BLOCK)
        own = generator(seed, class_index, Purpose.SYMBOL_DAYS, number, group)
        moves = fat(normal(own, 2, BLOCK, GROUP), shape.tail_exponent)
        moves *= traits.own
        moves += traits.market * market[:, :, None] + traits.sector * sectors[:, :, traits.sector_of]
        # A calm or a nervous week is half the market's doing.
        vol = np.float32(np.sqrt(0.5)) * (normal(own, BLOCK, GROUP) + market_vol[:, None])
        activity = np.float32(shape.activity_day_size) * normal(own, BLOCK, GROUP)
        return moves[0], moves[1], vol, activity
