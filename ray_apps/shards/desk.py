"""The desk: settles each closed window's stored anomalies into episodes and notifications, in one transaction.

What it holds is what the database holds: it starts from the episodes still open there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from features import catalog
from features.decisions.anomalies import NO_KIND, STATES, Anomalies
from features.decisions.config import DetectionConfig
from features.detectors.base import KINDS
from features.market.types import NS_PER_S, AssetClass
from features.stages.context import Contexts
from features.stages.desk import MARKET, Desk, Episode
from ray_apps.store import anomalies as anomaly_sql
from ray_apps.store.connect import Conn, Ns, connect, fetch, unavailable
from ray_apps.store.errors import LeaseLostError
from ray_apps.store.rows import CLASS_STRIDE, EpisodeRow, OutboxRow

CONFIRM_NS = 900 * NS_PER_S
"""Corrections of a bar end 15 minutes after its window: then its anomaly is confirmed."""
UNSETTLED = """
SELECT id, symbol, series_id, ts, available_at, kind, own_kind, score, p_value, rate, direction, state, norms::text,
    reading
FROM anomalies
WHERE asset_class = %s AND episode_id IS NULL AND state <> 'retracted' AND available_at <= %s
ORDER BY available_at, series_id
"""
OPEN = """
SELECT id, symbol, kind, opened_at, last_at, n_anomalies, score, p_value, rate, severity, breadth, leaders::text,
    members::text
