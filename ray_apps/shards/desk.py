"""The desk: settles each closed window's stored anomalies into episodes and notifications, in one transaction.

What it holds is what the database holds: it starts from the episodes still open there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import numpy as np

from features import catalog
from features.decisions.anomalies import NO_KIND, STATES, Anomalies
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from features.stages.context import Contexts
from features.stages.desk import DAY_NS, MARKET, Desk, Episode
from ray_apps.shards.telling import Telling
from ray_apps.sinks.base import payload_of
from ray_apps.store import anomalies as anomaly_sql
from ray_apps.store.connect import Conn, Ns, connect, fetch, unavailable
from ray_apps.store.errors import LeaseLostError
from ray_apps.store.rows import CLASS_STRIDE, AnomalyRow, EpisodeRow, OutboxRow

CONFIRM_NS = 900 * NS_PER_S
"""Corrections of a bar end 15 minutes after its window: then its anomaly is confirmed."""
UNSETTLED = f"""
SELECT {", ".join(f.name for f in fields(AnomalyRow))} FROM anomalies
WHERE asset_class = %s AND episode_id IS NULL AND state <> 'retracted' AND available_at <= %s
ORDER BY available_at, series_id
"""  # noqa: S608 (our own column names)
OPEN = """
SELECT id, symbol, kind, opened_at, last_at, n_anomalies, score, p_value, rate, severity, breadth, leaders::text,
    members::text
FROM episodes WHERE asset_class = %s AND last_at > %s ORDER BY last_at
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7410001)"
"""The day's cap holds over all classes: their desks count and tell in turn."""
TOLD = "SELECT count(*) FROM episodes WHERE notified_at >= %s"
ASSIGN = """
UPDATE anomalies a SET episode_id = q.episode FROM unnest(%s::text[], %s::text[]) AS q (id, episode) WHERE a.id = q.id
"""
CONFIRM = f"""
UPDATE anomalies a SET state = 'confirmed', history = history || {anomaly_sql.LEFT.format(table="a")}
WHERE asset_class = %(asset_class)s AND state = 'provisional' AND available_at <= %(until)s
    AND available_at > %(since)s
"""  # noqa: S608 (our own column names)
TAKEN_BACK = f"""
SELECT {", ".join(f"a.{f.name}" for f in fields(AnomalyRow))} FROM anomalies a JOIN episodes e ON e.id = a.episode_id
WHERE a.asset_class = %s AND a.state = 'retracted' AND a.available_at > %s AND e.notified_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM outbox o WHERE o.key = a.id || ':retracted')
"""  # noqa: S608 (our own column names)


@dataclass(frozen=True, slots=True)
class DeskReport:
    """What one settling came to."""

    n_anomalies: int
    episodes: tuple[Episode, ...]
    opened: tuple[Episode, ...]
    notified: tuple[Episode, ...]


