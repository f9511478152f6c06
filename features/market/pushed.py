"""Turn bars that any source pushes, as JSON, into bars: pure, total, each refused row named.

A request is `{"asset_class": "stocks", "bars": [{"symbol": "AAPL", "t": 1789738200000, "o": 2, "h": 3, "l": 1, "c": 2,
"v": 5, "vw": 2, "n": 4, "bar_s": 60}, ...]}`: `t` is the window's start in Unix ms, `v`, `vw`, `n` and `bar_s` (60) may
be left out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from features.market import symbols
from features.market.bars import BarColumns
from features.market.errors import DataError
from features.market.judge import REASONS, Verdict, judge, settle
from features.market.place import place
from features.market.polygon import Limits, Parsed
from features.market.types import NS_PER_MS, AssetClass, BarBatch, FaultBatch, SlotTable

MOST_BARS = 5_000
"""Of a request: a megabyte of JSON."""
EARLIEST_MS, LATEST_MS = 100_000_000_000, 4_102_444_800_000
"""1973 to 2100: a smaller number is seconds, a larger one micro- or nanoseconds."""
LENGTHS_S = (1, 5, 10, 15, 30, 60, 300, 900, 3600)
EXPECTED = {
    "missing_field": "a volume (of every class but indices)",
    "bad_price": "positive prices",
    "high_below_low": "l <= o, c <= h",
    "bad_volume": "volume and trades of 0 or more",
    "future": "a window that is over by the feed's clock",
    "too_old": "a window of the last hour",
    "bad_window": "a start that is a multiple of the bar length",
}
MALFORMED = re.compile(r"JSON is malformed: (?P<what>.*) \(byte (?P<at>\d+)\)")
"""As msgspec says it; of what ends too early it gives no place."""
NAN = float("nan")
VALUES = ("o", "h", "l", "c", "v", "vw", "n")


class _Row(msgspec.Struct, gc=False):
    symbol: str
    t: int
    o: float
    h: float
    l: float  # noqa: E741  (as in every file of bars)
    c: float
    v: float = NAN
    vw: float = NAN
    n: float = NAN
    bar_s: int = 60


class _Request(msgspec.Struct):
    asset_class: AssetClass
    bars: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be used: its place in the request, why by the word it is counted by, and in a sentence."""

    index: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """The readable rows of a request with their places, and those that are not."""

    rows: list[_Row]
    at: list[int]
    refused: list[RefusedRow]


def asset_class_of(body: bytes) -> AssetClass:
    """Give the class a request is of; raise `DataError` where the body is no request.

    >>> asset_class_of(b'{"asset_class": "crypto", "bars": []}')
    <AssetClass.CRYPTO: 'crypto'>
    """
    return _decode(body).asset_class


def check(body: bytes, now_ns: int, limits: Limits) -> tuple[int, list[RefusedRow]]:
    """Give how many rows can be used and what is wrong with each other; raise `DataError` where none can be read.

    `now_ns` is the feed's clock, 0 while it is unknown.

    >>> body = b'{"asset_class": "crypto", "bars": [{"symbol": "BTC-USD", "t": 60000, "o": 1}]}'
    >>> check(body, 0, Limits())[1][0].message
    'expected a bar, was: Object missing required field `h`'
    """
    request = _decode(body)
    read = _read(request)
    refused = list(read.refused)
    for bar_s, places in _by_length(read.rows).items():
        rows = [read.rows[i] for i in places]
        verdict = _judged(rows, bar_s, request.asset_class, now_ns, limits)[1]
        for i, code in zip(places, verdict.reason.tolist(), strict=True):
            row, reason = read.rows[i], REASONS[code]
            if code:
                said = f"expected {EXPECTED[reason]}, was {_told(row)}"
                refused.append(RefusedRow(read.at[i], reason, said))
            elif not symbols.is_symbol(row.symbol):
                said = f"expected a symbol, was {row.symbol[:40]!r}"
                refused.append(RefusedRow(read.at[i], "bad_symbol", said))
    refused.sort(key=lambda r: r.index)
    return len(request.bars) - len(refused), refused


