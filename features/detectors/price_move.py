"""A move alone: the bar's high or low, whichever went farther from the last close."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TAIL = Tail(3.3, 3.3)
"""The cubic law; the sets lie on both sides: 2.6 (5-minute stocks) to 4.4 (liquid coins) at 1e-2, 9 to 24 at 1e-4."""


@dataclass(frozen=True, slots=True)
class PriceMove:
    """The larger of the up and down z."""

    kind: str = "price_move"
    tail: Tail = TAIL
    share: float = 0.05
    at_close: bool = False
    columns: tuple[int, ...] = (catalog.UP_Z, catalog.DOWN_Z)

    def score(self, x: F64) -> F64:
        """Give the z of the farther side."""
        return np.maximum(x[..., catalog.UP_Z], x[..., catalog.DOWN_Z])

    def direction(self, x: F64) -> F64:
        """Give the side that went farther."""
        return np.where(x[..., catalog.UP_Z] >= x[..., catalog.DOWN_Z], 1.0, -1.0)

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """Every active window is a look."""
        return windows_a_day

    def reading(self, x: F64, reference: str) -> str:
        """Say the move and how many sd it was."""
        up = x[catalog.UP_Z] >= x[catalog.DOWN_Z]
        z = x[catalog.UP_Z] if up else -x[catalog.DOWN_Z]
        return f"{100 * np.expm1(z * x[catalog.RETURN_SD]):+.2f} % in one window, {abs(z):.1f} sd"
