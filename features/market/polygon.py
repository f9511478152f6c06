"""Turn the vendor's JSON, stream and REST, into bars: pure, total, counted.

`parse` gives a value for any bytes at all. What cannot be used is counted by reason and costs only itself:

========================  ==========================================================================
malformed                 not JSON, or not an array (NaN and Infinity are not JSON)
unknown_event             an `ev` the catalogue does not have for this market
missing_field             a field without which there is no bar
wrong_type                a field, or the event itself, of another JSON type
bad_symbol                a name no instrument can have
bad_price, bad_volume     negative, zero (price) or non-finite
high_below_low            open or close outside high and low
bad_window                a start that is no multiple of the bar length
future, too_old           a window that ends outside the limits around the feed's clock
oversize                  an event of a frame longer than the limit, unread
table_full                a new symbol beyond the cap
========================  ==========================================================================
"""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from features.market import symbols
from features.market.bars import BarColumns
from features.market.decimals import read_decimals
from features.market.errors import DataError
from features.market.judge import Limits, judge, settle
from features.market.place import place
from features.market.types import F64, I64, U8, AssetClass, BarBatch, FaultBatch, SlotTable
from features.market.wire import TOPICS, Status, StockBar, WireBar, decode

__all__ = ["Aggs", "Limits", "Parsed", "Status", "parse", "parse_aggs", "topics"]


DEFAULT_LIMITS = Limits()
_ROW = struct.Struct("q8d")  # a start and eight numbers, 8 bytes each


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one frame said.

    Attributes
    ----------
    batches
        Bars in arrival order, at most one per slot and one bar length in each batch.
    errors
        Events lost, by reason.
    statuses
        Status messages in the order they came.
    ignored
        Number of events we know and do not use (trades, quotes and the like).
    faults
        Bars of series known before this frame that were refused for their prices alone, in arrival order, at most
        one batch a bar length. They are in `errors` too. A number beyond a double's range spoils its event before
        it is a bar, so that it is only counted.
    """

    batches: tuple[BarBatch, ...]
    errors: Counter[str]
    statuses: tuple[Status, ...] = ()
    ignored: int = 0
    faults: tuple[FaultBatch, ...] = ()


def topics(asset_class: AssetClass, bar_s: int) -> str:
    """Give the stream's topic of a bar length.

    >>> topics(AssetClass.STOCKS, 60), topics(AssetClass.CRYPTO, 60), topics(AssetClass.CRYPTO, 1)
    ('AM', 'XA', 'XAS')
    """
    found = TOPICS[asset_class].get(bar_s)
    if found is None:
        raise ValueError(f"expected a bar length the stream has, 1 or 60 s, was {bar_s} s")
    return found


def parse(frame: bytes | str, table: SlotTable, now_ns: int, recv_ns: int, limits: Limits = DEFAULT_LIMITS) -> Parsed:
    """Give the bars and statuses of a stream frame, whatever its bytes are.

    Parameters
    ----------
    frame
        One WebSocket message.
    table
        BarColumns the series of this market; an unknown symbol of a good bar gets a slot.
    now_ns
        The feed's clock, UTC ns; 0 while it is unknown, which accepts any time.
    recv_ns
        When the frame was received, UTC ns; carried along.
    limits
        What is refused.

    Examples
    --------
    >>> frame = b'''[{"ev":"XA","pair":"BTC-USD","o":64210.5,"c":64188,"h":64233,"l":64170.25,"v":12.48013377,
    ...   "vw":64201.7712,"z":0,"s":1789738200000,"e":1789738260000}, {"ev":"XA","pair":"ETH-USD"}]'''
    >>> found = parse(frame, SlotTable(AssetClass.CRYPTO), now_ns=0, recv_ns=0)
    >>> found.batches[0].volume, found.batches[0].trades, found.errors
    (array([12.480]), array([nan]), Counter({'missing_field': 1}))
    """
    if isinstance(frame, str):
        frame = frame.encode("utf-8", "replace")
    if len(frame) > limits.max_frame_bytes:
        return Parsed((), Counter(oversize=max(1, frame.count(b"{"))))
    events = decode(frame, table.asset_class)
    span_ns = limits.span_ns(now_ns)
    batches: list[BarBatch] = []
    faults: list[FaultBatch] = []
    for kind, bars in events.bars.items():
        found, refused = _batches(kind, bars, table, span_ns, recv_ns, events.errors)
        batches += found
        faults += refused
    return Parsed(tuple(batches), events.errors, tuple(events.statuses), events.ignored, tuple(faults))


def _batches(
    kind: type[WireBar],
    bars: Sequence[WireBar],
    table: SlotTable,
    span_ns: tuple[int, int],
    recv_ns: int,
    errors: Counter[str],
) -> tuple[tuple[BarBatch, ...], tuple[FaultBatch, ...]]:
    """Judge the events of one kind, find their slots and split them into waves and faults."""
    numbers = _numbers(kind, bars)
    verdict = judge(numbers, kind.bar_s, kind.has_volume, span_ns)
    names = [b.symbol for b in bars]
    if table.asset_class is AssetClass.FOREX:
        names = [symbols.to_ours(table.asset_class, name) for name in names]
    return place(numbers, names, verdict, table, kind.bar_s, recv_ns, errors)


def _numbers(kind: type[WireBar], bars: Sequence[WireBar]) -> BarColumns:
    """Give the events' numbers as columns."""
    # One pass that packs each event's numbers: little more than half the cost of a list and fromiter per field.
    pack = _ROW.pack
    rows = b"".join([pack(b.s, b.o, b.h, b.l, b.c, b.v, b.vw, b.n, b.z) for b in bars])
    columns = np.frombuffer(rows, np.int64).reshape(len(bars), -1).T.copy()
    stamps = columns[0]
    open_, high, low, close, volume, vwap, trades, mean_size = columns[1:].view(np.float64)
    if issubclass(kind, StockBar):
        volume = _exact(volume, [b.dv for b in bars])  # type: ignore[attr-defined]
    settle(stamps, volume, vwap, trades, mean_size)
    return BarColumns(stamps, open_, high, low, close, volume, vwap, trades)