def parse_pushed(body: bytes, table: SlotTable, now_ns: int, recv_ns: int, limits: Limits) -> Parsed:
    """Give the bars of a request, whatever its bytes are, as `polygon.parse` gives those of a frame."""
    errors: Counter[str] = Counter()
    try:
        request = _decode(body)
    except DataError as e:
        return Parsed((), Counter({e.reason: 1}))
    read = _read(request)
    errors.update(r.reason for r in read.refused)
    batches: list[BarBatch] = []
    faults: list[FaultBatch] = []
    for bar_s, places in _by_length(read.rows).items():
        rows = [read.rows[i] for i in places]
        numbers, verdict = _judged(rows, bar_s, table.asset_class, now_ns, limits)
        found, faulty = place(numbers, [r.symbol for r in rows], verdict, table, bar_s, recv_ns, errors)
        batches += found
        faults += faulty
    return Parsed(tuple(batches), errors, faults=tuple(faults))


def encode_pushed(asset_class: AssetClass, names: Sequence[str], bars: BarColumns, bar_s: int) -> bytes:
    """Write a request of bars, the reverse of `parse_pushed`; `names` [T] are in our spelling.

    >>> one = np.array([2.0])
    >>> bars = BarColumns(np.array([60_000 * NS_PER_MS]), one, one, one, one, one, one * NAN, one)
    >>> encode_pushed(AssetClass.CRYPTO, ["BTC-USD"], bars, 60)[24:]
    b'"bars":[{"symbol":"BTC-USD","t":60000,"o":2.0,"h":2.0,"l":2.0,"c":2.0,"v":2.0,"n":2.0,"bar_s":60}]}'
    """
    columns = [c.tolist() for c in (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.vwap, bars.trades)]
    rows = []
    for name, t, *values in zip(names, (bars.ts // NS_PER_MS).tolist(), *columns, strict=True):
        known = {key: value for key, value in zip(VALUES, values, strict=True) if value == value}
        rows.append({"symbol": name, "t": t, **known, "bar_s": bar_s})
    return msgspec.json.encode({"asset_class": asset_class, "bars": rows})


def _decode(body: bytes) -> _Request:
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.ValidationError as e:
        raise DataError("wrong_type", f"expected an asset_class and bars, was: {e}") from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError("malformed", f"expected JSON, was {_broken(body, e)}") from e
    if len(request.bars) > MOST_BARS:
        raise DataError("oversize", f"expected at most {MOST_BARS} bars, was {len(request.bars)}")
    return request


def _broken(body: bytes, error: Exception) -> str:
    """Say where JSON breaks.

    >>> try: msgspec.json.decode(b'{"a": x}')
    ... except msgspec.DecodeError as e: print(_broken(b'{"a": x}', e))
    broken at byte 6 (invalid character)
    """
    if found := MALFORMED.fullmatch(str(error)):
        return f"broken at byte {found['at']} ({found['what']})"
    if isinstance(error, msgspec.DecodeError):
        return f"cut off after {len(body)} bytes" if body else "empty"
    return "nested too deeply" if isinstance(error, RecursionError) else "text that is not UTF-8"


def _read(request: _Request) -> _Rows:
    found = _Rows([], [], [])
    for i, raw in enumerate(request.bars):
        try:
            row = msgspec.json.decode(raw, type=_Row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            reason = "missing_field" if str(e).startswith("Object missing") else "wrong_type"
            found.refused.append(RefusedRow(i, reason, f"expected a bar, was: {e}"))
            continue
        if not EARLIEST_MS <= row.t <= LATEST_MS:
            found.refused.append(RefusedRow(i, "bad_time", f"expected t in Unix ms, was {row.t}"))
        elif row.bar_s not in LENGTHS_S:
            expected = ", ".join(map(str, LENGTHS_S))
            found.refused.append(RefusedRow(i, "bad_window", f"expected bar_s of {expected}, was {row.bar_s}"))
        else:
            found.rows.append(row)
            found.at.append(i)
    return found


def _by_length(rows: Sequence[_Row]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(row.bar_s, []).append(i)
    return places


def _judged(
    rows: Sequence[_Row], bar_s: int, asset_class: AssetClass, now_ns: int, limits: Limits
) -> tuple[BarColumns, Verdict]:
    stamps = np.array([r.t for r in rows], np.int64)
    columns = {name: np.array([getattr(r, name) for r in rows]) for name in VALUES}
    settle(stamps, columns["v"], columns["vw"], columns["n"], np.full(len(rows), np.nan))
    numbers = BarColumns(stamps, *columns.values())
    return numbers, judge(numbers, bar_s, asset_class is not AssetClass.INDICES, limits.span_ns(now_ns))


def _told(row: _Row) -> str:
    """Give a row in few words."""
    return f"t={row.t} o={row.o:g} h={row.h:g} l={row.l:g} c={row.c:g} v={row.v:g}"
