"""Short against long realised volatility."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TRIAL_WINDOWS = 10.0
"""The short volatility has a half-life of ten windows: so many share one trial."""

TAIL = Tail(2.0, 6.8, is_light=True)
"""Exponential, for each move counts as five sd at most: real bars give 1.9 to 2.3, 2.5 to 3.1 and 3.0 to 3.6 at 1e-2 to
1e-4."""


@dataclass(frozen=True, slots=True)
class VolatilitySpike:
    """The ratio of short to long return rms."""

    kind: str = "volatility_spike"
    tail: Tail = TAIL
    share: float = 0.03
    at_close: bool = False
    columns: tuple[int, ...] = (catalog.VOLATILITY_RATIO,)

    def score(self, x: F64) -> F64:
        """Give the ratio."""
        return x[..., catalog.VOLATILITY_RATIO]

    def direction(self, x: F64) -> F64:
        """Volatility has no side."""
        return np.zeros(x.shape[:-1])

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """One look per ten windows."""
        return np.asarray(windows_a_day / TRIAL_WINDOWS)

    def reading(self, x: F64, reference: str) -> str:
        """Say the ratio."""
        return f"{x[catalog.VOLATILITY_RATIO]:.1f}x normal volatility"
