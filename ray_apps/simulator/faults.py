"""Name what can go wrong on purpose, so that it can be switched by flag and over HTTP."""

import difflib
import json
import re
from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from features.market.types import NS_PER_MS
from ray_apps.simulator.clock import LAST_NS

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=LAST_NS // NS_PER_MS)]
_AT = re.compile(r"(.*?) - at `\$\.(.*)`")
_NAME = re.compile(r"[.\[]")
DropMode = Literal["abort", "1000", "1001", "1008", "1011"]


class Halt(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A pause of one symbol's trading (our spelling): LULD says so, and nothing prints for so many minutes."""

    symbol: str
    start_ms: Milliseconds
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1_440)] = 5


class Split(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A split of one stock: from `date` on (New York) `split_to` shares stand for `split_from` of before."""

    symbol: str
    date: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    split_to: Annotated[float, msgspec.Meta(gt=0)]
    split_from: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Faults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The knobs; the defaults are a vendor on a good day. Delays are market seconds unless said.

    Session: `drop_after` a stage of the session, at `drop_at_ms` of the market's time, or every `drop_every_s`
    (real) seconds, a connection goes in `drop_mode`. `auth`, `auth_timeout_s`, `refuse_topics` (an error),
    `swallow_topics` (no answer, no data), `max_connections` (0 = the plan's) and who loses when there are more.
    Above `slow_consumer_bytes` that wait a client is cut; `slow_s` (real) holds up every frame. `ping_stop`
    answers no ping.

    Stream: `batch` is the most events of a frame. `silence` sends no data. Fractions are of the bars of a window:
    late ones come `late_s` after; corrected ones come wrong first and right after `correction_s`; those of
    `correction_after_15m` stay wrong on the stream, and REST has them right a quarter of an hour later; duplicated
    ones come twice; out-of-order ones after the next window's; missing ones never, though REST has them.
    `field_drift` changes types and adds fields as the vendor does; `garbage` frames go before that share of frames;
    `oversize` sends frames above 1 MiB. `jitter` off sends a window's bars at once.

    Market, on the stream and in REST alike: `zero_activity` symbols never print; `missing_minutes` gives the share
    of minutes in which a symbol ("*" = any) does not; `halt` and `split_event` as their own words say.

    REST: `rest_error` is sent for that share of calls, or to the next `rest_error_burst` calls only, with a body
    and perhaps a Retry-After. `rest_calls_per_s` is a paid key's limit (0 = none). `rest_latency_s` (real),
    `rest_truncate` cuts bodies, `next_url_foreign_host` and `next_url_cycle` lead astray, `cursor_drops_adjusted`
    as the vendor's do. `rest_partial` shows the running minute.
    """

    drop_mode: DropMode = "abort"
    drop_after: Literal["", "connected", "auth", "before_first_sub_ack", "data"] = ""
    drop_at_ms: Milliseconds = 0
    drop_every_s: Seconds = 0.0
    auth: Literal["ok", "bad_key", "no_plan", "realtime_refused", "silent", "timeout"] = "ok"
    auth_timeout_s: Seconds = 10.0
    refuse_topics: tuple[str, ...] = ()
    swallow_topics: tuple[str, ...] = ()
    max_connections: Count = 0
    max_conn_policy: Literal["oldest", "newest", "random"] = "oldest"
    slow_consumer_bytes: Count = 16 * 2**20
    slow_s: Seconds = 0.0
    ping_stop: bool = False
    batch: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 1_000
    silence: bool = False
    jitter: bool = True
    late_fraction: Fraction = 0.0
    late_s: Seconds = 30.0
    correction_fraction: Fraction = 0.0
    correction_s: Seconds = 20.0
    correction_after_15m: Fraction = 0.0
    duplicate_fraction: Fraction = 0.0
    out_of_order_fraction: Fraction = 0.0
    missing_fraction: Fraction = 0.0
    field_drift: bool = False
    garbage_fraction: Fraction = 0.0
    oversize: bool = False
    zero_activity: tuple[str, ...] = ()
    missing_minutes: dict[str, Fraction] = {}
    halt: tuple[Halt, ...] = ()
    split_event: tuple[Split, ...] = ()
    rest_error: Annotated[int, msgspec.Meta(ge=0, le=599)] = 0
    rest_error_fraction: Fraction = 1.0
    rest_error_burst: Count = 0
    rest_error_body: Literal["json", "empty", "html"] = "json"
    retry_after_s: Count | None = None
    rest_calls_per_s: Count = 100
    rest_latency_s: Seconds = 0.0
    rest_truncate: bool = False
    rest_partial: bool = False
    next_url_foreign_host: bool = False
    next_url_cycle: bool = False
    cursor_drops_adjusted: bool = True
    rest_delayed_status: bool = True

    def __post_init__(self) -> None:
        for split in self.split_event:
            try:
                is_known = 1971 <= date.fromisoformat(split.date).year < 2100
            except ValueError:
                is_known = False
            if not is_known:
                raise ValueError(f"split_event: expected a date like 2026-08-31, was {split.date!r}")

    @property
    def symbols(self) -> set[str]:
        """Every symbol some knob names."""
        named = {halt.symbol for halt in self.halt} | {split.symbol for split in self.split_event}
        return named | set(self.zero_activity) | set(self.missing_minutes) - {"*"}

    def merged(self, changes: dict[str, Any]) -> "Faults":
        """Give these knobs with some turned.

        >>> Faults().merged({"late_fraction": 0.1}).late_fraction
        0.1
        >>> Faults().merged({"late_fraction": 2})
        Traceback (most recent call last):
        ...
        ValueError: fault late_fraction: expected `float` <= 1.0, was 2
        """
        known = self.__struct_fields__
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.5) or known
                raise ValueError(f"fault: expected a name such as {', '.join(near)}, was {name!r}")
        try:
            return msgspec.convert({**msgspec.to_builtins(self), **changes}, Faults)
        except msgspec.ValidationError as e:
            raise ValueError(_said(str(e), changes)) from e


def _said(fault: str, changes: dict[str, Any]) -> str:
    """Say what msgspec says as all our errors do."""
    found = _AT.fullmatch(fault)
    if found is None:
        return fault
    said, place = found[1], found[2]
    was = changes.get(_NAME.split(place)[0])
    return f"fault {place}: {said[0].lower()}{said[1:].partition(', got')[0]}, was {json.dumps(was)[:60]}"


def from_flags(flags: list[str]) -> Faults:
    """Read knobs as NAME=VALUE, the value as JSON where it is JSON, else as text.

    >>> from_flags(["drop_every_s=5", "drop_mode=1011"]).drop_mode
    '1011'
    """
    changes: dict[str, Any] = {}
    for flag in flags:
        name, is_pair, text = flag.partition("=")
        if not is_pair:
            raise ValueError(f"fault: expected NAME=VALUE, was {flag!r}")
        # Close codes look like numbers and are names.
        changes[name] = text if name == "drop_mode" else _value(text)
    return Faults().merged(changes)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
