"""The columns of anomalies: one per abnormal bar."""

import hashlib
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from features.detectors.base import KINDS
from features.market.types import F64, I32, I64, U8, Series

SEVERITIES = ("low", "medium", "high", "critical")
STATES = ("provisional", "confirmed", "amended", "retracted")
PROVISIONAL, CONFIRMED, AMENDED, RETRACTED = range(len(STATES))
NO_KIND = 255


def anomaly_id(series: Series, ts_ns: int) -> str:
    """Give the id of the anomaly of one bar: the same bar gives the same id wherever and whenever it is judged.

    >>> from features.market.types import AssetClass
    >>> anomaly_id(Series(AssetClass.STOCKS, "AAPL", 60), 0)
    '3ead6d2133e0d0d8933cabff669eeeb9'
    """
    text = f"{series.asset_class}|{series.symbol}|{series.bar_s}|{ts_ns}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def severity(rate: float, budget: float) -> str:
    """Give the severity: how far the rate of such false alerts is below the accepted one.

    A data fault has no rate; it is medium, since it says nothing about the market but much about the data.

    >>> severity(0.02, 0.03), severity(0.001, 0.03), severity(1e-6, 0.03), severity(float("nan"), 0.03)
    ('low', 'high', 'critical', 'medium')
    """
    if np.isnan(rate):
        return "medium"
    ratio = budget / max(rate, 1e-300)
    return SEVERITIES[0 if ratio < 3 else 1 if ratio < 30 else 2 if ratio < 300 else 3]


@dataclass(frozen=True, slots=True)
class Anomalies:
    """Columns over anomalies [M], in the order they were decided.

    `kind` and `own_kind` index `KINDS` (`NO_KIND` where the symbol itself showed nothing), `x` [M, F] are the
    features and `scores` [M, K] the scores of every kind at that bar.
    """

    slot: I32
    ts: I64
    end: I64
    kind: U8
    own_kind: U8
    score: F64
    p_value: F64
    rate: F64
    direction: F64
    price: F64
    state: U8
    x: F64
    scores: F64

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, rows: NDArray[np.intp]) -> "Anomalies":
        """Give the given rows."""
        return Anomalies(*(getattr(self, f.name)[rows] for f in fields(self)))

    def ordered(self) -> "Anomalies":
        """Give them by time known, then slot."""
        return self.take(np.lexsort((self.slot, self.end)))

    def with_states(self, state: U8) -> "Anomalies":
        """Give them in the given states [M]."""
        return replace(self, state=state)

    @classmethod
    def concat(cls, parts: "list[Anomalies]") -> "Anomalies":
        """Join parts in their order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @classmethod
    def none(cls, n_features: int, n_kinds: int = len(KINDS)) -> "Anomalies":
        """Give no anomalies."""
        empty = np.empty(0)
        return cls(
            slot=empty.astype(np.int32), ts=empty.astype(np.int64), end=empty.astype(np.int64),
            kind=empty.astype(np.uint8), own_kind=empty.astype(np.uint8), score=empty, p_value=empty, rate=empty,
            direction=empty, price=empty, state=empty.astype(np.uint8), x=np.empty((0, n_features)),
            scores=np.empty((0, n_kinds)),
        )  # fmt: skip
