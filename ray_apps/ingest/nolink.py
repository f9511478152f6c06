"""Stand in for a connection where nothing is read: bars are pushed."""

import asyncio
import time
from collections.abc import Callable

from features.market.polygon import Status
from ray_apps.ingest.events import EventKind, FeedEvent


class NoLink:
    """What a feed asks of a `Link`, where there is none: always up, never blind."""

    is_connected = True
    blind_s = 0.0
    sessions = 0
    cooldowns = 0
    refused: tuple[str, ...] = ()

    def __init__(self, tell: Callable[[FeedEvent], None]) -> None:
        self._tell = tell
        self._stopping = asyncio.Event()

    async def keep(self) -> None:
        """Say that bars may come, and wait for `stop`."""
        self._tell(FeedEvent(EventKind.SUBSCRIBED, time.time_ns()))
        await self._stopping.wait()

    def stop(self) -> None:
        """Let `keep` return."""
        self._stopping.set()

    def hear(self, session: int, status: Status) -> None:
        """Take no note: nobody speaks."""
