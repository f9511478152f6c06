"""Say how to hold one connection to the vendor: what to read, and every limit and wait."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from features.market import symbols
from features.market.polygon import Limits, topics
from features.market.readers import Form
from features.market.types import AssetClass


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """How to read one market.

    Attributes
    ----------
    asset_class
        The market.
    url
        Whole WebSocket address, market included (``wss://socket.polygon.io/stocks``); an http(s) address: no stream,
        each day's bars come by REST; empty: nothing is read, bars are pushed.
    api_key
        The vendor's key; never shown.
    bar_lengths
        Which bars to read, seconds: 60, 1 or both.
    names
        Symbols in our spelling, or ``("*",)`` for all.
    speed, delay_s, is_live
        The source's clock, see `FeedClock`.
    newest_ns
        Newest window end known from an earlier run: the first bar after it closes the hole between. 0: none.
    dark_s
        Seconds since the earlier run's last sign of life.
    silence_s
        Seconds without a frame, inside a session, after which the connection is taken for dead.
    open_timeout_s, hello_timeout_s, auth_timeout_s, ack_timeout_s, close_timeout_s
        Section 3.8 of the protocol page.
    ping_interval_s, ping_timeout_s
        Keepalive, as the vendor's own client.
    backoff_base_s, backoff_cap_s, stable_s
        Waits between attempts; they start afresh after a connection that gave data for `stable_s`.
    cooldown_s
        Wait after the vendor said that another connection holds the key. Below 60 s two instances would kick
        each other for ever.
    max_frame_bytes
        Longer frames are refused unread.
    queue_frames, queue_bytes
        Bound of frames received and not parsed; beyond it the oldest go.
    queue_bars
        Bound of bars parsed and not delivered; beyond it second bars go, then frames wait.
    flush_s, flush_bars
        A delivery leaves after this time or with this many bars, whichever is first.
    chunk_items, chunk_bytes
        Size of one subscription request.
    future_s, too_old_s
        See `Limits`; the first in seconds of real time.
    """

    asset_class: AssetClass
    url: str
    api_key: str = field(repr=False)
    bar_lengths: tuple[int, ...] = (60,)
    names: tuple[str, ...] = ("*",)
    speed: float = 1.0
    delay_s: float = 0.0
    is_live: bool = False
    newest_ns: int = 0
    dark_s: float = 0.0
    silence_s: float = 90.0
    open_timeout_s: float = 10.0
    hello_timeout_s: float = 5.0
    auth_timeout_s: float = 10.0
    ack_timeout_s: float = 5.0
    close_timeout_s: float = 2.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    stable_s: float = 60.0
    cooldown_s: float = 60.0
    max_frame_bytes: int = 8 * 2**20
    queue_frames: int = 20_000
    queue_bytes: int = 64 * 2**20
    queue_bars: int = 200_000
    flush_s: float = 0.005
    flush_bars: int = 4_096
    chunk_items: int = 500
    chunk_bytes: int = 16 * 2**10
    future_s: float = 5.0
    too_old_s: float = 3_600.0

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError(f"expected a ws://, wss://, http:// or https:// address, was {self.url!r}")
        if not self.bar_lengths or not self.names:
            raise ValueError("expected at least one bar length and one symbol, was none")
        for name in self.names:
            if name != "*":
                symbols.to_wire(self.asset_class, name)

    @property
    def form(self) -> Form:
        """The form of the frames that tell this feed's time and holes; others are guests."""
        return "stream" if self.url.startswith("ws") else "rows"

    @property
    def is_daily(self) -> bool:
        """Whether bars come by REST after the day's close: in order of time, without holes."""
        return self.url.startswith("http")

    @property
    def host(self) -> str:
        """Who is read; empty for pushed bars."""
        return urlsplit(self.url).netloc

    @property
    def limits(self) -> Limits:
        """What of a frame is refused; a fast tape's jitter is so many times longer on its own clock."""
        future_s = self.future_s * max(1.0, self.speed)
        return Limits(max_frame_bytes=self.max_frame_bytes, future_s=future_s, too_old_s=self.too_old_s)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What to subscribe to, in order, each once.

        >>> FeedConfig(AssetClass.CRYPTO, "ws://x/crypto", "k", (60, 1), ("BTC-USD",)).subscriptions
        ('XA.BTC-USD', 'XAS.BTC-USD')
        """
        wanted = [f"{topics(self.asset_class, bar_s)}.{name}" for bar_s in self.bar_lengths for name in self.names]
        return tuple(dict.fromkeys(wanted))
