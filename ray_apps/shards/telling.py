"""Say which episodes people want to be told of: severity, watchlists, quiet hours, mutes. Storing is not affected."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from features.decisions.anomalies import SEVERITIES
from features.market.types import NS_PER_S, AssetClass
from features.stages.desk import MARKET, Episode
from ray_apps.config import NotificationsConfig, QuietHours, UniverseConfig


@dataclass(frozen=True, slots=True)
class Telling:
    """The rules of one asset class; time is the feed's, so a replayed day is as quiet as it was."""

    asset_class: AssetClass
    notifications: NotificationsConfig = field(default_factory=NotificationsConfig)
    universe: UniverseConfig = field(default_factory=UniverseConfig)

    def wants(self, episode: Episode) -> bool:
        """Say whether an episode is worth telling."""
        at = datetime.fromtimestamp(episode.opened / NS_PER_S, UTC)
        least = self.notifications.min_severity.value
        if any(_is_quiet(q, at) for q in self.notifications.quiet):
            least = max(least, self.notifications.quiet_min_severity.value, key=SEVERITIES.index)
        if SEVERITIES.index(episode.severity) < SEVERITIES.index(least):
            return False
        return self._is_watched(episode.symbol) and not self._is_muted(episode, at)

    def _is_watched(self, symbol: str) -> bool:
        """Without a watchlist everything is; the market's own episodes always are."""
        lists = [self.universe.watchlists[name] for name in self.notifications.watchlists]
        names = {"*", symbol, f"{self.asset_class}:{symbol}"}
        return not lists or symbol == MARKET or any(names & set(listed) for listed in lists)

    def _is_muted(self, episode: Episode, at: datetime) -> bool:
        full = f"{self.asset_class}:{episode.symbol}"
        return any(mute.covers(full, episode.kind, at) for mute in self.universe.mutes)


def _is_quiet(quiet: QuietHours, at: datetime) -> bool:
    """Say whether an instant lies in a daily span, which may run over midnight.

    >>> _is_quiet(QuietHours(start="22:00", end="07:00"), datetime(2026, 1, 2, 23, 30, tzinfo=UTC))
    True
    """
    now = at.astimezone(ZoneInfo(quiet.tz)).strftime("%H:%M")
    if quiet.start <= quiet.end:
        return quiet.start <= now < quiet.end
    return now >= quiet.start or now < quiet.end
