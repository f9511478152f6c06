"""The Desk stage: merge anomalies into episodes, rank what is new, and say what is worth a notification."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

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
    """What the Desk made of a window: an episode id per anomaly, episodes opened or grown, those to notify."""

    episode_ids: list[str] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    notify: list[Episode] = field(default_factory=list)


class Desk:
    """Holds the open episodes of one asset class and the day's notifications."""

    def __init__(self, asset_class: AssetClass, config: DetectionConfig, name: Callable[[int], str]) -> None:
        self.asset_class = asset_class
        self.config = config
        self.name = name
        self.open: dict[str, Episode] = {}
        self.day = -1
        self.notified = 0

    def settle(self, found: Anomalies, ctx: Contexts | None = None) -> Settled:
        """Give every anomaly of a closed window its episode; rows in order of time known, then slot."""
        ids: list[str] = [""] * len(found)
        touched: dict[str, Episode] = {}
        fresh: list[str] = []
        shock = np.flatnonzero((found.kind == MARKET_SHOCK) & (found.state != RETRACTED))
        if len(shock):
            episode, is_new = self._merge(MARKET, found, int(shock[0]), len(shock))
            order = shock[np.argsort(-np.abs(np.nan_to_num(found.x[shock, catalog.MOVE_Z])), kind="stable")]
            names = tuple(self.name(int(s)) for s in found.slot[order[:LEADERS]])
            breadth = float(ctx.breadth[0]) if ctx is not None and len(ctx) else float("nan")
            if is_new:
                episode = replace(episode, leaders=names, breadth=breadth, members=len(shock))
            else:
                episode = replace(episode, members=max(episode.members, len(shock)))
            self._touch(episode, is_new, touched, fresh)
            for i in shock:
                ids[i] = episode.id
        for i in np.flatnonzero((found.kind != MARKET_SHOCK) & (found.state != RETRACTED)):
            episode, is_new = self._merge(self.name(int(found.slot[i])), found, int(i), 1)
            self._touch(episode, is_new, touched, fresh)
            ids[i] = episode.id
        new = sorted((touched[i] for i in fresh), key=lambda e: (not e.rate == e.rate, e.rate, e.symbol))
        return Settled(ids, list(touched.values()), self._cap(new))

    def _touch(self, episode: Episode, is_new: bool, touched: dict[str, Episode], fresh: list[str]) -> None:
        self.open[episode.symbol] = episode
        touched[episode.id] = episode
        if is_new:
            fresh.append(episode.id)

    def _merge(self, symbol: str, found: Anomalies, i: int, n: int) -> tuple[Episode, bool]:
        """Put anomaly `i` into the symbol's open episode, or open one."""
        now, rate = int(found.end[i]), float(found.rate[i])
        current = self.open.get(symbol)
        is_fault = found.kind[i] == DATA_FAULT
        if current is not None and now - current.last <= self.config.cooldown_s * NS_PER_S:
            same_sort = is_fault == (current.kind == KINDS[DATA_FAULT])
            if same_sort and not rate * ESCALATE < current.rate:
                grown = replace(current, last=max(now, current.last), n_anomalies=current.n_anomalies + n)
                if rate < current.rate:
                    grown = replace(grown, rate=rate, severity=severity(rate, self.config.budget),
                                    score=float(found.score[i]), p_value=float(found.p_value[i]))  # fmt: skip
                return grown, False
        text = f"{self.asset_class}|{symbol}|{now}|{KINDS[found.kind[i]]}"
        return Episode(
            id=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), symbol=symbol, kind=KINDS[found.kind[i]],
            opened=now, last=now, n_anomalies=n, score=float(found.score[i]), p_value=float(found.p_value[i]),
            rate=rate, severity=severity(rate, self.config.budget), direction=float(found.direction[i]),
        ), True  # fmt: skip

    def _cap(self, new: list[Episode]) -> list[Episode]:
        """Give the rarest of the new episodes that the day's cap leaves room for."""
        if not new:
            return []
        day = new[0].opened // DAY_NS
        if day != self.day:
            self.day, self.notified = day, 0
        chosen = new[: max(0, self.config.notifications_per_day - self.notified)]
        self.notified += len(chosen)
        return chosen
