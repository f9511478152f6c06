"""Activity and move together, the strongest single sign of a pump, a rally or a rout; up and down apart."""

from dataclasses import dataclass

import numpy as np

from features import catalog
from features.calibration import Tail
from features.market.types import F64

MOVE_SCALE = 2.75
"""Puts the heavy tail of moves on the scale of activity; 2.5 to 3 is flat."""

TAIL = Tail(1.0, 3.5)
"""Calm weeks of all real sets together give .94 to .98, 1.9 to 2.1 and 4.1 to 4.5 at 1e-2 to 1e-4."""


@dataclass(frozen=True, slots=True)
class Burst:
    """min(activity z, move z / 2.75): only what is extreme in both scores high."""

    kind: str = "burst_up"
    tail: Tail = TAIL
    share: float = 0.64
    at_close: bool = False
    column: int = catalog.UP_Z
    sign: float = 1.0
    columns: tuple[int, ...] = (catalog.ACTIVITY_Z, catalog.UP_Z)

    def score(self, x: F64) -> F64:
        """Give the joint score.

        >>> x = np.full(len(catalog.CATALOG), np.nan)
        >>> x[catalog.ACTIVITY_Z], x[catalog.UP_Z] = 4.0, 8.25
        >>> float(UP.score(x))
        3.0
        """
        return np.minimum(x[..., catalog.ACTIVITY_Z], x[..., self.column] / MOVE_SCALE)

    def direction(self, x: F64) -> F64:
        """Give the side it watches."""
        return np.full(x.shape[:-1], self.sign)

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """Every active window is a look."""
        return windows_a_day

    def reading(self, x: F64, reference: str) -> str:
        """Say the move and the activity."""
        percent = 100 * np.expm1(self.sign * x[self.column] * x[catalog.RETURN_SD])
        return f"{percent:+.1f} % on {x[catalog.ACTIVITY_RATIO]:.2f}x normal activity"


UP = Burst()
DOWN = Burst("burst_down", share=0.15, column=catalog.DOWN_Z, sign=-1.0,
             columns=(catalog.ACTIVITY_Z, catalog.DOWN_Z))  # fmt: skip
