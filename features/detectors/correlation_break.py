"""A symbol that left its market, its sector or its pair: the hour's residual against beta times the other's move."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

TRIAL_S = 600.0
"""Its windows slide over an hour: one independent trial per ten minutes."""

TAIL = Tail(3.6, 4.2)
"""Calm weeks of stocks and coins together give 3.8, 6.6 and 10.5 at 1e-2 to 1e-4."""


@dataclass(frozen=True, slots=True)
class CorrelationBreak:
    """The size of the residual's z, known when the window closes."""

    kind: str = "correlation_break"
    tail: Tail = TAIL
    share: float = 0.05
    at_close: bool = True
    columns: tuple[int, ...] = (catalog.RESIDUAL, catalog.RESIDUAL_Z, catalog.BETA)

    def score(self, x: F64) -> F64:
        """Give |z|."""
        return np.abs(x[..., catalog.RESIDUAL_Z])

    def direction(self, x: F64) -> F64:
        """Give the sign of the residual."""
        return np.sign(x[..., catalog.RESIDUAL_Z])

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """One look per ten minutes of active windows."""
        return np.asarray(windows_a_day * min(1.0, window_s / TRIAL_S))

    def reading(self, x: F64, reference: str) -> str:
        """Say the residual and the beta."""
        percent = 100 * np.expm1(x[catalog.RESIDUAL])
        return f"{percent:+.1f} % in an hour beyond {x[catalog.BETA]:.1f}x {reference} move"
