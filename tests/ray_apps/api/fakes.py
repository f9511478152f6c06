"""A reader over lists, and dependencies that can be made to fail."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields, replace

from features.decisions.anomalies import SEVERITIES
from features.market.types import AssetClass
from ray_apps.api.deps import Deps
from ray_apps.api.stream import Event
from ray_apps.config import HttpConfig
from ray_apps.ingest.events import Admission
from ray_apps.store.feeds import FeedRow, GapRow
from ray_apps.store.filters import Cursor
from ray_apps.store.reader import Page, StoredBar, SymbolRow
from ray_apps.store.rows import AnomalyRow, EpisodeRow

MINUTE = 60_000_000_000
START = 1_767_364_200_000_000_000  # 2026-01-02 14:30 UTC


def anomaly(i: int, **changes) -> AnomalyRow:
    row = AnomalyRow(
        id=f"{i:032x}", asset_class="stocks", symbol="AAPL", series_id=0, bar_s=60, ts=START + i * MINUTE,
        available_at=START + (i + 1) * MINUTE, kind="burst_up", own_kind="burst_up", score=6.1, p_value=2e-6,
        rate=0.001, severity="high", state="provisional", direction=1,
        reading="+1.8 % on 9.46x normal volume", scores={"burst_up": 6.1}, features={"activity_z": 6.1},
        versions={"engine": "1"}, norms={}, episode_id="e1",
    )  # fmt: skip
    return replace(row, **changes)


def episode(i: int, **changes) -> EpisodeRow:
    row = EpisodeRow(
        id=f"e{i}", asset_class="stocks", symbol="AAPL", kind="burst_up", opened_at=START + i * MINUTE,
        last_at=START + i * MINUTE, closed_at=None, n_anomalies=1, severity="high", rate=0.001, p_value=2e-6, score=6.1,
    )  # fmt: skip
    return replace(row, **changes)


def bar(i: int) -> StoredBar:
    return StoredBar(START + i * MINUTE, 10.0, 11.0, 9.0, 10.5, 100.0, None, 5.0)


@dataclass
class ListReader:
    """Answers from lists, naively; raises `error` where one is set."""

    known: list[SymbolRow] = field(default_factory=list)
    all_bars: list[StoredBar] = field(default_factory=list)
    all_anomalies: list[AnomalyRow] = field(default_factory=list)
    all_episodes: list[EpisodeRow] = field(default_factory=list)
    all_feeds: list[FeedRow] = field(default_factory=list)
    all_gaps: list[GapRow] = field(default_factory=list)
    error: Exception | None = None

    def _check(self) -> None:
        if self.error:
            raise self.error

    async def symbols(self, asset_class=None, starts_with="", after="", limit=1000):
        self._check()
        rows = sorted(self.known, key=lambda r: (r.symbol, r.asset_class))
        return [
            r
            for r in rows
            if asset_class in (None, r.asset_class) and r.symbol.startswith(starts_with) and r.symbol > after
        ][:limit]

    async def bars(self, symbol, asset_class=None, bar_s=60, from_ts=None, to_ts=None, limit=1000):
        self._check()
        rows = [b for b in self.all_bars if (from_ts or 0) <= b.ts < (to_ts or 2**63)]
        return sorted(rows, key=lambda b: b.ts)[-limit:]

    async def anomalies(self, wanted=None, after=None, limit=100):
        return self._page(self.all_anomalies, "ts", wanted, after, limit)

    async def anomaly(self, id_):
        self._check()
        return next((a for a in self.all_anomalies if a.id == id_), None)

    async def episodes(self, wanted=None, after=None, limit=100):
        return self._page(self.all_episodes, "opened_at", wanted, after, limit)

    async def feeds(self):
        self._check()
        return self.all_feeds

    async def gaps(self, asset_class=None, from_ts=None, limit=1000):
        return [g for g in self.all_gaps if g.asset_class == asset_class][:limit]

    def _page(self, rows, time, wanted, after, limit) -> Page:
        self._check()
        key = lambda row: (getattr(row, time), row.id)  # noqa: E731
        fit = [r for r in rows if matches(r, wanted) and (after is None or key(r) < (after.ts, after.id))]
        fit = [r for r in fit if (wanted.from_ts or 0) <= key(r)[0] < (wanted.to_ts or 2**63)]
        chosen = sorted(fit, key=key, reverse=True)[:limit]
        return Page(chosen, Cursor(*key(chosen[-1])) if len(chosen) == limit else None)


def matches(row, wanted) -> bool:
    names = {f.name for f in fields(wanted)} & {"symbol", "asset_class", "kind", "state", "episode_id"}
    if wanted.severity_min and SEVERITIES.index(row.severity) < SEVERITIES.index(wanted.severity_min):
        return False
    if getattr(wanted, "is_open", None) not in (None, getattr(row, "closed_at", None) is None):
        return False
    return all(getattr(wanted, n) in (None, getattr(row, n)) for n in names)


@dataclass
class World:
    """What the gateway's dependencies answer; a test changes it while the gateway runs."""

    reader: ListReader = field(default_factory=ListReader)
    newest: dict = field(default_factory=dict)
    waits: dict = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    readiness_takes_s: float = 0.0
    admission: Admission | None = field(default_factory=Admission)
    pushed: list[tuple[AssetClass, bytes]] = field(default_factory=list)

    def deps(self, **http) -> Deps:
        return Deps(
            reader=self.reader,
            latest=self._latest,
            waiting=self._waiting,
            listen=self._listen,
            readiness=self._readiness,
            metrics=self._metrics,
            push=self._push,
            http=HttpConfig(**http),
        )

    async def _push(self, asset_class, body):
        self.pushed.append((asset_class, body))
        return self.admission

    async def _waiting(self, keys):
        return [self.waits.get(symbol) for _, symbol, _ in keys]

    async def _latest(self, asset_class, symbol, bar_s):
        return self.newest.get((symbol, bar_s))

    async def _listen(self, last_id: str | None) -> AsyncIterator[Event]:
        told = int(last_id.partition("-")[0]) if last_id else 0
        while True:
            for event in self.events:
                if int(event.id.partition("-")[0]) > told:
                    told = int(event.id.partition("-")[0])
                    yield event
            await asyncio.sleep(0.005)

    async def _readiness(self):
        await asyncio.sleep(self.readiness_takes_s)
        return self.parts

    async def _metrics(self):
        return "tapewatch_ready 1\n"
