"""Name what can go wrong on purpose, so that it can be switched by flag and over HTTP."""

from typing import Annotated, Any, Literal

import msgspec

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0)]
DropMode = Literal["abort", "1000", "1001", "1008", "1011"]


class Faults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The knobs; the defaults are a vendor on a good day. Delays are market seconds unless said.

    Stream: `drop_after` a stage of the session, or every `drop_every_s` (real) seconds, a connection goes in
    `drop_mode`. `silence` sends no data; `slow_s` (real) holds up every frame. Fractions are of the bars of a
    window: late ones come `late_s` after; corrected ones come wrong first and right after `correction_s`;
    duplicated ones twice; out-of-order ones after the next window's; missing ones never. `field_drift` changes
    types and adds fields as the vendor does; `garbage` frames go before that share of frames; `oversize` sends
    frames above 1 MiB. `jitter` off sends a window's bars at once.

    REST: `rest_error` is sent for that share of calls, with a body and perhaps a Retry-After.
    """

    drop_mode: DropMode = "abort"
    drop_after: Literal["", "connected", "auth", "before_first_sub_ack", "data"] = ""
    drop_every_s: Seconds = 0.0
    auth: Literal["ok", "bad_key", "no_plan", "realtime_refused", "silent", "timeout"] = "ok"
    auth_timeout_s: Seconds = 10.0
    refuse_topics: tuple[str, ...] = ()
    swallow_topics: tuple[str, ...] = ()
    max_connections: Count = 0
    max_conn_policy: Literal["oldest", "newest", "random"] = "oldest"
    slow_consumer_bytes: Count = 16 * 2**20
    silence: bool = False
    slow_s: Seconds = 0.0
    jitter: bool = True
    late_fraction: Fraction = 0.0
    late_s: Seconds = 30.0
    correction_fraction: Fraction = 0.0
    correction_s: Seconds = 20.0
    duplicate_fraction: Fraction = 0.0
    out_of_order_fraction: Fraction = 0.0
    missing_fraction: Fraction = 0.0
    field_drift: bool = False
    garbage_fraction: Fraction = 0.0
    oversize: bool = False
    rest_error: Annotated[int, msgspec.Meta(ge=0, le=599)] = 0
    rest_error_fraction: Fraction = 1.0
    rest_error_body: Literal["json", "empty", "html"] = "json"
    retry_after_s: Count | None = None
    rest_latency_s: Seconds = 0.0
    rest_truncate: bool = False
    next_url_foreign_host: bool = False
    next_url_cycle: bool = False
    cursor_drops_adjusted: bool = True
    rest_delayed_status: bool = True

    def merged(self, changes: dict[str, Any]) -> "Faults":
        """Give these knobs with some turned.

        >>> Faults().merged({"late_fraction": 0.1}).late_fraction
        0.1
        >>> Faults().merged({"late_fraction": 2})
        Traceback (most recent call last):
        ...
        ValueError: Expected `float` <= 1.0 - at `$.late_fraction`
        """
        try:
            return msgspec.convert({**msgspec.to_builtins(self), **changes}, Faults)
        except msgspec.ValidationError as e:
            raise ValueError(str(e)) from e


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
