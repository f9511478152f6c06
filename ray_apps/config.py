"""The sections of the config file: each key with its unit, its bounds and the reason for its default.

Reading them (files, environment, precedence, errors) is `ray_apps.settings`; here is what may be written.
Unknown keys are refused, everything is frozen.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from features.market.types import AssetClass
from features.stages.peers import Peers
from ray_apps.ingest.tiers import Tier

SYMBOL = re.compile(r"(?:(?:stocks|crypto|forex|indices|options|futures):)?[A-Za-z0-9][A-Za-z0-9.:/_-]{0,31}")
BAR_LENGTHS = (1, 5, 10, 15, 30, 60, 300, 900, 3600)


def _split(value: object) -> object:
    """Let an environment variable give a list as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _symbol(value: str) -> str:
    return value if value == "*" else _one_symbol(value, ', or "*" for all')


def _one_symbol(value: str, more: str = "") -> str:
    if not SYMBOL.fullmatch(value):
        raise ValueError(f"expected a symbol such as AAPL, BTC-USD, I:SPX{more}")
    return value


def _bar_length(value: int) -> int:
    if value not in BAR_LENGTHS:
        raise ValueError(f"expected one of {', '.join(map(str, BAR_LENGTHS))} (seconds)")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected an IANA time zone such as UTC or America/New_York") from None
    return value


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{s}://" for s in schemes)):
            raise ValueError(f"expected a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    return AfterValidator(check)


def _header(value: SecretStr) -> SecretStr:
    """Take off the blanks around a secret, as a file that holds it ends in a line feed; it is sent in a header."""
    text = value.get_secret_value().strip()
    if not text or any(not "!" <= c <= "~" for c in text):
        raise ValueError("expected printable ASCII without blanks inside")
    return SecretStr(text)


Listed = BeforeValidator(_split)
HeaderSecret = Annotated[SecretStr, AfterValidator(_header)]
Symbol = Annotated[str, AfterValidator(_symbol)]
OneSymbol = Annotated[str, AfterValidator(_one_symbol)]
Symbols = Annotated[tuple[Symbol, ...], Listed]
BarLengths = Annotated[tuple[Annotated[int, AfterValidator(_bar_length)], ...], Field(min_length=1), Listed]
Assets = Annotated[tuple[AssetClass, ...], Field(min_length=1), Listed]
ListName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
Zone = Annotated[str, AfterValidator(_zone)]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$")]
PostgresUrl = Annotated[SecretStr, _url("postgresql", "postgres")]
RedisUrl = Annotated[SecretStr, _url("redis", "rediss", "unix")]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Kind(StrEnum):
    """What a detector calls."""

    VOLUME_SPIKE = "volume_spike"
    PRICE_MOVE = "price_move"
    BURST_UP = "burst_up"
    BURST_DOWN = "burst_down"
    GAP = "gap"
    MARKET_SHOCK = "market_shock"
    VOLATILITY_SPIKE = "volatility_spike"
    CORRELATION_BREAK = "correlation_break"
    DATA_FAULT = "data_fault"


class Severity(StrEnum):
    """How far below the budget an anomaly's rate is: budget / rate < 3, < 30, < 300, above."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class State(StrEnum):
    """The life of an anomaly."""

    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    AMENDED = "amended"
    RETRACTED = "retracted"


class Section(BaseModel):
    """A frozen part of the config file that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class TiersConfig(Section):
    """The vendor's plan per asset class. Unset: `basic`, what a free key has; a key `sim-TIER` sets TIER."""

    stocks: Tier | None = None
    crypto: Tier | None = None
    forex: Tier | None = None
    indices: Tier | None = None
    options: Tier | None = None
    futures: Tier | None = None


class PolygonConfig(Section):
    """The vendor: key, plans and hosts."""

    api_key: HeaderSecret | None = Field(default=None, min_length=1, max_length=256)
    """POLYGON_API_KEY, then MASSIVE_API_KEY. Without one the simulator is watched."""
    tiers: TiersConfig = TiersConfig()
    rest_url: HttpUrl = "https://api.polygon.io"
    """The vendor's other name, https://api.massive.com, answers alike."""
    ws_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?(/[a-z-]+)?$")] | None = None
    """host[:port]; unset: the host the tier entitles to (socket.polygon.io or delayed.polygon.io)."""
    ws_secure: bool = True
    """wss; false only for the simulator."""

    def tier(self, asset_class: AssetClass) -> Tier:
        """Give the plan of an asset class, from its own setting, a simulator's key, or `basic`.

        >>> PolygonConfig(api_key="sim-starter").tier(AssetClass.CRYPTO)
        <Tier.STARTER: 'starter'>
        """
        chosen: Tier | None = getattr(self.tiers, asset_class.value)
        if chosen is not None:
            return chosen
        key = self.api_key.get_secret_value() if self.api_key else ""
        return next((tier for tier in Tier if key == f"sim-{tier}"), Tier.BASIC)


class ClassSymbols(Section):
    """Which symbols of each asset class are watched: a list, or "*" for every symbol the feed gives."""

    stocks: Symbols = ("*",)
    crypto: Symbols = ("*",)
    forex: Symbols = ("*",)
    indices: Symbols = ("*",)
    options: Symbols = ("*",)
    futures: Symbols = ("*",)


class Mute(Section):
    """Silence notifications of a symbol until an instant; its anomalies are still stored."""

    symbol: Symbol
    """As `AAPL` or `stocks:AAPL`; "*" for every symbol."""
    until: AwareDatetime
    """With a time zone, such as 2026-03-01T00:00:00Z."""
    kind: Kind | None = None
    """Only this kind; unset: every kind."""
    reason: Annotated[str, Field(max_length=200)] = ""

    def covers(self, symbol: str, kind: str, at: datetime) -> bool:
        """Say whether an anomaly of a symbol (`stocks:AAPL`) and kind is silent at an instant."""
        names = ("*", symbol, symbol.partition(":")[2])
        return self.symbol in names and self.kind in (None, kind) and at < self.until


class UniverseConfig(Section):
    """What is watched, and what of it may raise an anomaly."""

    symbols: ClassSymbols = ClassSymbols()
    min_price: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """In the quote currency; cheaper symbols are stored, not judged. 0: no limit, the rate copes."""
    min_dollar_volume: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Per day, trailing, in the quote currency; thinner symbols are stored, not judged. 0: no limit."""
    watchlists: dict[ListName, Symbols] = Field(default_factory=dict)
    """Named lists of symbols, used by `notifications.watchlists` and as a filter of queries."""
    sectors: dict[ListName, Annotated[tuple[OneSymbol, ...], Listed]] = Field(default_factory=dict)
    """Named groups whose median `correlation_break` holds their members against, instead of the market's.

    At least 3 symbols of a class, fewer have no median (six err less: of three, one often is the median); a symbol in
    one sector at most. A symbol without its class is of those named beside it, of every class where none is. Needs a
    restart: the market and its shards share columns.
    """
    mutes: tuple[Mute, ...] = ()

    @field_validator("sectors")
    @classmethod
    def _make_sectors(cls, sectors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for asset_class in AssetClass:
            Peers.of(asset_class, sectors, ())
        return sectors


class DetectorConfig(Section):
    """What every detector kind can be told."""

    enabled: bool = True
    share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Part of the budget this kind may spend; the shares of the kinds together are at most 1."""
    min_deviation: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Smallest score, in standard deviations, the kind may call; 0: the rate alone decides."""
    direction: Literal["up", "down", "both"] = "both"


class VolumeSpikeConfig(DetectorConfig):
    min_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """Floor of activity over its norm of that time of day; above it the rate decides."""
    classic: bool = False
    """Call at every `min_ratio`, whatever its rate: loud, hence off."""


class CorrelationBreakConfig(DetectorConfig):
    pairs: tuple[tuple[OneSymbol, OneSymbol], ...] = ()
    """The first symbol of each is held against the second, instead of its sector or market: what is one thing under
    two names parts by basis points, which no median shows. Both of one class, a symbol first once. Needs a restart.
    """

    @field_validator("pairs")
    @classmethod
    def _make_pairs(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for asset_class in AssetClass:
            Peers.of(asset_class, {}, pairs)
        return pairs


class MarketShockConfig(DetectorConfig):
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of a budget of its own: a shock is one episode of the market, not of its symbols."""


class FaultConfig(Section):
    """A rule: it has no probability, hence no share."""

    enabled: bool = True


class DetectorsConfig(Section):
    """One section per kind; the default shares are those measured on real bars, where bursts find most."""

    volume_spike: VolumeSpikeConfig = VolumeSpikeConfig(share=0.03)
    price_move: DetectorConfig = DetectorConfig(share=0.05)
    burst_up: DetectorConfig = DetectorConfig(share=0.64, direction="up")
    burst_down: DetectorConfig = DetectorConfig(share=0.15, direction="down")
    gap: DetectorConfig = DetectorConfig(share=0.05)
    market_shock: MarketShockConfig = MarketShockConfig()
    volatility_spike: DetectorConfig = DetectorConfig(share=0.03)
    correlation_break: CorrelationBreakConfig = CorrelationBreakConfig(share=0.05)
    data_fault: FaultConfig = FaultConfig()

    @model_validator(mode="before")
    @classmethod
    def _keep_default_share(cls, value: object) -> object:
        """Fill the keys a partly written kind leaves out from that kind's default, not from the class's."""
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        for kind, given in value.items():
            field = cls.model_fields.get(kind)
            if field is not None and isinstance(given, dict):
                filled[kind] = {**field.default.model_dump(), **given}
        return filled

    @model_validator(mode="after")
    def _shares_fit(self) -> DetectorsConfig:
        own = [getattr(getattr(self, kind), "share", 0.0) for kind in Kind if kind != Kind.MARKET_SHOCK]
        if sum(own) > 1 + 1e-9:
            raise ValueError(f"expected the kinds' share together at most 1, was {sum(own):.3f}")
        return self


class BudgetConfig(Section):
    """How much noise is accepted."""

    episodes_per_symbol_day: Annotated[float, Field(gt=0, le=100)] = 0.03
    """False episodes per symbol and day: one a month, where recall on real pumps was .96."""
    notifications_per_day: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Overall; ranked by rate and capped. What one person can read; anomalies are never dropped."""
    cooldown_min: Annotated[float, Field(ge=0, le=1440)] = 30.0
    """Minutes in which anomalies of a symbol join its open episode."""


class QuietHours(Section):
    """A daily span in which only `notifications.quiet_min_severity` and above is told."""

    start: ClockTime
    end: ClockTime
    tz: Zone = "UTC"


class NotificationsConfig(Section):
    """Who is told what; storing is not affected."""

    min_severity: Severity = Severity.LOW
    watchlists: Annotated[tuple[str, ...], Listed] = ()
    """Tell only of symbols on these lists of `universe.watchlists`; empty: of all."""
    quiet: tuple[QuietHours, ...] = ()
    quiet_min_severity: Severity = Severity.CRITICAL


class ConsoleSinkConfig(Section):
    enabled: bool = True
    bars: bool = True
    """Print a sample of bars too, so that a first run visibly lives."""


class RedisSinkConfig(Section):
    enabled: bool = True
    latest_ttl_s: Annotated[int, Field(ge=60, le=30 * 86400)] = 4 * 86400
    """Life of a symbol's latest bar and scores, seconds: over a long week-end."""
    stream_length: Annotated[int, Field(ge=100, le=10_000_000)] = 100_000
    """Anomalies kept in the stream (about 50 MB)."""


class WebhookSinkConfig(Section):
    """Signed HTTP posts; on as soon as `url` is set."""

    url: HttpUrl | None = None
    secret: SecretStr | None = Field(default=None, min_length=8, max_length=256)
    """Key of the HMAC-SHA256 signature; better by TAPEWATCH_SINKS__WEBHOOK__SECRET than in a file."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    max_tries: Annotated[int, Field(ge=1, le=100)] = 8
    """With doubling back-off about ten minutes; then it is a dead letter, kept and re-sendable."""

    @model_validator(mode="after")
    def _signed(self) -> WebhookSinkConfig:
        if self.url is not None and self.secret is None:
            raise ValueError("expected a secret beside url (TAPEWATCH_SINKS__WEBHOOK__SECRET), was none")
        return self


class GrafanaSinkConfig(Section):
    """Episodes as annotations of Grafana; on as soon as `url` is set."""

    url: HttpUrl | None = None
    token: SecretStr | None = Field(default=None, min_length=8, max_length=4096)
    """Of a service account that may write annotations; better by TAPEWATCH_SINKS__GRAFANA__TOKEN than in a file."""
    gateway: HttpUrl | None = None
    """Where people reach the HTTP API: an annotation links to its anomaly there. Unset: no link."""
    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """Older annotations of ours are deleted, counted back from the newest; Grafana itself keeps them for ever."""

    @model_validator(mode="after")
    def _has_token(self) -> GrafanaSinkConfig:
        if self.url is not None and self.token is None:
            raise ValueError("expected a token beside url (TAPEWATCH_SINKS__GRAFANA__TOKEN), was none")
        return self


class SinksConfig(Section):
    console: ConsoleSinkConfig = ConsoleSinkConfig()
    redis: RedisSinkConfig = RedisSinkConfig()
    webhook: WebhookSinkConfig = WebhookSinkConfig()
    grafana: GrafanaSinkConfig = GrafanaSinkConfig()
