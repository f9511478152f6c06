"""What is kept of each series' newest bar until its window closes, and anomalies built from it."""

import numpy as np
from numpy.typing import NDArray

from features.decisions.anomalies import Anomalies
from features.decisions.judge import Judge
from features.detectors.base import DATA_FAULT, KINDS, MARKET_SHOCK
from features.jit import kernel
from features.market.types import F64, I32, I64, U8, Bool

TS, END, CLOSED, MOVE, REACH, TRIALS, SCALE, RATE, SCORE, P_VALUE, PRICE, KIND, FLAGGED, OPEN, IS_CUT = range(15)
WIDTH = 15
"""Columns of a newest bar.

`CLOSED` is the end of the bar that was closed last, negative where that bar was revised since. `FLAGGED` says that an
anomaly was given out for the bar, `OPEN` that the universe's rules let it in, `IS_CUT` that a hole cut its hour short.
`RATE` is the smallest rate of the kinds
judged at once, inf where none was ready.
"""


def stack(columns: dict[int, F64 | I64 | U8 | Bool], shape: tuple[int, ...]) -> F64:
    """Lay columns [...] side by side as [..., WIDTH]; columns not given are 0."""
    out = np.zeros((*shape, WIDTH))
    for column, values in columns.items():
        out[..., column] = values
    return out


@kernel
def last_of_windows(present: Bool, end: I64, windows: I64, window_ns: int, out: I64) -> None:
    """Fill `out` [C, N] with the row t of the last bar of each window ending at `windows` [C], -1 where none."""
    c = 0
    for t in range(present.shape[0]):
        for n in range(present.shape[1]):
            if not present[t, n]:
                continue
            while c < windows.shape[0] - 1 and end[t, n] > windows[c]:
                c += 1
            if end[t, n] <= windows[c] and end[t, n] > windows[c] - window_ns:
                out[c, n] = t


def anomalies_of(
    slots: I32,
    bars: F64,
    x: F64,
    kind: U8,
    own_kind: U8,
    verdict: F64,
    direction: F64,
    state: int,
    judge: Judge,
) -> Anomalies:
    """Give anomalies of bars [M, WIDTH] with features [M, F]; `verdict` [M, 3] is score, p-value and rate."""
    n = len(slots)
    scores = judge.scores(x)
    scores[kind == MARKET_SHOCK, MARKET_SHOCK] = verdict[kind == MARKET_SHOCK, 0]
    return Anomalies(
        slot=slots.astype(np.int32), ts=bars[:, TS].astype(np.int64), end=bars[:, END].astype(np.int64),
        kind=kind.astype(np.uint8), own_kind=own_kind.astype(np.uint8),
        score=verdict[:, 0], p_value=verdict[:, 1], rate=verdict[:, 2], direction=direction,
        price=bars[:, PRICE], state=np.full(n, state, dtype=np.uint8), x=x, scores=scores,
    )  # fmt: skip


def directions(judge: Judge, kind: U8, x: F64) -> F64:
    """Give the side [M] each anomaly's own kind moved to."""
    out = np.zeros(len(kind))
    for d in judge.detectors:
        rows: NDArray[np.intp] = np.flatnonzero(kind == KINDS.index(d.kind))
        if len(rows):
            out[rows] = np.nan_to_num(d.direction(x[rows]))
    return out


def fault_verdict(kind: U8, verdict: F64) -> F64:
    """Give the verdict [M, 3] with a data fault's score 1 and no p-value or rate: it is a rule."""
    out = verdict.copy()
    out[kind == DATA_FAULT] = (1.0, np.nan, np.nan)
    return out
