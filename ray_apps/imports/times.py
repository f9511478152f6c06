"""Turn a file's times into Unix milliseconds: numbers of any unit, ISO 8601 texts, timestamps, dates."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.market.pushed import EARLIEST_MS, LATEST_MS
from features.market.types import F64, I64
from ray_apps.imports.errors import QuestionError
from ray_apps.store.files import FileError
from ray_apps.store.sieve import number, one_line, plainly

PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
UNITS = tuple(PER_MS)
UNREADABLE = np.inf
"""Stands for a time that cannot be read; NaN for none."""

CLEAR_SHARE = 0.9
"""Of a file's first times, the share that must be said in one way; the others are refused, never misread."""

_ZONED = re.compile(r"[T ]\d.*(Z|[+-]\d\d(:?\d\d)?)$")


@dataclass(frozen=True, slots=True)
class Clock:
    """How a file says time.

    Attributes
    ----------
    unit
        Of numbers, also where they are written as texts: s, ms, us or ns; None for dates and timestamps.
    zone
        IANA zone of texts and timestamps that name none.
    """

    unit: str | None = None
    zone: str | None = None


def clock_of(name: str, times: pa.Array, unit: str | None, zone: str | None, is_ours: bool = False) -> Clock:
    """Tell how a file says time from some of its times; `unit` and `zone` are what the user says of it.

    `is_ours` says that the column is the house's own `t`, whose timestamps are UTC.

    Raises
    ------
    QuestionError
        Where it cannot be told.
    FileError
        Where the times are none, or the user says a unit that their size contradicts.
    """
    present = times.drop_null()
    if _is_text(times.type):
        present = present.filter(pc.not_equal(pc.utf8_trim_whitespace(present), ""))
    if not len(present):
        raise FileError(f"{name}: expected times, was none")
    numbers = float64(n) if (n := _as_numbers(present)) is not None else _some_numbers(present)
    if len(numbers) >= CLEAR_SHARE * len(present):
        return Clock(unit=_unit(name, numbers, unit))
    if pa.types.is_timestamp(times.type) and times.type.tz is not None:
        return Clock()
    if zone is None and _is_text(times.type):
        without = [text for text in present.to_pylist() if not _ZONED.search(text)]
        return Clock() if len(without) <= (1 - CLEAR_SHARE) * len(present) else _without_zone(name, without)
    if zone is None and not is_ours:
        return _without_zone(name, [str(present[0].as_py())])
    return Clock(zone=zone or "UTC")


def to_ms(times: pa.Array, clock: Clock) -> F64:
    """Give Unix ms, [T]: NaN where there is no time, UNREADABLE where it is none; a fraction where it is finer.

    >>> to_ms(pa.array([1_743_600_000, None]), Clock("s"))
    array([1.7436e+12, nan])
    >>> to_ms(pa.array(["2025-04-02 09:20", "noon"]), Clock(zone="America/New_York"))
    array([1.7436e+12, inf])
    """
    if clock.unit is not None:
        numbers = _as_numbers(times)
        return _numbers(numbers, clock.unit) if numbers is not None else _each(times, partial(_number_ms, clock.unit))
    if _is_text(times.type):
        return _texts(times, clock.zone)
    stamps = times.cast(pa.timestamp("us", getattr(times.type, "tz", None)), safe=False)
    return _localized(stamps, clock.zone) if stamps.type.tz is None else _numbers(stamps.cast(pa.int64()), "us")


def float64(column: pa.Array) -> F64:
    """Give a column of numbers; NaN where it has none."""
    values: F64 = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def said_ms(ms: float) -> str:
    """Write an instant for a message, as far as it is one.

    >>> said_ms(1.7436e12), said_ms(1e19)
    ('2025-04-02 13:20:00 UTC', '1e+19 ms')
    """
    try:
        return f"{datetime.fromtimestamp(ms / 1e3, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{plainly(ms)} ms"


def _as_numbers(times: pa.Array) -> pa.Array | None:
    """Give times that are numbers as such, whole ones exact; None where they are not."""
    if not _is_text(times.type):
        return times if pa.types.is_integer(times.type) or pa.types.is_floating(times.type) else None
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return times.cast(kind)
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _unit(name: str, values: F64, told: str | None) -> str:
    fits = {unit: _shares(values, unit) for unit in UNITS}
    likely = max(UNITS, key=lambda unit: fits[unit])
    example = plainly(float(values[0]))
    if told is not None:
        if fits[told] == 0 and fits[likely] > 0:
            raise FileError(
                f"{name}: expected times in {told} as --time-unit says, was {example}, by its size in {likely}"
            )
        return told
    if fits[likely] >= CLEAR_SHARE:
        return likely
    if fits[likely] == 0:
        raise FileError(f"{name}: expected Unix times between 1973 and 2100 in s, ms, us or ns, was {example}")
    other = next((u for u in UNITS if u != likely and fits[u] > 0), "none")
    raise QuestionError(
        f"{name}: in which unit are the times? By their size some are {likely}, some {other}: "
        f"--time-unit {'|'.join(UNITS)}"
    )


