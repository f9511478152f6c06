"""The protocol of detectors, and the kinds in their one order."""

from typing import Any, Protocol

from numpy.typing import NDArray

from features.calibration import Tail
from features.detectors.card import ModelCard
from features.market.types import F64

KINDS = (
    "burst_up", "burst_down", "price_move", "volume_spike", "volatility_spike", "gap", "correlation_break",
    "market_shock", "data_fault",
)  # fmt: skip
(BURST_UP, BURST_DOWN, PRICE_MOVE, VOLUME_SPIKE, VOLATILITY_SPIKE, GAP, CORRELATION_BREAK, MARKET_SHOCK,
 DATA_FAULT) = range(len(KINDS))  # fmt: skip


class Detector(Protocol):
    """Scores rows of X. Higher is more anomalous; NaN is not ready; scoring never changes anything."""

    @property
    def kind(self) -> str:
        """What it calls."""

    @property
    def tail(self) -> Tail:
        """The frozen tail that turns its score into a p-value."""

    @property
    def share(self) -> float:
        """The part of the budget it may spend by default."""

    @property
    def at_close(self) -> bool:
        """Whether it needs the columns known only when the window closes."""

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of X it reads, the ones that explain its score."""

    def score(self, x: F64) -> F64:
        """Give the score [...] of features [..., F]."""

    def direction(self, x: F64) -> F64:
        """Give +1 up, -1 down, 0 neither, of features [..., F]."""

    def trials(self, windows_a_day: F64, window_s: int) -> F64:
        """Give the independent looks a day, from the active windows a day."""

    def reading(self, x: F64, reference: str) -> str:
        """Say in a person's words what the features [F] of one bar show.

        `reference` says whose move the symbol is held against, such as "the market's".
        """


class FittedDetector(Protocol):
    """Learned offline, holds no state of any series. Higher is more anomalous; NaN is not ready."""

    @property
    def card(self) -> ModelCard:
        """What it was fitted on, its calibration among it."""

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of X it reads."""

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All it has learned, by name."""

    def score(self, x: F64) -> F64:
        """Give the score [...] of features [..., F]; a row's does not depend on the rows beside it."""
