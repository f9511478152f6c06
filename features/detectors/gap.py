"""The overnight move, one trial a morning."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TAIL = Tail(2.9, 3.2)
"""The cubic law; 2,350 calm mornings of stocks exceed 2.9 in 1 %."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The size of the overnight z."""

    kind: str = "gap"
    tail: Tail = TAIL
    share: float = 0.05
    at_close: bool = False
    columns: tuple[int, ...] = (catalog.GAP, catalog.GAP_Z)

    def score(self, x: F64) -> F64:
        """Give |z|, NaN but on a session's first bar."""
        return np.abs(x[..., catalog.GAP_Z])

    def direction(self, x: F64) -> F64:
        """Give the sign of the gap."""
        return np.sign(x[..., catalog.GAP_Z])

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """One a morning."""
        return np.ones_like(windows_a_day)

    def reading(self, x: F64, reference: str) -> str:
        """Say the gap."""
        return f"opened {100 * np.expm1(x[catalog.GAP]):+.1f} %, {abs(x[catalog.GAP_Z]):.1f} sd of its mornings"
