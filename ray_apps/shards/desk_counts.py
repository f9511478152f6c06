"""Count what the desks tell, for the metrics hub."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from features.detectors.base import KINDS
from features.market.types import AssetClass
from ray_apps import metrics
from ray_apps.config import Severity
from ray_apps.metrics import MetricSet, Snapshot
from ray_apps.shards.desk import DeskReport, DeskService

LOG = logging.getLogger(__name__)
EVERY_S = 2.0


class DeskCounts:
    """Counts the episodes opened and told of; one for all desks of a process."""

    def __init__(self, desks: Mapping[AssetClass, DeskService], incarnation: str) -> None:
        self.own = MetricSet("desk", incarnation)
        self._desks = desks
        for asset_class in desks:  # from 0 on, so that the first of a kind is an increase
            for kind in KINDS:
                for severity in Severity:
                    labels = {"asset_class": asset_class.value, "kind": kind, "severity": severity.value}
                    self.own.inc(metrics.EPISODES, 0, **labels)
                    self.own.inc(metrics.NOTIFIED, 0, **labels)

    def take(self, asset_class: AssetClass, report: DeskReport) -> None:
        """Count what a settled window came to."""
        for counter, episodes in ((metrics.EPISODES, report.opened), (metrics.NOTIFIED, report.notified)):
            for e in episodes:
                self.own.inc(counter, asset_class=asset_class.value, kind=e.kind, severity=e.severity)

    def snapshot(self) -> Snapshot:
        """Give the metrics as they are now."""
        caps = [desk.config.notifications_per_day for desk in self._desks.values()]
        self.own.set(metrics.NOTIFIED_LIMIT, max(caps, default=0))
        return self.own.snapshot()

    async def run(self, send: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Send the metrics every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.own.tell(send, self.snapshot)
