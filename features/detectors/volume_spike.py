"""Activity alone: how many times the norm of that time of day."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TAIL = Tail(3.5, 5.8)


@dataclass(frozen=True, slots=True)
class VolumeSpike:
    """The z of log activity, where the window is at least `min_ratio` times as busy as normal.

    The ratio is a floor, the rate decides above it. `classic` calls every bar at the floor instead, as many charts do.
    """

    kind: str = "volume_spike"
    tail: Tail = TAIL
    share: float = 0.0
    at_close: bool = False
    columns: tuple[int, ...] = (catalog.ACTIVITY_RATIO, catalog.ACTIVITY_Z)
    min_ratio: float = 3.0
    classic: bool = False

    def score(self, x: F64) -> F64:
        """Give the z, 0 below the floor."""
        z, ratio = x[..., catalog.ACTIVITY_Z], x[..., catalog.ACTIVITY_RATIO]
        return np.where(np.isnan(z), np.nan, np.where(ratio >= self.min_ratio, np.maximum(z, 0.0), 0.0))

    def direction(self, x: F64) -> F64:
        """Activity has no side."""
        return np.zeros(x.shape[:-1])

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """Every active window is a look."""
        return windows_a_day

    def reading(self, x: F64) -> str:
        """Say the ratio."""
        return f"{x[catalog.ACTIVITY_RATIO]:.2f}x normal activity"