def _exact(volume: F64, texts: Sequence[str]) -> F64:
    """Give the volumes with their fractions where a decimal string says them."""
    if all(texts):
        return read_decimals(texts)
    is_said = np.fromiter(map(bool, texts), np.bool_, len(texts))
    volume[is_said] = read_decimals([text for text in texts if text])
    return volume


class _Row(msgspec.Struct, gc=False):
    """One aggregate of REST; `t` is the window's start."""

    t: int
    o: float
    h: float
    l: float  # noqa: E741  (the vendor's name)
    c: float
    v: float = float("nan")
    vw: float = float("nan")
    n: float = float("nan")


class _Page(msgspec.Struct):
    results: list[_Row] | None = None
    next_url: str | None = None
    adjusted: bool | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class Aggs:
    """One page of REST aggregates.

    Attributes
    ----------
    bars
        The usable bars in the order of the page.
    errors
        Bars lost, by reason.
    faults_ts, faults_code
        [K] int64 and uint8: window starts of the bars refused for their prices alone, UTC ns, and why
        (`FAULT_REASONS`); they are in `errors` too.
    next_url
        Where the next page is; the key is never in it.
    adjusted
        What the venue says about splits: pages after the first may forget what was asked.
    """

    bars: BarColumns
    errors: Counter[str]
    faults_ts: I64
    faults_code: U8
    next_url: str | None
    adjusted: bool | None


def parse_aggs(body: bytes, asset_class: AssetClass, bar_s: int) -> Aggs:
    """Give the bars of one page of `/v2/aggs`; raise `DataError` where the body is no such page.

    >>> body = b'{"status":"OK","results":[{"t":1789738200000,"o":2,"h":3,"l":1,"c":2,"v":5,"vw":2,"n":4}]}'
    >>> parse_aggs(body, AssetClass.STOCKS, 60).bars.trades
    array([4.])
    """
    try:
        page = msgspec.json.decode(body, type=_Page)
    except msgspec.ValidationError as error:
        raise DataError("wrong_type", f"expected a page of aggregates, was {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError("malformed", f"expected JSON, was {body[:40]!r}") from error
    rows = page.results or []
    columns = {
        name: np.array([getattr(r, name) for r in rows], np.float64) for name in ("o", "h", "l", "c", "v", "vw", "n")
    }
    stamps = np.array([min(max(r.t, 0), 2**63 - 1) for r in rows], np.int64)
    settle(stamps, columns["v"], columns["vw"], columns["n"], np.full(len(rows), np.nan))
    numbers = BarColumns(stamps, *columns.values())
    verdict = judge(numbers, bar_s, asset_class is not AssetClass.INDICES, (0, 2**63 - 1))
    return Aggs(
        bars=numbers.take(verdict.reason == 0),
        errors=verdict.errors,
        faults_ts=stamps[verdict.faulty],
        faults_code=verdict.fault_code,
        next_url=page.next_url,
        adjusted=page.adjusted,
    )
