"""Decide when each bar of a window goes out, and in what shape: the vendor's spread of delays, and faults."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.market.types import F64, I64, NS_PER_S
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.sources import Bars

# Share of a window's bars that went out by so many seconds after its end (measured on the vendor's feed).
_DELAYS_S, _SHARES = (0.0, 0.3, 2.0, 5.0), (0.0, 0.80, 0.99, 1.0)
_LATEST_MS = 10**14
"""No time in ms is larger (the year 5138): what is, is in µs or ns."""
_BATCH_S = 0.02
"""Real time over which bars share a delivery."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that go out together, and whose they are."""

    rows: NDArray[np.intp]
    events: list[bytes]


def deliveries(
    bars: Bars,
    events: Sequence[bytes],
    step_ns: int,
    speed: float,
    faults: Faults,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Batch]]:
    """Give what is sent of a window, and how long (market ns) after it could be known.

    With speed 0 or without jitter the bars go out at once.
    """
    n = len(events)
    u = rng.random((6, n))
    delay = np.zeros(n)
    if faults.jitter and speed:
        delay = np.interp(u[0], _SHARES, _DELAYS_S)
    delay += np.where(u[1] < faults.late_fraction, faults.late_s, 0)
    # Half a window later than the next window's last straggler.
    delay += np.where(u[2] < faults.out_of_order_fraction, 1.5 * step_ns / NS_PER_S, 0)
    sent = u[3] >= faults.missing_fraction
    wrong = sent & (u[4] < faults.correction_fraction)
    twice = sent & (u[5] < faults.duplicate_fraction)
    final = list(events)
    if faults.field_drift:
        final = [_drift(event, i) for i, event in enumerate(final)]
    first = [_premature(events[i]) if bad else final[i] for i, bad in enumerate(wrong.tolist())]
    width = _BATCH_S * speed if speed else 1.0
    yield from _batches(bars.row, first, np.flatnonzero(sent), delay, width)
    yield from _batches(bars.row, final, np.flatnonzero(twice & ~wrong), delay, width)
    yield from _batches(bars.row, final, np.flatnonzero(wrong), delay + faults.correction_s, width)


def spread(
    rows: NDArray[np.intp], events: Sequence[bytes], delay_s: F64, speed: float, faults: Faults
) -> Iterator[tuple[int, Batch]]:
    """Give events that each have a time of their own, with what drifts in them."""
    final = [_drift(event, i) for i, event in enumerate(events)] if faults.field_drift else list(events)
    yield from _batches(rows, final, np.arange(len(final)), delay_s, _BATCH_S * speed if speed else 1.0)


def _batches(
    rows: NDArray[np.intp], events: Sequence[bytes], which: NDArray[np.intp], delay_s: F64, width_s: float
) -> Iterator[tuple[int, Batch]]:
    """Put bars of about the same delay together; in market time, so that they go out in order."""
    if not len(which):
        return
    tick = np.ceil(delay_s[which] / width_s).astype(np.int64)
    order = np.argsort(tick, kind="stable")
    which, tick = which[order], tick[order]
    edges = [0, *(np.flatnonzero(np.diff(tick)) + 1).tolist(), len(which)]
    for a, b in pairwise(edges):
        at: I64 = which[a:b]
        yield int(tick[a] * width_s * NS_PER_S), Batch(rows[at], [events[i] for i in at.tolist()])


def _premature(event: bytes) -> bytes:
    """Give a bar as it was before its last trades came: less volume, another close."""
    found: dict[str, Any] = msgspec.json.decode(event)
    if "v" in found:
        found["v"] = round(found["v"] * 0.8, 8)
    if "dv" in found and isinstance(found["dv"], str):
        found["dv"] = repr(found["v"])
    found["c"] = found["o"]
    return msgspec.json.encode(found)


def _drift(event: bytes, number: int) -> bytes:
    """Change an event in a way the vendor's were seen to change; a good client does not notice."""
    found: dict[str, Any] = msgspec.json.decode(event)
    match number % 7:
        case 0:
            found["zz_new_field"] = {"nested": [1, None]}
        case 1:
            found["v"] = float(found["v"]) if "v" in found else 1.0
        case 2:
            found.pop("op", None)
        case 3:
            found.pop("e", None)
        case 4:
            # An event nobody knows comes before it.
            return b'{"ev":"ZZZ","sym":"AAPL"},' + event
        case 5:
            if isinstance(found.get("i"), str):
                found["i"] = int(found["i"])
            found |= {"z": float(found["z"])} if _is_bar(found) and "z" in found else {}
        case _:
            name = "s" if _is_bar(found) else "t"
            # What is ns already stays so.
            found[name] *= 1_000_000 if found[name] < _LATEST_MS else 1
    return msgspec.json.encode(found)


def _is_bar(found: dict[str, Any]) -> bool:
    return "o" in found