class DeskService:
    """Settles the windows of one asset class; `settle` is called one window at a time, in their order."""

    def __init__(
        self, asset_class: AssetClass, dsn: str, config: DetectionConfig, sinks: Sequence[str],
        streams: Sequence[str] = (), window_s: int = 60, telling: Telling | None = None,
    ) -> None:  # fmt: skip
        self.asset_class = asset_class
        self.dsn = dsn
        self.config = config
        self.sinks = tuple(sinks)
        self.streams = tuple(streams)
        self.window_ns = window_s * NS_PER_S
        self.telling = telling or Telling(asset_class)
        self._names: dict[int, str] = {}
        self._desk: Desk | None = None
        self._conn: Conn | None = None

    def configure(self, config: DetectionConfig, telling: Telling) -> None:
        """Merge and tell by these settings from the next window on."""
        self.config, self.telling = config, telling
        self._desk = None  # made anew from the stored episodes

    async def settle(self, ctx: Contexts, epoch: int) -> DeskReport:
        """Settle every stored anomaly up to the window's end; safe to call again.

        Raises
        ------
        LeaseLostError, StoreUnavailableError
            As the shards' writes do.
        """
        end = int(ctx.end[0])
        try:
            with unavailable("settle a window"):
                conn = await self._connection()
                async with conn.transaction():
                    await self._check(conn, epoch)
                    desk = self._desk or await self._load(conn, end)
                    self._desk = desk
                    report = await self._settle(conn, desk, ctx, end)
                    await self._take_back(conn, end)
                    await conn.execute(CONFIRM, {
                        "asset_class": self.asset_class.value, "at_ms": end // NS_PER_MS,
                        "until": Ns(end - CONFIRM_NS), "since": Ns(end - 8 * CONFIRM_NS),
                    })  # fmt: skip
                return report
        except BaseException:
            # What the desk merged may not be stored: it starts again from what is.
            self._desk = None
            await self.close()
            raise

    async def _settle(self, conn: Conn, desk: Desk, ctx: Contexts, end: int) -> DeskReport:
        rows = [AnomalyRow(*r) for r in await fetch(conn, UNSETTLED.encode(), (self.asset_class.value, Ns(end)))]
        if not rows:
            return DeskReport(0, (), (), ())
        await conn.execute(ONE_AT_A_TIME)
        desk.day = end // DAY_NS
        desk.notified = int((await fetch(conn, TOLD, (Ns(desk.day * DAY_NS),)))[0][0])
        found = self._anomalies(rows)
        episodes: dict[str, Episode] = {}
        opened: list[Episode] = []
        notify: list[Episode] = []
        ids: list[str] = []
        windows = -(-found.end // self.window_ns)
        cuts = np.flatnonzero(np.diff(windows)) + 1
        for part in np.split(np.arange(len(found)), cuts):
            is_this = windows[part[0]] * self.window_ns == end
            settled = desk.settle(found.take(part), ctx if is_this else None)
            ids += settled.episode_ids
            episodes.update((e.id, e) for e in settled.episodes)
            opened += settled.opened
            notify += settled.notify
        notified = {e.id for e in notify}
        first = {episode: row for row, episode in reversed(list(zip(rows, ids, strict=True)))}
        await conn.execute(ASSIGN, ([r.id for r in rows], ids))
        stored = {e.id: self._row(e, end if e.id in notified else None) for e in episodes.values()}
        await anomaly_sql.put_episodes(conn, list(stored.values()))
        await anomaly_sql.put_outbox(conn, self._outbox(notify, stored, first))
        return DeskReport(len(rows), tuple(episodes.values()), tuple(opened), tuple(notify))

    async def _take_back(self, conn: Conn, end: int) -> None:
        """Tell those who were told of an episode that an anomaly of it is no more."""
        since = Ns(end - 8 * CONFIRM_NS)
        rows = [AnomalyRow(*r) for r in await fetch(conn, TAKEN_BACK.encode(), (self.asset_class.value, since))]
        told = [OutboxRow(s, "anomaly", f"{r.id}:retracted", payload_of(r)) for r in rows for s in self.sinks]
        await anomaly_sql.put_outbox(conn, told)

    def _anomalies(self, rows: Sequence[AnomalyRow]) -> Anomalies:
        """Give stored anomalies as the columns the stage settles; of the features only the move is kept."""
        n = len(rows)
        slots = np.array([r.series_id % CLASS_STRIDE for r in rows], dtype=np.int32)
        self._names.update(zip(slots.tolist(), (r.symbol for r in rows), strict=True))
        x = np.full((n, len(catalog.CATALOG)), np.nan)
        x[:, catalog.MOVE_Z] = [_float(dict(r.norms).get("move_z")) for r in rows]
        numbers = np.array([[_float(v) for v in (r.score, r.p_value, r.rate, r.direction)] for r in rows]).T
        return Anomalies(
            slot=slots, ts=np.array([r.ts for r in rows]), end=np.array([r.available_at for r in rows]),
            kind=np.array([KINDS.index(r.kind) for r in rows], dtype=np.uint8),
            own_kind=np.array([KINDS.index(r.own_kind) if r.own_kind else NO_KIND for r in rows], dtype=np.uint8),
            score=numbers[0], p_value=numbers[1], rate=numbers[2], direction=numbers[3], price=np.full(n, np.nan),
            state=np.array([STATES.index(r.state) for r in rows], dtype=np.uint8), x=x,
            scores=np.full((n, len(KINDS)), np.nan),
        )  # fmt: skip

    def _row(self, e: Episode, notified_at: int | None) -> EpisodeRow:
        return EpisodeRow(
            id=e.id, asset_class=self.asset_class.value, symbol=None if e.symbol == MARKET else e.symbol, kind=e.kind,
            opened_at=e.opened, last_at=e.last, closed_at=None, n_anomalies=e.n_anomalies, severity=e.severity,
            rate=_number(e.rate), p_value=_number(e.p_value), score=_number(e.score), breadth=_number(e.breadth),
            leaders=list(e.leaders), members=[e.members], notified_at=notified_at,
        )  # fmt: skip

    def _outbox(
        self, notify: Sequence[Episode], stored: dict[str, EpisodeRow], first: dict[str, AnomalyRow]
    ) -> list[OutboxRow]:
        """Tell of a symbol's episode by its first anomaly, of the market's by the episode.

        The streams have had the symbols' anomalies from the shards; they get the market's episodes.
        """
        out = []
        for e in notify:
            row: AnomalyRow | EpisodeRow = stored[e.id]
            if e.symbol != MARKET:
                row = replace(first[e.id], episode_id=e.id)
            topic = "episode" if e.symbol == MARKET else "anomaly"
            sinks = (*self.sinks, *self.streams) if e.symbol == MARKET else self.sinks
            out += [OutboxRow(sink, topic, e.id, payload_of(row)) for sink in sinks]
        return out

    async def _load(self, conn: Conn, end: int) -> Desk:
        """Give a desk with the episodes that are still open."""
        desk = Desk(self.asset_class, self.config, self._names.__getitem__, self.telling.wants)
        rows = await fetch(conn, OPEN, (self.asset_class.value, Ns(end - self.config.cooldown_s * NS_PER_S)))
        for r in rows:
            number = [_float(v) for v in (*r[6:9], r[10])]
            members = msgspec.json.decode(r[12]) or [1]
            episode = Episode(
                id=r[0], symbol=r[1] or MARKET, kind=r[2], opened=r[3], last=r[4], n_anomalies=r[5],
                score=number[0], p_value=number[1], rate=number[2], severity=r[9], direction=0.0,
                breadth=number[3], members=members[0], leaders=tuple(msgspec.json.decode(r[11])),
            )  # fmt: skip
            desk.hold(episode)
        return desk

    async def _check(self, conn: Conn, epoch: int) -> None:
        name = f"feed:{self.asset_class}"
        rows = await fetch(conn, "SELECT epoch FROM leases WHERE name = %s FOR SHARE", (name,))
        if not rows or rows[0][0] != epoch:
            held = rows[0][0] if rows else "no lease"
            raise LeaseLostError(f"expected epoch {epoch} of the lease {name}, was {held}")

    async def _connection(self) -> Conn:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self.dsn, f"desk-{self.asset_class}")
            await self._conn.execute(anomaly_sql.STAGE.encode())
        return self._conn

    async def close(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _number(value: float) -> float | None:
    return None if np.isnan(value) or np.isinf(value) else float(value)
