"""Everything one feed and one reader of the past are told, as plain data that travels to their process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.decisions.config import DetectionConfig
from features.market.calendar import Sessions
from features.market.types import AssetClass
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.journal import RecordingPlan
from ray_apps.ingest.tiers import Entitlement


@dataclass(frozen=True, slots=True)
class WarmPlan:
    """History of a source that knows its own past: a synthetic tape before `until_ns`."""

    n_symbols: int
    seed: int
    per_day: int
    days: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """One asset class's feed: where it reads, what it writes, who else may take over.

    `sessions` are the exchange's days of a live market; silence outside them is fine. None: always open.
    `warm_days` of stored bars make the norms of a start without a checkpoint. `history` fills the holes of the stream;
    None where the source has none.
    """

    feed: FeedConfig
    host: str
    tier: str
    holder: str
    dsn: str
    checkpoints: Path
    n_shards: int
    primary_bar_s: int
    activity: str
    detection: DetectionConfig
    checkpoint_s: float
    warm: WarmPlan | None = None
    sessions: Sessions | None = None
    warm_days: int = 7
    history: "HistoryPlan | None" = None
    recording: RecordingPlan | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def asset_class(self) -> AssetClass:
        """The market."""
        return self.feed.asset_class


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """How to ask the vendor for one asset class's past.

    Attributes
    ----------
    base_url
        REST base.
    api_key
        The vendor's key; never shown.
    dsn
        Database in which the processes of one key share its calls; holds a password, so it is not shown either.
    entitlement
        What the configured plan allows; what the vendor answers comes before it.
    in_flight
        Most calls under way at once, where calls are not counted by the minute.
    calls_per_s
        Most calls a second of this process: the vendor's soft limit is 100.
    window_s
        The rolling minute of a counted plan, with a second for calls that arrive late.
    connect_timeout_s, read_timeout_s
        Of a connection, and between two pieces of an answer.
    call_timeout_s
        Of a whole answer.
    tries, rate_tries
        Most attempts of one call; the second where the vendor said that calls come too often.
    backoff_base_s, backoff_cap_s
        Waits between attempts where the vendor does not say how long.
    patience_s
        How long the database may be away; also the longest wait the vendor may ask for.
    """

    asset_class: AssetClass
    base_url: str
    api_key: str = field(repr=False)
    dsn: str = field(repr=False)
    entitlement: Entitlement
    in_flight: int = 8
    calls_per_s: float = 90.0
    window_s: float = 61.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    call_timeout_s: float = 120.0
    tries: int = 5
    rate_tries: int = 10
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"expected an http:// or https:// address, was {self.base_url!r}")
        for name in ("in_flight", "tries", "rate_tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of 1 or more, was {getattr(self, name)}")
