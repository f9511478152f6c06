"""Keep a family's state: one row of numbers per series, and the record that undoes its newest bar."""

import numpy as np

from features.market.types import F64

Cells = tuple[F64, F64, F64, F64]
"""A table as kernels take it: state [S, width], undo [S, width], ring [S, length, depth], cell [S, depth]."""


class Table:
    """State rows [S, width] with their undo rows, and rings [S, length, depth] with their undo cells.

    A kernel copies a row to `undo` before it folds a bar and back before it folds a revision of that bar; of a ring
    one cell changes per bar, so one cell is kept. Rows start as zero, rings as NaN.
    """

    def __init__(self, width: int, ring: tuple[int, int] = (0, 0)) -> None:
        self.state = np.zeros((0, width))
        self.undo = np.zeros((0, width))
        self.ring = np.empty((0, *ring))
        self.cell = np.empty((0, ring[1]))

    @property
    def cells(self) -> Cells:
        """Give the arrays to a kernel, which changes them in place."""
        return self.state, self.undo, self.ring, self.cell

    def grow(self, n: int) -> None:
        """Make room for `n` series; present rows keep their place."""
        self.state = _grown(self.state, n, 0.0)
        self.undo = _grown(self.undo, n, 0.0)
        self.ring = _grown(self.ring, n, np.nan)
        self.cell = _grown(self.cell, n, np.nan)

    def snapshot(self, n: int) -> dict[str, F64]:
        """Give copies of the first `n` rows."""
        return {k: getattr(self, k)[:n].copy() for k in ("state", "undo", "ring", "cell")}

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the rows of a snapshot of the same layout."""
        for name, value in arrays.items():
            expected = getattr(self, name).shape[1:]
            if value.shape[1:] != expected:
                raise ValueError(f"expected {name} rows of shape {expected}, was {value.shape[1:]}")
            setattr(self, name, np.ascontiguousarray(value, dtype=np.float64).copy())

    @property
    def nbytes_per_row(self) -> int:
        """Bytes one series takes."""
        arrays = (self.state, self.undo, self.ring, self.cell)
        return sum(int(np.prod(a.shape[1:])) * a.itemsize for a in arrays)


def _grown(a: F64, n: int, fill: float) -> F64:
    if len(a) >= n:
        return a
    out = np.full((n, *a.shape[1:]), fill)
    out[: len(a)] = a
    return out
