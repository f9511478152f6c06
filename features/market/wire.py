"""Decode the vendor's stream frames into typed structs: which fields exist, and of what type.

A frame is decoded as a whole into a tagged union, at the speed of C. Where that fails, its elements are
decoded one by one, so that a bad event costs only itself. What the values mean is `polygon`'s business.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, ClassVar

import msgspec

from features.market.types import AssetClass

NAN = float("nan")
Stamp = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Status(msgspec.Struct, frozen=True, gc=False, tag_field="ev", tag="status"):
    """What the server says about the session; both fields may be missing on a bad day."""

    status: str = ""
    message: str = ""


class WireBar(msgspec.Struct, gc=False, kw_only=True, tag_field="ev"):
    """The fields every aggregate has; absent numbers are NaN, which JSON cannot say itself."""

    bar_s: ClassVar[int] = 0
    has_volume: ClassVar[bool] = True  # whether the class ever sends a volume: without it the bar is incomplete

    symbol: str = msgspec.field(name="sym")
    o: float
    h: float
    l: float  # noqa: E741  (the vendor's name)
    c: float
    s: Stamp
    v: float = NAN
    vw: float = NAN
    z: float = NAN
    n: float = NAN


class StockBar(WireBar, gc=False, kw_only=True, tag_field="ev"):
    """A stock's aggregate: `dv` is its volume with fractions (of a future it would be a notional)."""

    dv: str = ""


class PairBar(WireBar, gc=False, kw_only=True, tag_field="ev"):
    """An aggregate of a currency pair."""

    symbol: str = msgspec.field(name="pair")


class IndexBar(WireBar, gc=False, kw_only=True, tag_field="ev"):
    """An aggregate of an index, which has no volume."""

    has_volume: ClassVar[bool] = False


_SHAPES: dict[AssetClass, type[WireBar]] = {
    AssetClass.STOCKS: StockBar,
    AssetClass.OPTIONS: WireBar,
    AssetClass.INDICES: IndexBar,
    AssetClass.FUTURES: WireBar,
    AssetClass.CRYPTO: PairBar,
    AssetClass.FOREX: PairBar,
}
# The trap of section 2.4: in stocks the minute topic is the longer name, in currencies the second topic is.
TOPICS: dict[AssetClass, dict[int, str]] = {
    AssetClass.CRYPTO: {60: "XA", 1: "XAS"},
    AssetClass.FOREX: {60: "CA", 1: "CAS"},
} | {a: {60: "AM", 1: "A"} for a in (AssetClass.STOCKS, AssetClass.OPTIONS, AssetClass.INDICES, AssetClass.FUTURES)}
# Events of the catalogue that carry no bar: known, skipped, never an error.
_UNUSED = ("T", "Q", "LULD", "NOI", "FMV", "V", "XT", "XQ", "XL2", "C")


@dataclass(slots=True)
class Events:
    """What one frame held.

    Attributes
    ----------
    bars
        Aggregates by their struct, in the order they came.
    statuses
        Status messages in the order they came.
    errors
        Elements lost, by reason.
    ignored
        Number of events we know and do not use.
    """

    bars: dict[type[WireBar], list[WireBar]] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    ignored: int = 0

    def add(self, events: Sequence[msgspec.Struct]) -> None:
        """Sort decoded events by what they are."""
        kinds = set(map(type, events))
        for kind in sorted(kinds, key=lambda k: k.__name__):
            same = events if len(kinds) == 1 else [e for e in events if type(e) is kind]
            if issubclass(kind, WireBar):
                self.bars[kind] = same  # type: ignore[assignment]
            elif kind is Status:
                self.statuses = same  # type: ignore[assignment]
            else:
                self.ignored += len(same)


@dataclass(frozen=True, slots=True)
class _Decoders:
    frame: "msgspec.json.Decoder[list[msgspec.Struct]]"
    event: "msgspec.json.Decoder[msgspec.Struct]"


_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_FLAT_OBJECT = re.compile(rb"\{[^{}]*+\}")  # no event of the catalogue nests an object
_NUMBER_TOO_LARGE = {
    "o": "bad_price",
    "h": "bad_price",
    "l": "bad_price",
    "c": "bad_price",
    "vw": "bad_price",
} | {
    "v": "bad_volume",
    "z": "bad_volume",
    "n": "bad_volume",
}


@cache
def decoders(asset_class: AssetClass) -> _Decoders:
    """Give the decoders of one market's frames and single events, built once.

    >>> frame = b'[{"ev":"AM","sym":"I:SPX","o":2,"h":3,"l":1,"c":2,"s":1789738200000}]'
    >>> decoders(AssetClass.INDICES).frame.decode(frame)[0].symbol
    'I:SPX'
    """
    shape = _SHAPES[asset_class]
    kinds: list[type[msgspec.Struct]] = [Status]
    for bar_s, topic in TOPICS[asset_class].items():
        kinds.append(
            msgspec.defstruct(
                f"{shape.__name__}_{topic}",
                [("bar_s", ClassVar[int], bar_s)],
                bases=(shape,),
                tag_field="ev",
                tag=topic,
                gc=False,
                kw_only=True,
            )
        )
    for name in _UNUSED:
        kinds.append(msgspec.defstruct(f"Unused_{name}", [], tag_field="ev", tag=name, gc=False))
    union = kinds[0]
    for kind in kinds[1:]:
        union = union | kind  # type: ignore[assignment]
    return _Decoders(msgspec.json.Decoder(list[union]), msgspec.json.Decoder(union))  # type: ignore[valid-type]


def decode(frame: bytes, asset_class: AssetClass) -> Events:
    """Decode a frame, whatever its bytes are.

    >>> decode(b'[{"ev":"status","status":"connected"},{"ev":"ZZ"},{"ev":"T"}, 7]', AssetClass.STOCKS)
    Events(bars={}, statuses=[Status(status='connected', message='')],
        errors=Counter({'unknown_event': 1, 'wrong_type': 1}), ignored=1)
    """
    found = Events()
    one = decoders(asset_class)
    try:
        found.add(one.frame.decode(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        good = []
        for element in _elements(frame, found.errors):
            try:
                good.append(one.event.decode(element))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                found.errors[_reason(error)] += 1
        found.add(good)
    return found


def _elements(frame: bytes, errors: Counter[str]) -> Sequence[bytes | msgspec.Raw]:
    """Cut a frame into its elements; out of broken JSON take the objects that are whole."""
    try:
        return _RAW.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        pieces = _FLAT_OBJECT.findall(frame) if frame.lstrip().startswith(b"[") else []
        whole = [piece for piece in pieces if _is_json(piece)]
        errors["malformed"] += max(1, len(pieces) - len(whole))
        return whole


def _is_json(piece: bytes) -> bool:
    """Say whether `piece` is well-formed JSON."""
    try:
        msgspec.json.decode(piece, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _reason(error: Exception) -> str:
    """Give the word a decoding error is counted by; msgspec names the trouble first and the field last."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return "malformed"
    if text.startswith("Object missing"):
        return "missing_field"
    if text.startswith("Invalid value"):
        return "unknown_event"
    if text.startswith("Number out of range"):
        return _NUMBER_TOO_LARGE.get(text.rpartition("$.")[2].rstrip("`"), "malformed")
    return "wrong_type"
