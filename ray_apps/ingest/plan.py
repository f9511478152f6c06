"""Everything one feed is told, as plain data that travels to its process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.decisions.config import DetectionConfig
from features.market.calendar import Sessions
from features.market.types import AssetClass
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.journal import RecordingPlan


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
    `warm_days` of stored bars make the norms of a start without a checkpoint.
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
    recording: RecordingPlan | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def asset_class(self) -> AssetClass:
        """The market."""
        return self.feed.asset_class
