"""Say the price bands of stocks, and when one is halted (LULD)."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.market.types import NS_PER_S
from ray_apps.simulator.sources import Bars
from ray_apps.simulator.tickwire import Said
from ray_apps.simulator.truth import Truth

_EVERY_NS = 30 * NS_PER_S
_WIDE, _NARROW, _CHEAP = 0.20, 0.05, 3.0
"""Half widths of the bands below and from three dollars on (the plan's first tier, without its doubled hours)."""
BAND, PAUSED, RESUMED = 21, 17, 18
"""Indicators. The vendor lists no meanings of its numbers; 21 was seen with plain bands, the others are ours."""
_LOOK_BACK_NS = 4 * 86_400 * NS_PER_S
_PER_SECOND, _DAY_NS = 64, 86_400 * NS_PER_S


class LimitEvent(msgspec.Struct, gc=False):
    """LULD: the symbol is in `T`, `t` is in ns."""

    ev: str
    T: str
    h: float
    l: float  # noqa: E741  (the vendor's name)
    i: list[int]
    z: int
    t: int
    q: int


def say_limits(truth: Truth, bars: Bars, start_ns: int, step_ns: int) -> Said:
    """Give the events of a window: bands twice a minute of what trades in regular hours, pauses when they come."""
    found: list[tuple[int, int, float, int]] = []
    if start_ns % _EVERY_NS == 0 and truth.regular(start_ns):
        found += [
            (row, start_ns, price, BAND) for row, price in zip(bars.row.tolist(), bars.open.tolist(), strict=True)
        ]
    for pause in truth.pauses(start_ns, start_ns + step_ns):
        price = _last_price(truth, pause.row, pause.start_ns)
        for at, indicator in ((pause.start_ns, PAUSED), (pause.end_ns, RESUMED)):
            if price is not None and start_ns <= at < start_ns + step_ns:
                found.append((pause.row, at, price, indicator))
    found.sort(key=lambda event: event[1])
    events = [_event(truth.symbols[row], row, at, price, indicator) for row, at, price, indicator in found]
    rows: NDArray[np.intp] = np.array([event[0] for event in found], np.intp)
    return Said(rows, np.array([event[1] for event in found], np.int64), events)


def _event(name: str, row: int, at_ns: int, price: float, indicator: int) -> bytes:
    half = _NARROW if price >= _CHEAP else _WIDE
    high, low = round(price * (1 + half), 2), round(price * (1 - half), 2)
    number = at_ns % _DAY_NS // NS_PER_S * _PER_SECOND
    return msgspec.json.encode(LimitEvent("LULD", name, high, low, [indicator], row % 3 + 1, at_ns, number))


def _last_price(truth: Truth, row: int, before_ns: int) -> float | None:
    found = truth.history(row, max(truth.lengths_s), before_ns - _LOOK_BACK_NS, before_ns).close
    return float(found[-1]) if len(found) else None
