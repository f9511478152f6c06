"""What the user may decide about detection; everything else is a measured constant."""

from dataclasses import dataclass, field, replace

from features.detectors import burst
from features.detectors.base import KINDS, Detector
from features.detectors.correlation_break import CorrelationBreak
from features.detectors.gap import Gap
from features.detectors.price_move import PriceMove
from features.detectors.volatility_spike import VolatilitySpike
from features.detectors.volume_spike import VolumeSpike
from features.families.activity import VOLUME_GAIN
from features.stages.peers import Peers

BUDGET = 0.03
"""False episodes per symbol-day accepted: 11,000 symbols then give 330 a day before ranking and caps."""
COOLDOWN_S = 1_800


@dataclass(frozen=True, slots=True)
class DetectorRule:
    """One detector's settings: its part of the budget, the least deviation and the side that count.

    `min_deviation` is in the unit of the detector's score; `direction` is up, down or both.
    """

    share: float | None = None
    enabled: bool = True
    min_deviation: float = 0.0
    direction: str = "both"


@dataclass(frozen=True, slots=True)
class DetectionConfig:
    """The settings of one asset class's stages."""

    budget: float = BUDGET
    cooldown_s: int = COOLDOWN_S
    notifications_per_day: int = 200
    min_price: float = 0.0
    min_dollar_volume: float = 0.0
    volume_min_ratio: float = 3.0
    volume_classic: bool = False
    rules: dict[str, DetectorRule] = field(default_factory=dict)
    peers: Peers = field(default_factory=Peers)

    def __post_init__(self) -> None:
        if not self.budget > 0.0:
            raise ValueError(f"expected a budget above 0 episodes per symbol-day, was {self.budget}")
        unknown = set(self.rules) - set(KINDS)
        if unknown:
            raise ValueError(f"expected detectors of {', '.join(KINDS)}, was {', '.join(sorted(unknown))}")

    def rule(self, kind: str) -> DetectorRule:
        """Give the rule of a kind, the default where the user said nothing."""
        return self.rules.get(kind, DetectorRule())

    def detectors(self, activity: str = "trades") -> tuple[Detector, ...]:
        """Give the enabled detectors of series with that activity column, in the order of `KINDS`."""
        gain = VOLUME_GAIN if activity == "volume" else 1.0
        spike = VolumeSpike(min_ratio=self.volume_min_ratio, gain=gain)
        known = (burst.UP, burst.DOWN, PriceMove(), spike, VolatilitySpike(), Gap(), CorrelationBreak())
        chosen: list[Detector] = []
        for d in known:
            rule = self.rule(d.kind)
            if rule.enabled:
                chosen.append(d if rule.share is None else replace(d, share=rule.share))
        return tuple(chosen)
