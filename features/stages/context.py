"""What the market as a whole did in each closed window."""

from dataclasses import dataclass, fields

import numpy as np

from features.market.types import F64, I64, Bool


@dataclass(frozen=True, slots=True)
class Contexts:
    """Columns over closed windows [C], one of them [C, G]; the minute's broadcast to the shards is one with C = 1.

    Attributes
    ----------
    end
        End of the window, UTC ns.
    n_active
        Series that had a bar within the last 10 minutes.
    score, p_value, rate, direction
        The market's own anomaly score, its p, its expected false alerts a day, +1 or -1; NaN while too few symbols.
    is_shock
        Whether the rate is within the budget: all symbols are raised as one.
    breadth
        Part of the active series that moved the market's way by more than one sd.
    moves
        [C, G] log moves of the hour that residuals are held against, in the columns of `Peers`: the median of the
        market, then of each sector, NaN below three active symbols, then each partner's own, NaN where it is silent.
    day, scale
        Number of the window's day, and the factor on every rate of the day after it.
    """

    end: I64
    n_active: I64
    score: F64
    p_value: F64
    rate: F64
    direction: F64
    is_shock: Bool
    breadth: F64
    moves: F64
    day: I64
    scale: F64

    def __len__(self) -> int:
        return len(self.end)

    def take(self, rows: slice) -> "Contexts":
        """Give the given windows."""
        return Contexts(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def concat(cls, parts: "list[Contexts]") -> "Contexts":
        """Join contexts in time order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))
