"""The Desk stage: merge anomalies into episodes, rank what is new, and say what is worth a notification."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import catalog
from features.decisions.anomalies import RETRACTED, Anomalies, severity
from features.decisions.config import DetectionConfig
from features.detectors.base import DATA_FAULT, KINDS, MARKET_SHOCK
from features.market.types import NS_PER_S, AssetClass
from features.stages.context import Contexts

ESCALATE = 100.0
"""Evidence so many times stronger breaks a cooldown: the crash after its first tremor is a new event."""
LEADERS = 5
DAY_NS = 86_400 * NS_PER_S
MARKET = ""
"""The symbol of the market's own episodes."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Anomalies of one symbol, or of one market-wide shock, merged into one alert. Times are UTC ns."""

    id: str
    symbol: str
    kind: str
    opened: int
    last: int
    n_anomalies: int
    score: float
    p_value: float
    rate: float
    severity: str
    direction: float
    breadth: float = float("nan")
    members: int = 1
    leaders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What the Desk made of a window: an episode id per anomaly, episodes touched, those opened, those to notify."""

    episode_ids: list[str] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    opened: list[Episode] = field(default_factory=list)
    notify: list[Episode] = field(default_factory=list)


class Desk:
    """Holds the open episodes of one asset class and the day's notifications; `is_told` says which are wanted."""

    def __init__(
        self, asset_class: AssetClass, config: DetectionConfig, name: Callable[[int], str],
        is_told: Callable[[Episode], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        self.asset_class = asset_class
        self.config = config
        self.name = name
        self.is_told = is_told
        self.open: dict[str, Episode] = {}
        self.faults: dict[str, Episode] = {}
        self.day = -1
        self.notified = 0

    def hold(self, episode: Episode) -> None:
        """Keep an episode open; a symbol's data faults are events of their own beside what its market does."""
        (self.faults if episode.kind == KINDS[DATA_FAULT] else self.open)[episode.symbol] = episode

    def settle(self, found: Anomalies, ctx: Contexts | None = None) -> Settled:
        """Give every anomaly of a closed window its episode; rows in order of time known, then slot."""
        ids: list[str] = [""] * len(found)
        touched: dict[str, Episode] = {}
        fresh: list[str] = []
        shock = np.flatnonzero((found.kind == MARKET_SHOCK) & (found.state != RETRACTED))
        if len(shock):
            breadth = float(ctx.breadth[0]) if ctx is not None and len(ctx) else math.nan
            episode, is_new = self._shock(found, shock, breadth)
            self._touch(episode, is_new, touched, fresh)
            for i in shock:
                ids[i] = episode.id
        for i in np.flatnonzero((found.kind != MARKET_SHOCK) & (found.state != RETRACTED)):
            at = int(found.end[i])
            episode, is_new = self._merge(self.name(int(found.slot[i])), found, int(i), at)
            self._touch(episode, is_new, touched, fresh)
            ids[i] = episode.id
        new = sorted((touched[i] for i in fresh), key=lambda e: (math.isnan(e.rate), e.rate, e.symbol))
        return Settled(ids, list(touched.values()), new, self._cap(new))

    def _touch(self, episode: Episode, is_new: bool, touched: dict[str, Episode], fresh: list[str]) -> None:
        self.hold(episode)
        touched[episode.id] = episode
        if is_new:
            fresh.append(episode.id)

    def _shock(self, found: Anomalies, rows: NDArray[np.intp], breadth: float) -> tuple[Episode, bool]:
        """Put the symbols one shock raised into the market's episode; the largest moves lead."""
        episode, is_new = self._merge(MARKET, found, int(rows[0]), int(found.end[rows].max()), len(rows))
        if not is_new:
            return replace(episode, members=max(episode.members, len(rows))), False
        moves = np.abs(np.nan_to_num(found.x[rows, catalog.MOVE_Z]))
        names = [self.name(int(s)) for s in found.slot[rows]]
        order = sorted(range(len(rows)), key=lambda i: (-moves[i], names[i]))
        leaders = tuple(names[i] for i in order[:LEADERS])
        return replace(episode, leaders=leaders, breadth=breadth, members=len(rows)), True

    def _merge(self, symbol: str, found: Anomalies, i: int, now: int, n: int = 1) -> tuple[Episode, bool]:
        """Put anomaly `i`, one of `n` known at `now`, into the symbol's open episode, or open one."""
        kind, rate = KINDS[found.kind[i]], float(found.rate[i])
        current = (self.faults if found.kind[i] == DATA_FAULT else self.open).get(symbol)
        is_open = current is not None and now - current.last <= self.config.cooldown_s * NS_PER_S
        if current is not None and is_open and not rate * ESCALATE < current.rate:
            grown = replace(current, last=max(now, current.last), n_anomalies=current.n_anomalies + n)
            if rate < current.rate:
                grown = replace(grown, rate=rate, severity=severity(rate, self.config.budget),
                                score=float(found.score[i]), p_value=float(found.p_value[i]))  # fmt: skip
            return grown, False
        text = f"{self.asset_class}|{symbol}|{now}|{kind}"
        return Episode(
            id=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), symbol=symbol, kind=kind,
            opened=now, last=now, n_anomalies=n, score=float(found.score[i]), p_value=float(found.p_value[i]),
            rate=rate, severity=severity(rate, self.config.budget), direction=float(found.direction[i]),
        ), True  # fmt: skip

    def _cap(self, new: list[Episode]) -> list[Episode]:
        """Give the rarest of the new episodes that the day's cap leaves room for."""
        if not new:
            return []
        day = new[0].opened // DAY_NS
        if day > self.day:
            self.day, self.notified = day, 0
        wanted = [e for e in new if self.is_told(e)]
        chosen = wanted[: max(0, self.config.notifications_per_day - self.notified)]
        self.notified += len(chosen)
        return chosen

    def snapshot(self) -> dict[str, Any]:
        """Give the state as JSON can hold it: None for NaN."""
        episodes = [asdict(e) for held in (self.open, self.faults) for e in held.values()]
        return {"day": self.day, "notified": self.notified, "episodes": [_without_nan(e) for e in episodes]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a snapshot."""
        self.day, self.notified = state["day"], state["notified"]
        self.open, self.faults = {}, {}
        for e in state["episodes"]:
            values: dict[str, Any] = {k: math.nan if v is None else v for k, v in e.items()}
            values["leaders"] = tuple(values["leaders"])
            self.hold(Episode(**values))


def _without_nan(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}