FROM episodes WHERE asset_class = %s AND last_at > %s ORDER BY last_at
"""
ASSIGN = """
UPDATE anomalies a SET episode_id = q.episode FROM unnest(%s::text[], %s::text[]) AS q (id, episode) WHERE a.id = q.id
"""
CONFIRM = """
UPDATE anomalies SET state = 'confirmed'
WHERE asset_class = %s AND state = 'provisional' AND available_at <= %s AND available_at > %s
"""


@dataclass(frozen=True, slots=True)
class DeskReport:
    """What one settling came to."""

    n_anomalies: int
    episodes: tuple[Episode, ...]
    notified: tuple[Episode, ...]


class DeskService:
    """Settles the windows of one asset class; `settle` is called one window at a time, in their order."""

    def __init__(self, asset_class: AssetClass, dsn: str, config: DetectionConfig, sinks: Sequence[str]) -> None:
        self.asset_class = asset_class
        self.dsn = dsn
        self.config = config
        self.sinks = tuple(sinks)
        self._names: dict[int, str] = {}
        self._desk: Desk | None = None
        self._conn: Conn | None = None

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
                    await conn.execute(CONFIRM, (self.asset_class.value, Ns(end - CONFIRM_NS),
                                                 Ns(end - 8 * CONFIRM_NS)))  # fmt: skip
                return report
        except BaseException:
            # What the desk merged may not be stored: it starts again from what is.
            self._desk = None
            await self.close()
            raise

    async def _settle(self, conn: Conn, desk: Desk, ctx: Contexts, end: int) -> DeskReport:
        rows = await fetch(conn, UNSETTLED, (self.asset_class.value, Ns(end)))
        if not rows:
            return DeskReport(0, (), ())
        found = self._anomalies(rows)
        readings = {r[0]: r[13] for r in rows}
        episodes: dict[str, Episode] = {}
        notify: list[Episode] = []
        ids: list[str] = []
        cuts = np.flatnonzero(np.diff(found.end)) + 1
        for part in np.split(np.arange(len(found)), cuts):
            settled = desk.settle(found.take(part), ctx if found.end[part[0]] > end - NS_PER_S * 3600 else None)
            ids += settled.episode_ids
            episodes.update((e.id, e) for e in settled.episodes)
            notify += settled.notify
        notified = {e.id for e in notify}
        first = {episode: readings[r[0]] for r, episode in reversed(list(zip(rows, ids, strict=True)))}
        await conn.execute(ASSIGN, ([r[0] for r in rows], ids))
        stored = [self._row(e, end if e.id in notified else None) for e in episodes.values()]
        await anomaly_sql.put_episodes(conn, stored)
        await anomaly_sql.put_outbox(conn, self._outbox(notify, first))
        return DeskReport(len(rows), tuple(episodes.values()), tuple(notify))

    def _anomalies(self, rows: Sequence[tuple[Any, ...]]) -> Anomalies:
        n = len(rows)
        x = np.full((n, len(catalog.CATALOG)), np.nan)
        slots = np.array([r[2] % CLASS_STRIDE for r in rows], dtype=np.int32)
        for i, r in enumerate(rows):
            self._names[int(slots[i])] = r[1]
            norms = msgspec.json.decode(r[12])
            x[i, catalog.MOVE_Z] = np.nan if norms.get("move_z") is None else norms["move_z"]
        number = [[np.nan if v is None else v for v in (r[7], r[8], r[9], r[10])] for r in rows]
        score, p_value, rate, direction = np.array(number, dtype=np.float64).T
        return Anomalies(
            slot=slots, ts=np.array([r[3] for r in rows]), end=np.array([r[4] for r in rows]),
            kind=np.array([KINDS.index(r[5]) for r in rows], dtype=np.uint8),
            own_kind=np.array([KINDS.index(r[6]) if r[6] else NO_KIND for r in rows], dtype=np.uint8),
            score=score, p_value=p_value, rate=rate, direction=direction, price=np.full(n, np.nan),
            state=np.array([STATES.index(r[11]) for r in rows], dtype=np.uint8), x=x,
            scores=np.full((n, len(KINDS)), np.nan),
        )  # fmt: skip

    def _row(self, e: Episode, notified_at: int | None) -> EpisodeRow:
        return EpisodeRow(
            id=e.id, asset_class=self.asset_class.value, symbol=None if e.symbol == MARKET else e.symbol, kind=e.kind,
            opened_at=e.opened, last_at=e.last, closed_at=None, n_anomalies=e.n_anomalies, severity=e.severity,
            rate=_number(e.rate), p_value=_number(e.p_value), score=_number(e.score), breadth=_number(e.breadth),
            leaders=list(e.leaders), members=[e.members], notified_at=notified_at,
        )  # fmt: skip

    def _outbox(self, notify: Sequence[Episode], readings: dict[str, str]) -> list[OutboxRow]:
        out = []
        for e in notify:
            payload = {
                "id": e.id, "asset_class": self.asset_class.value, "symbol": e.symbol or None, "kind": e.kind,
                "ts": e.opened, "severity": e.severity, "rate": _number(e.rate), "p_value": _number(e.p_value),
                "score": _number(e.score), "direction": int(e.direction), "reading": readings.get(e.id, ""),
                "breadth": _number(e.breadth), "leaders": list(e.leaders), "members": e.members,
            }  # fmt: skip
            out += [OutboxRow(sink, "notification", e.id, payload) for sink in self.sinks]
        return out

    async def _load(self, conn: Conn, end: int) -> Desk:
        """Give a desk with the episodes that are still open."""
        desk = Desk(self.asset_class, self.config, self._names.__getitem__)
        rows = await fetch(conn, OPEN, (self.asset_class.value, Ns(end - self.config.cooldown_s * NS_PER_S)))
        for r in rows:
            number = [float("nan") if v is None else v for v in (*r[6:9], r[10])]
            members = msgspec.json.decode(r[12]) or [1]
            episode = Episode(
                id=r[0], symbol=r[1] or MARKET, kind=r[2], opened=r[3], last=r[4], n_anomalies=r[5],
                score=number[0], p_value=number[1], rate=number[2], severity=r[9], direction=0.0,
                breadth=number[3], members=members[0], leaders=tuple(msgspec.json.decode(r[11])),
            )  # fmt: skip
            desk.open[episode.symbol] = episode
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


def _number(value: float) -> float | None:
    return None if np.isnan(value) or np.isinf(value) else float(value)