def _shares(values: F64, unit: str) -> float:
    ms = values / PER_MS[unit]
    return float(((ms >= EARLIEST_MS) & (ms <= LATEST_MS)).mean())


def _some_numbers(times: pa.Array) -> F64:
    """Give those of some texts that are numbers."""
    if not _is_text(times.type):
        return np.empty(0)
    found = []
    for text in times.to_pylist():
        with suppress(ValueError):
            found.append(float(text))
    return np.array(found, np.float64)


def _without_zone(name: str, examples: Sequence[str]) -> Clock:
    """Ask for the zone of ISO times; refuse what is none."""
    for text in examples:
        try:
            datetime.fromisoformat(text.strip())
        except ValueError:
            continue
        raise QuestionError(
            f"{name}: in which time zone is {one_line(text)!r}? --tz America/New_York, or --tz UTC, say"
        )
    expected = "times in ISO 8601 such as 2025-04-02T09:30:00, or Unix times"
    raise FileError(f"{name}: expected {expected}, was {one_line(examples[0])!r}")


def _numbers(times: pa.Array, unit: str) -> F64:
    """Give ms of numbers; whole ones stay exact, for nanoseconds are beyond 2**53."""
    if pa.types.is_floating(times.type) or unit in ("s", "ms"):
        return float64(times) / PER_MS[unit]
    absent = times.is_null().to_numpy(zero_copy_only=False)
    values: I64 = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    whole, rest = np.divmod(values, int(PER_MS[unit]))
    ms: F64 = whole.astype(np.float64)
    ms[rest != 0] += 0.5  # not on a millisecond: no bar's start
    ms[absent] = np.nan
    return ms


def _texts(times: pa.Array, zone: str | None) -> F64:
    try:
        if zone is None:
            return _numbers(times.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()), "ns")
        return _localized(times.cast(pa.timestamp("ns")), zone)
    except pa.ArrowInvalid:  # one is unusual, or none: find out which
        return _each(times, partial(_text_ms, zone))


def _each(times: pa.Array, read: Callable[[str], float]) -> F64:
    """Read texts one by one, each different one once."""
    encoded = times.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    ms = np.array([read(text.strip()) if text.strip() else np.nan for text in texts] + [np.nan])
    codes: I64 = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found: F64 = ms[codes]
    return found


def _number_ms(unit: str, text: str) -> float:
    try:
        return float(_numbers(pa.array([int(text)], pa.int64()), unit)[0])
    except (ValueError, OverflowError, pa.ArrowInvalid):
        pass
    try:
        return number(text) / PER_MS[unit]
    except ValueError:
        return UNREADABLE


def _text_ms(zone: str | None, text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return UNREADABLE
    if at.tzinfo is None:
        if zone is None:
            return UNREADABLE
        return float(_localized(pa.array([at], pa.timestamp("us")), zone)[0])
    return at.timestamp() * 1e3


def _localized(stamps: pa.Array, zone: str | None) -> F64:
    """Give ms of the zone's clock times; UNREADABLE where the clocks' change makes them none or two."""
    assert zone is not None
    clock = stamps.cast(pa.timestamp("ns"), safe=False).to_numpy(zero_copy_only=False)
    if zone == "UTC":
        return _since_1970(clock)
    import pandas as pd

    at = pd.DatetimeIndex(clock).tz_localize(_zone(zone), ambiguous="NaT", nonexistent="NaT")
    ms = _since_1970(at.tz_convert(None).to_numpy())
    ms[np.isnan(ms) & ~np.isnat(clock)] = UNREADABLE
    return ms


def _since_1970(at: np.ndarray[tuple[int], np.dtype[np.datetime64]]) -> F64:
    absent = np.isnat(at)
    ns = at.astype("datetime64[ns]").astype(np.int64)
    return _numbers(pa.array(ns, mask=absent), "ns")


@lru_cache(maxsize=8)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def texts_of(times: pa.Array, rows: Sequence[int]) -> list[str]:
    """Give some times as the file writes them."""
    return [str(value) for value in pc.take(times, pa.array(rows, pa.int64())).to_pylist()]
