"""What the HTTP gateway takes and gives; limits on every input, times as ISO 8601 in UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)

from features.market.pushed import EARLIEST_MS, LATEST_MS
from features.market.types import NS_PER_MS, AssetClass
from ray_apps.config import BAR_LENGTHS, Kind, Severity, State
from ray_apps.store.filters import Cursor, CursorError
from ray_apps.store.rows import AnomalyRow, EpisodeRow

MAX_LIMIT = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2200, 1, 1, tzinfo=UTC)
"""Instants outside 1970 to 2200 do not fit, or mean nothing, as int nanoseconds."""


def to_ns(at: datetime) -> int:
    """Give UTC nanoseconds.

    >>> to_ns(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000000
    """
    return (at - EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(ns: int) -> datetime:
    """Give the instant of UTC nanoseconds.

    >>> from_ns(1_000_000_000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return EPOCH + timedelta(microseconds=ns // 1000)


def _bounded(at: datetime) -> datetime:
    if not EPOCH <= at <= LAST:
        raise ValueError("expected an instant between 1970 and 2200")
    return at


def _ms(value: Any) -> Any:
    """Let a number be Unix ms alone, as `t` of a pushed bar is: one of another scale is an instant nobody meant."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    if not EARLIEST_MS <= number <= LATEST_MS:
        raise ValueError("expected ISO 8601 with a zone, or Unix ms from 1973 to 2100")
    return value


def _listed(length: int) -> int:
    if length not in BAR_LENGTHS:
        raise ValueError(f"expected one of {', '.join(map(str, BAR_LENGTHS))}")
    return length


def _time(value: Any) -> Any:
    return from_ns(value) if isinstance(value, int) else value


def _time_ms(value: Any) -> Any:
    return from_ns(value * NS_PER_MS) if isinstance(value, int) else value


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


SYMBOL = r"^[A-Za-z0-9][A-Za-z0-9.:/_-]{0,47}$"
Symbol = Annotated[str, Field(pattern=SYMBOL, max_length=48, examples=["AAPL", "BTC-USD", "EUR/USD", "I:SPX"])]
Instant = Annotated[AwareDatetime, BeforeValidator(_ms), AfterValidator(_bounded)]
BarLength = Annotated[int, AfterValidator(_listed), Field(examples=[60])]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, examples=[100])]
AnomalyId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["3f1c0b7d5a9e4f7e8b1c2d3e4f5a6b7c"])]
Opaque = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_=-]+$")]
Time = Annotated[
    datetime,
    BeforeValidator(_time),
    PlainSerializer(lambda at: at.isoformat().replace("+00:00", "Z"), return_type=str),
    Field(examples=["2026-01-02T14:31:00Z"]),
]
Number = Annotated[float | None, BeforeValidator(_finite)]


def _decodable(cursor: str) -> str:
    try:
        Cursor.decode(cursor)
    except CursorError as e:
        raise ValueError(str(e).partition(", was ")[0]) from None
    return cursor


Token = Annotated[Opaque, AfterValidator(_decodable)]


class Query(BaseModel):
    """Query parameters; one that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    pass


class Cut(Query):
    """A span of time [since, until), newest first, page by page."""

    since: Instant | None = Field(default=None, description="First instant, ISO 8601 with a zone, or Unix ms.")
    until: Instant | None = Field(default=None, description="First instant no more asked for.")
    limit: Limit = 100
    cursor: Token | None = Field(default=None, description="`next` of the page before.")

    @field_validator("until")
    @classmethod
    def _after_since(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if value is not None and since is not None and value < since:
            raise ValueError(f"expected an instant after since ({since.isoformat()})")
        return value

    @property
    def since_ns(self) -> int | None:
        return to_ns(self.since) if self.since else None

    @property
    def until_ns(self) -> int | None:
        return to_ns(self.until) if self.until else None

    @property
    def after(self) -> Cursor | None:
        return Cursor.decode(self.cursor) if self.cursor else None


class SymbolsQuery(Query):
    asset_class: AssetClass | None = None
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:/_-]{1,48}$")] | None = None
    limit: Limit = 100
    cursor: Token | None = None

    @property
    def after(self) -> Cursor | None:
        return Cursor.decode(self.cursor) if self.cursor else None


class OneSymbolQuery(Query):
    asset_class: AssetClass | None = Field(default=None, description="Needed where two classes share the symbol.")


class BarsQuery(Cut):
    symbol: Symbol
    asset_class: AssetClass | None = None
    bar_s: BarLength = Field(default=60, description="Bar length, seconds.")


class AnomaliesQuery(Cut):
    symbol: Symbol | None = None
    asset_class: AssetClass | None = None
    kind: Kind | None = None
    min_severity: Severity | None = None
    state: State | None = None
    episode_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-]{1,64}$")] | None = None


class EpisodesQuery(Cut):
    symbol: Symbol | None = None
    asset_class: AssetClass | None = None
    kind: Kind | None = None
    min_severity: Severity | None = None
    is_open: bool | None = Field(default=None, description="Only open ones, or only closed ones.")


class StreamQuery(Query):
    symbol: Symbol | None = None
    asset_class: AssetClass | None = None
    kind: Kind | None = None
    min_severity: Severity | None = None


class Out(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class SymbolOut(Out):
    asset_class: AssetClass
    symbol: Symbol
    bar_s: list[int] = Field(examples=[[60]], description="Bar lengths it is stored at, seconds.")
    first_seen: Time
    waiting: dict[str, int] | None = Field(
        default=None,
        examples=[{"volatility_spike": 42}],
        description="Windows that kinds still need before they can be called; null where the cache does not know.",
    )


class BarOut(Out):
    ts: Time = Field(description="Start of the window.")
    open: float = Field(examples=[244.9])
    high: float = Field(examples=[245.3])
    low: float = Field(examples=[244.8])
    close: float = Field(examples=[245.09])
    volume: Number = Field(examples=[1097.0], description="null where the venue did not say.")
    vwap: Number = Field(default=None, examples=[245.02])
    trades: Number = Field(examples=[31.0])
    revision: int = Field(default=0, examples=[0], description="How often the venue changed it.")


class WaitOut(Out):
    """How long a kind still waits for its norms, at the series' usual pace."""

    windows: int = Field(examples=[42])
    seconds: int = Field(examples=[2520])


class LatestOut(Out):
    asset_class: AssetClass
    symbol: Symbol
    bar_s: int = Field(examples=[60])
    source: Literal["cache", "database"] = Field(description="The database where the cache has nothing.")
    bar: BarOut
    features: dict[str, Number] = Field(default={}, examples=[{"activity_z": 1.2}])
    reasons: dict[str, str] = Field(
        default={}, examples=[{"residual_z": "warming"}], description="Why features have no value."
    )
    scores: dict[str, Number] = Field(default={}, examples=[{"burst_up": 0.4}])
    waiting: dict[str, WaitOut] = Field(default={}, description="Kinds that cannot be called yet.")


class RefusedOut(Out):
    index: int = Field(examples=[3], description="Place in the request.")
    reason: str = Field(examples=["high_below_low"], description="As tapewatch_bars_dropped_total counts it.")
    message: str = Field(examples=["expected l <= o, c <= h, was o=2 h=1 l=1 c=2"])


class PushOut(Out):
    accepted: int = Field(examples=[4999], description="Bars on their way to the detectors.")
    refused: list[RefusedOut] = []


class LeftOut(Out):
    """A state an anomaly was in."""

    state: State
    until: Annotated[Time, BeforeValidator(_time_ms)] = Field(description="When it was left, on the feed's clock.")


class AnomalyOut(Out):
    id: AnomalyId
    asset_class: AssetClass
    symbol: Symbol
    bar_s: int = Field(examples=[60])
    ts: Time = Field(description="Start of the bar's window.")
    available_at: Time = Field(description="First instant the bar could be known.")
    kind: str = Field(examples=["burst_up"])
    own_kind: str = Field(examples=["burst_up"], description="The symbol's own kind where a shock took `kind`.")
    direction: int = Field(examples=[1], description="1 up, -1 down, 0 neither.")
    score: Number = Field(examples=[6.1])
    p_value: Number = Field(examples=[2e-6])
    rate: Number = Field(examples=[0.001], description="Expected false episodes per symbol-day.")
    severity: Severity
    state: State
    is_late: bool = Field(default=False, description="Its bar came by history, after a hole in the feed.")
    history: list[LeftOut] = Field(default=[], description="States it was in before.")
    reading: str = Field(examples=["+1.8 % on 9.46x normal volume"])
    episode_id: str | None = Field(examples=["e1"])
    scores: Any = Field(examples=[{"burst_up": 6.1}])
    features: Any = Field(examples=[{"activity_z": 6.1, "move_up_z": 17.2}])
    versions: Any = Field(examples=[{"engine": "1"}])

    @classmethod
    def of(cls, row: AnomalyRow) -> Self:
        """Give the answer for a stored row."""
        return cls.model_validate(row)


class EpisodeOut(Out):
    id: str = Field(examples=["e1"])
    asset_class: AssetClass
    symbol: str | None = Field(examples=["AAPL"], description="null for a market-wide one.")
    kind: str = Field(examples=["market_shock"])
    opened_at: Time
    last_at: Time
    closed_at: Time | None
    n_anomalies: int = Field(examples=[3])
    severity: Severity
    rate: Number = Field(examples=[0.001])
    p_value: Number = Field(examples=[2e-6])
    score: Number = Field(examples=[6.1])
    breadth: Number = Field(examples=[0.8], description="Part of the market's symbols in it.")
    leaders: Any = Field(examples=[["AAPL"]])
    members: Any = Field(examples=[["AAPL", "MSFT"]])
    notified_at: Time | None

    @classmethod
    def of(cls, row: EpisodeRow) -> Self:
        """Give the answer for a stored row."""
        return cls.model_validate(row)


class GapOut(Out):
    from_ts: Time
    to_ts: Time
    reason: str = Field(examples=["reconnect"])
    bar_s: int = Field(default=0, description="The bar length that lost bars, seconds; 0 for all.")
    is_filled: bool = Field(default=False, description="Whether history gave its bars.")
    n_bars: int = Field(default=0, description="How many it gave.")
    blind_s: float = Field(default=0.0, examples=[4.2], description="Seconds without a connection.")


class FeedOut(Out):
    asset_class: AssetClass
    status: str = Field(examples=["subscribed"])
    host: str = Field(examples=["socket.polygon.io"])
    tier: str = Field(examples=["advanced"])
    connected_at: Time | None
    newest_ts: Time | None = Field(description="End of the newest bar's window.")
    lag_s: Number = Field(examples=[0.3])
    detail: str = Field(examples=[""])
    updated_at: Time | None
    gaps: list[GapOut] = Field(default=[], description="The newest holes in the data.")


T = TypeVar("T", bound=BaseModel)


class PageOut(BaseModel, Generic[T]):
    """Some rows, and the cursor of the next ones (null at the end)."""

    items: list[T]
    next: str | None = Field(default=None, examples=["MTc2NzM2NDI2MDAwMDAwMDAwMHxh"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which parts work; an empty text is a part that does."""

    ready: bool
    parts: dict[str, str] = Field(examples=[{"database": "", "redis": "", "feed stocks": ""}])
