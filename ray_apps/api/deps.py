"""What the gateway is given: readers and callables. It holds no connection and knows no actor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from features.market.types import AssetClass
from ray_apps.api.stream import Event
from ray_apps.config import HttpConfig
from ray_apps.ingest.events import Admission
from ray_apps.sinks.redis_sink import Latest
from ray_apps.store.feeds import FeedRow, GapRow
from ray_apps.store.filters import AnomalyFilter, Cursor, EpisodeFilter
from ray_apps.store.reader import Page, StoredBar, SymbolRow
from ray_apps.store.rows import AnomalyRow, EpisodeRow

Push = Callable[[AssetClass, bytes], Awaitable[Admission | None]]


class Questions(Protocol):
    """The part of `store.reader.Reader` the gateway asks."""

    async def symbols(
        self, asset_class: str | None = None, starts_with: str = "", after: str = "", limit: int = 1000
    ) -> list[SymbolRow]: ...

    async def bars(
        self,
        symbol: str,
        asset_class: str | None = None,
        bar_s: int = 60,
        from_ts: int | None = None,
        to_ts: int | None = None,
        limit: int = 1000,
    ) -> list[StoredBar]: ...

    async def anomalies(
        self, wanted: AnomalyFilter | None = None, after: Cursor | None = None, limit: int = 100
    ) -> Page[AnomalyRow]: ...

    async def anomaly(self, id_: str) -> AnomalyRow | None: ...

    async def episodes(
        self, wanted: EpisodeFilter | None = None, after: Cursor | None = None, limit: int = 100
    ) -> Page[EpisodeRow]: ...

    async def feeds(self) -> list[FeedRow]: ...

    async def gaps(
        self, asset_class: str | None = None, from_ts: int | None = None, limit: int = 1000
    ) -> list[GapRow]: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything the gateway answers from.

    Attributes
    ----------
    reader
        The database.
    latest
        The cache's newest of a symbol at a bar length; None where it has nothing or is away.
    waiting
        Per series (class, symbol, bar length) how many windows each kind still needs that cannot be called yet; None
        where the cache has nothing or is away.
    listen
        Anomalies and episodes as they are raised, after the event of an id where one is given; ends never.
    readiness
        Part -> "" where it works, else what is wrong.
    metrics
        Prometheus' text.
    push
        Gives a request of bars to the feed of their class; None where there is none.
    """

    reader: Questions
    latest: Callable[[AssetClass, str, int], Awaitable[Latest | None]]
    waiting: Callable[[Sequence[tuple[str, str, int]]], Awaitable[Sequence[Mapping[str, int] | None]]]
    listen: Callable[[str | None], AsyncIterator[Event]]
    readiness: Callable[[], Awaitable[Mapping[str, str]]]
    metrics: Callable[[], Awaitable[str]]
    push: Push
    http: HttpConfig
