"""Name what a feed hands on and what it reports: deliveries, events, counters, errors."""

from dataclasses import dataclass, field
from enum import StrEnum

from features.market.polygon import Limits
from features.market.types import BarBatch, FaultBatch, Hole


class FatalFeedError(Exception):
    """The vendor refuses this key here: trying again is useless, a person must act."""


class TransientFeedError(Exception):
    """The connection could not be made or was lost: try again after a wait."""


class CoolDownError(TransientFeedError):
    """Another connection holds the key: try again after the long wait."""


class EventKind(StrEnum):
    """What a feed reports."""

    AUTHENTICATED = "authenticated"
    SUBSCRIBED = "subscribed"
    DISCONNECTED = "disconnected"
    GAP = "gap"
    COOLDOWN = "cooldown"
    CLOCK_RESET = "clock_reset"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One thing that happened to a feed.

    Attributes
    ----------
    kind, at_ns
        What, and when by the wall clock.
    message
        For people; of a gap its cause: reconnect, shed_frames or shed_bars.
    from_ns, to_ns
        Of a gap: the bars with windows between may be missing, UTC ns. Equal where no whole window is missing but
        single bars of the windows that ended at `from_ns` may be.
    refused
        Of a subscription: items the vendor did not acknowledge.
    count
        Of a gap by shedding: frames or bars lost. Of a disconnection: the connection's number.
    """

    kind: EventKind
    at_ns: int
    message: str = ""
    from_ns: int = 0
    to_ns: int = 0
    refused: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Flush:
    """Bars joined, in arrival order per slot, at most one per slot and of one length in each batch; and faulty ones.

    `numbers` says which parsed parts they were made of, in the order of parsing; empty where they came another way.
    """

    parts: tuple[BarBatch | FaultBatch, ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the feed hands on at once: bars, and the holes between them.

    Attributes
    ----------
    items
        In the order they came.
    now_ns
        The feed's time when the last of them was parsed, UTC ns.
    recv_ns
        When the last frame of it was received, UTC ns; 0 where it holds no bars.
    """

    items: tuple[Flush | Hole, ...]
    now_ns: int
    recv_ns: int

    @property
    def batches(self) -> tuple[BarBatch, ...]:
        """Its bars alone."""
        return tuple(p for i in self.items if isinstance(i, Flush) for p in i.parts if isinstance(p, BarBatch))


@dataclass(frozen=True, slots=True)
class Admission:
    """What a feed says to pushed bars: why it does not take them now (empty: it does), and what it judges them by.

    `is_full`: it reads, and has too much waiting already.
    """

    refusal: str = ""
    is_full: bool = False
    now_ns: int = 0
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class FeedStats:
    """Counters since the start, and how the feed is now.

    Attributes
    ----------
    frames, bytes, bars, ignored
        Received; `bars` are those delivered on, `ignored` events known and not used.
    errors
        Events lost, by reason.
    sessions, reconnects, cooldowns
        Connections that were authenticated, and those after the first; waits for another holder of the key.
    shed_frames, shed_frame_bars, shed_bars
        Lost to overload: frames, the bars in them, and bars parsed already.
    queue_frames, queue_bytes, queue_bars
        Waiting now.
    is_connected
        Whether data may come now.
    lag_s
        How long the bars last delivered had waited since received, or the oldest waiting has if longer.
    blind_s
        Seconds without a connection since the start.
    newest_ns
        Newest window end seen, UTC ns.
    """

    frames: int = 0
    bytes: int = 0
    bars: int = 0
    ignored: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    reconnects: int = 0
    cooldowns: int = 0
    shed_frames: int = 0
    shed_frame_bars: int = 0
    shed_bars: int = 0
    queue_frames: int = 0
    queue_bytes: int = 0
    queue_bars: int = 0
    is_connected: bool = False
    lag_s: float = 0.0
    blind_s: float = 0.0
    newest_ns: int = 0
    refused: tuple[str, ...] = ()
