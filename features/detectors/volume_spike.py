"""Activity alone: how many times the norm of that time of day."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TAIL = Tail(3.2, 3.8, is_light=True)
"""Exponential, as log activity is on every real set: log trades of thin coins give 3.2, 4.9 and 6.4 at 1e-2 to 1e-4,
log volume of stocks 2.8, 4.4 and 5.9, of liquid coins 2.1, 2.9 and 3.7."""


@dataclass(frozen=True, slots=True)
class VolumeSpike:
    """The z of log activity, where the window is at least `min_ratio` times as busy as normal.

    `gain` is the factor the z of the activity column carries for the bursts' sake; it is taken out again, or one tail
    could not fit trades and volume.
    The ratio is a floor, the rate decides above it.
    """

    kind: str = "volume_spike"
    tail: Tail = TAIL
    share: float = 0.03
    at_close: bool = False
    columns: tuple[int, ...] = (catalog.ACTIVITY_RATIO, catalog.ACTIVITY_Z)
    min_ratio: float = 3.0
    gain: float = 1.0

    def score(self, x: F64) -> F64:
        """Give the z, 0 below the floor."""
        z, ratio = x[..., catalog.ACTIVITY_Z], x[..., catalog.ACTIVITY_RATIO]
        return np.where(np.isnan(z), np.nan, np.where(ratio >= self.min_ratio, np.maximum(z, 0.0), 0.0) / self.gain)

    def direction(self, x: F64) -> F64:
        """Activity has no side."""
        return np.zeros(x.shape[:-1])

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """Every active window is a look."""
        return windows_a_day

    def reading(self, x: F64, reference: str) -> str:
        """Say the ratio."""
        return f"{x[catalog.ACTIVITY_RATIO]:.2f}x normal activity"
