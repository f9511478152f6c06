"""Give the rows the live path writes, as frozen records; times in UTC ns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.decisions.config import DetectionConfig
from features.market.types import F64, I32, I64, AssetClass, BarBatch, Bool

CLASS_STRIDE = 10_000_000
"""Series of class k are numbered from k * CLASS_STRIDE."""

Json = Mapping[str, Any] | Sequence[Any]


def series_id(asset_class: AssetClass, slot: int) -> int:
    """Give the database's number of a series.

    >>> series_id(AssetClass.CRYPTO, 5)
    10000005
    """
    return class_index(asset_class) * CLASS_STRIDE + slot


def class_index(asset_class: AssetClass) -> int:
    """Give the position of a class in AssetClass.

    >>> class_index(AssetClass.STOCKS), class_index(AssetClass.FUTURES)
    (0, 5)
    """
    return list(AssetClass).index(asset_class)


@dataclass(frozen=True, slots=True)
class BarRows:
    """Columns of bars to store, or stored; any number per series, in time order per series.

    Attributes
    ----------
    series_id
        [N] int32.
    ts, recv
        [N] int64, window start and receive time, UTC ns.
    open, high, low, close
        [N] float64, finite.
    volume, vwap, trades
        [N] float64, NaN where the venue did not say (NULL in the database).
    in_state
        [N] bool, whether these values were folded into the streaming state.
    """

    series_id: I32
    ts: I64
    recv: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    vwap: F64
    trades: F64
    in_state: Bool

    def __post_init__(self) -> None:
        n = len(self.series_id)
        for name in BAR_FIELDS:
            if len(getattr(self, name)) != n:
                raise ValueError(f"expected {n} values in {name}, was {len(getattr(self, name))}")

    def __len__(self) -> int:
        return len(self.series_id)

    def take(self, rows: NDArray[np.intp] | Bool | slice) -> "BarRows":
        """Give the given rows."""
        return BarRows(**{name: getattr(self, name)[rows] for name in BAR_FIELDS})

    @classmethod
    def of(cls, asset_class: AssetClass, batch: BarBatch, in_state: Bool | bool = True) -> "BarRows":
        """Give a batch as rows of the store; `in_state` for all of them or each."""
        n = len(batch)
        return cls(
            series_id=(batch.slot + class_index(asset_class) * CLASS_STRIDE).astype(np.int32),
            ts=batch.ts,
            recv=np.full(n, batch.recv_ns, dtype=np.int64),
            open=batch.open,
            high=batch.high,
            low=batch.low,
            close=batch.close,
            volume=batch.volume,
            vwap=batch.vwap,
            trades=batch.trades,
            in_state=np.broadcast_to(np.asarray(in_state, dtype=np.bool_), n),
        )

    @classmethod
    def concat(cls, parts: Sequence["BarRows"]) -> "BarRows":
        """Join parts in order; one part is given back as it is."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in BAR_FIELDS})


BAR_FIELDS = tuple(f.name for f in fields(BarRows))


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """One anomaly as stored; `own_kind` survives when a market shock takes `kind` over.

    `direction` is 1 up, -1 down, 0 none. `is_late` says that its bar came by history, after a hole. `history` holds the
    states it was in before, with when each was left (Unix ms); the database keeps it. `scores`, `features`, `versions`,
    `norms` are JSON (NaN: null).
    """

    id: str
    asset_class: str
    symbol: str
    series_id: int
    bar_s: int
    ts: int
    available_at: int
    kind: str
    own_kind: str
    score: float
    p_value: float | None
    rate: float | None
    severity: str
    state: str
    direction: int
    reading: str
    scores: Json
    features: Json
    versions: Json
    norms: Json
    episode_id: str | None = None
    is_late: bool = False
    history: Json = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One episode as stored; `symbol` is None for a market-wide one."""

    id: str
    asset_class: str
    symbol: str | None
    kind: str
    opened_at: int
    last_at: int
    closed_at: int | None
    n_anomalies: int
    severity: str
    rate: float | None
    p_value: float | None
    score: float | None
    breadth: float | None = None
    leaders: Json = ()
    members: Json = ()
    notified_at: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message to a sink; `key` makes it unique per sink, so writing it again changes nothing."""

    sink: str
    topic: str
    key: str
    payload: Json


@dataclass(frozen=True, slots=True)
class ContextRow:
    """What the market did in one minute, in its owner's encoding (the store does not look inside)."""

    asset_class: str
    window_s: int
    ts_end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """The settings a shard was told in a run of the system."""

    run: str
    detection: DetectionConfig


@dataclass(frozen=True, slots=True)
class Position:
    """The last batch a shard has committed; the settings it was told last, and in which run, if it ever was."""

    epoch: int
    seq: int
    told: Told | None = None
