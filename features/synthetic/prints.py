"""Give the trades a bar may be made of: a pure function of the bar, so that any bars can be played as trades."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.market.bars import BarColumns
from features.market.types import F64, I64, Bool
from features.synthetic.chance import chance

MOST = 20
"""Trades of a bar at most."""
_TICKS_WITHOUT_TRADES = 4
"""Prints of a bar that counts none (an index)."""
_FINE = 1e8
"""Steps per unit of a volume that is not whole."""
_TIME, _PRICE, _SIZE = 1, 2, 3
"""What a chance is for."""


@dataclass(frozen=True, slots=True)
class Prints:
    """Prints as columns [M], by bar, then by time.

    Attributes
    ----------
    bar
        Number of the bar it belongs to.
    k
        Number of the print within its bar.
    ts
        UTC ns, within the bar's window.
    price, size
        Size NaN where the bar has no volume.
    """

    bar: NDArray[np.intp]
    k: NDArray[np.intp]
    ts: I64
    price: F64
    size: F64

    def __len__(self) -> int:
        return len(self.bar)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many prints a bar has, [N], which of them is its high and its low, and the way between."""

    n: NDArray[np.intp]
    high_at: NDArray[np.intp]
    low_at: NDArray[np.intp]
    knots: NDArray[np.intp]
    prices: F64


def prints_of(row: NDArray[np.intp], bars: BarColumns, length_ns: int, seed: int) -> Prints:
    """Give the prints of bars of one length, at most `MOST` a bar; `row` [N] tells symbols apart.

    First price is a bar's open, last its close, the extremes its high and low; sizes add up to its volume and
    their mean price is its vwap as near as their steps allow: whole ones where the volume is whole and enough. A
    bar has as many prints as it counts trades where that is at most `MOST` and enough to hold its prices. The same
    bar gives the same prints whatever is asked beside it.

    >>> bar = BarColumns(np.array([0]), *(np.array([x]) for x in (5.0, 7.0, 5.0, 6.0, 10.0, 6.4, 3.0)))
    >>> made = prints_of(np.array([0]), bar, 10**9, seed=7)
    >>> made.price, made.size, float(made.price @ made.size / made.size.sum())
    (array([5., 7., 6.]), array([2., 6., 2.]), 6.4)
    """
    needed = _needed(bars)
    units, per_unit = _units(bars.volume, needed)
    plan = _plan(bars, needed, units)
    bar = np.repeat(np.arange(len(plan.n)), plan.n)
    k = np.arange(len(bar)) - (np.cumsum(plan.n) - plan.n)[bar]
    keys = (seed, row[bar], bars.ts[bar], k)
    share = (k + chance(_TIME, *keys)) / plan.n[bar]
    ts: I64 = bars.ts[bar] + (share * length_ns).astype(np.int64)
    price = _prices(plan, bar, k, chance(_PRICE, *keys))
    size = _sizes(bars, plan, units, bar, price, -np.log1p(-chance(_SIZE, *keys))) / per_unit[bar]
    return Prints(bar, k, ts, price, size)


def _needed(bars: BarColumns) -> NDArray[np.intp]:
    """Give how many prints hold a bar's prices."""
    o, h, low, c = bars.open, bars.high, bars.low, bars.close
    return np.where(h == low, 1, 2 + (h > np.maximum(o, c)).astype(np.intp) + (low < np.minimum(o, c)))


def _units(volume: F64, needed: NDArray[np.intp]) -> tuple[F64, F64]:
    """Give volumes in steps, and the steps per unit; NaN where there is no volume."""
    is_whole = (volume == np.rint(volume)) & (volume >= needed)
    per_unit = np.where(is_whole, 1.0, _FINE)
    units: F64 = np.rint(volume * per_unit)
    return units, per_unit


def _plan(bars: BarColumns, needed: NDArray[np.intp], units: F64) -> _Plan:
    o, h, low, c = bars.open, bars.high, bars.low, bars.close
    has_high, has_low = h > np.maximum(o, c), low < np.minimum(o, c)
    wanted = np.where(np.isnan(bars.trades), _TICKS_WITHOUT_TRADES, np.rint(bars.trades))
    # No print without a size.
    wanted = np.fmin(np.clip(wanted, 1, MOST), np.where(np.isnan(units), MOST, units))
    n = np.maximum(wanted, needed).astype(np.intp)
    # A bar that rises sees its low first.
    rises = c >= o
    first, second = _chosen(n, rises, has_low, has_high), _chosen(n, ~rises, has_low, has_high)
    one = np.where(first, np.where(n == 3, 1, np.rint((n - 1) / 3)), 0).astype(np.intp)
    two = np.where(second, np.where(n == 3, 1, np.rint(2 * (n - 1) / 3)), n - 1).astype(np.intp)
    prices = np.stack([o, np.where(first, np.where(rises, low, h), o), np.where(second, np.where(rises, h, low), c), c])
    knots = np.stack([np.zeros_like(n), one, two, n - 1])
    low_at = np.where(has_low, np.where(rises, one, two), np.where(o <= c, 0, n - 1))
    high_at = np.where(has_high, np.where(rises, two, one), np.where(o >= c, 0, n - 1))
    return _Plan(n, high_at, low_at, knots, prices)


def _chosen(n: NDArray[np.intp], is_low: Bool, has_low: Bool, has_high: Bool) -> Bool:
    """Say whether a bar's way has a knot at this extreme: always with four prints, with three where it must."""
    return np.asarray((n >= 4) | ((n == 3) & np.where(is_low, has_low, has_high)))


def _prices(plan: _Plan, bar: NDArray[np.intp], k: NDArray[np.intp], u: F64) -> F64:
    """Go from knot to knot: a print between two has the price of either, the nearer more likely."""
    knots, prices = plan.knots[:, bar], plan.prices[:, bar]
    part = (k >= knots[1]).astype(np.intp) + (k >= knots[2])
    m = np.arange(len(bar))
    left, right = knots[part, m], knots[part + 1, m]
    near = (k - left) / np.maximum(right - left, 1)
    price: F64 = np.where(u < near, prices[part + 1, m], prices[part, m])
    return price


def _sizes(bars: BarColumns, plan: _Plan, units: F64, bar: NDArray[np.intp], price: F64, weight: F64) -> F64:
    """Split volumes, in steps: one step each, the rest by weights bent so that the mean price is the vwap."""
    n, first = plan.n, np.cumsum(plan.n) - plan.n
    if not len(bar):
        return weight
    rest = np.maximum(units - n, 0)
    share = weight / np.add.reduceat(weight, first)[bar]
    mean = np.add.reduceat(share * price, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        wished = (units * bars.vwap - np.add.reduceat(price, first)) / rest
        down = (mean - wished) / (mean - bars.low)
        up = (wished - mean) / (bars.high - mean)
    bend = np.nan_to_num(np.clip(np.where(wished < mean, down, up), 0, 1))
    share *= (1 - bend)[bar]
    share[first + np.where(wished < mean, plan.low_at, plan.high_at)] += bend
    running = np.cumsum(share)
    running -= (running[first] - share[first])[bar]
    steps = np.rint(running * rest[bar])
    steps[first + n - 1] = rest
    sizes: F64 = 1 + np.diff(steps, prepend=0.0)
    sizes[first] = 1 + steps[first]
    return sizes
