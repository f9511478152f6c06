"""Write one shard's batches, each in one transaction, exactly once.

A batch is numbered per shard; `applied` keeps the newest number and is written in the same transaction, so
a batch sent again after a crash changes nothing. Numbers go on counting under a new lease epoch: read
`position` first. The row of the lease is share-locked until the commit: a takeover waits for it, and after a
takeover nothing of the old holder can be written.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from psycopg import errors

from features.market.types import I64
from ray_apps.store import anomalies as anomaly_sql
from ray_apps.store import bars as bar_sql
from ray_apps.store import partitions
from ray_apps.store.connect import Conn, Ns, connect, fetch, unavailable
from ray_apps.store.errors import LeaseLostError
from ray_apps.store.feeds import GapRow, put_gaps
from ray_apps.store.rows import (
    CLASS_STRIDE,
    AnomalyRow,
    BarRows,
    ContextRow,
    EpisodeRow,
    OutboxRow,
    Position,
    Told,
)

COMMIT_TIMEOUT_S = 60.0
POSITION = "SELECT epoch, seq, told::text FROM applied WHERE shard = %s"
TELL = "UPDATE applied SET told = %s::jsonb WHERE shard = %s"
CLAIM = """
WITH held AS MATERIALIZED (SELECT epoch FROM leases WHERE name = %(lease)s FOR SHARE),
put AS (
    INSERT INTO applied AS a (shard, epoch, seq)
    SELECT %(shard)s, %(epoch)s, %(seq)s FROM held WHERE held.epoch = %(epoch)s
    ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq WHERE a.seq < excluded.seq
    RETURNING seq
)
SELECT (SELECT epoch FROM held), EXISTS (SELECT FROM put)
"""


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a batch holds beside bars."""

    anomalies: Sequence[AnomalyRow]
    contexts: Sequence[ContextRow]
    outbox: Sequence[OutboxRow]
    episodes: Sequence[EpisodeRow]
    gaps: Sequence[GapRow]
    told: Told | None
    at_ns: int


class ShardWriter:
    """The one writer of a shard (or of a desk, without bars), over a connection of its own.

    Parameters
    ----------
    dsn
        Connection string.
    shard
        Name under which batches are counted in `applied`.
    lease
        Name of the lease every batch is checked against; the shard's name by default.
    """

    def __init__(self, dsn: str, shard: str, lease: str | None = None) -> None:
        self._dsn = dsn
        self._shard = shard
        self._lease = lease or shard
        self._conn: Conn | None = None
        self._days: set[int] = set()
        self._newest: dict[int, I64] = {}

    async def position(self) -> Position | None:
        """Give the last committed batch, None before the first."""
        try:
            with unavailable("answer"):
                conn = await self._connection()
                rows = await fetch(conn, POSITION, (self._shard,))
        except BaseException:
            await self._drop()
            raise
        if not rows:
            return None
        epoch, seq, told = rows[0]
        return Position(epoch, seq, msgspec.json.decode(told, type=Told) if told else None)

    async def commit(
        self,
        *,
        epoch: int,
        seq: int,
        bars: Sequence[BarRows] = (),
        anomalies: Sequence[AnomalyRow] = (),
        contexts: Sequence[ContextRow] = (),
        outbox: Sequence[OutboxRow] = (),
        episodes: Sequence[EpisodeRow] = (),
        gaps: Sequence[GapRow] = (),
        told: Told | None = None,
        at_ns: int = 0,
    ) -> bool:
        """Store a batch whole or not at all; False when it was stored before.

        A bar of a stored window with other values is a revision: the new values replace the old ones, which
        move to `bar_revisions`. Two bars of one window in one batch count in their order. `at_ns` is the feed's time.

        Raises
        ------
        LeaseLostError
            When the lease's epoch is not `epoch`.
        StoreUnavailableError
            When the database is away: whether the batch was stored is unknown, so send it again as it is.
        """
        merged = BarRows.concat(bars) if bars else None
        rest = _Rest(anomalies, contexts, outbox, episodes, gaps, told, at_ns)
        try:
            with unavailable("store a batch"):
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    try:
                        is_new = await self._store(epoch, seq, merged, rest)
                    except errors.CheckViolation:  # retention dropped a day that is written again
                        self._days.clear()
                        is_new = await self._store(epoch, seq, merged, rest)
        except BaseException:
            await self._drop()
            raise
        if is_new and merged is not None:
            self._remember(merged)
        return is_new

    async def _store(self, epoch: int, seq: int, bars: BarRows | None, rest: "_Rest") -> bool:
        conn = await self._connection()
        if bars is not None:
            await self._ensure_days(conn, bars)
        async with conn.transaction():
            if not await self._claim(conn, epoch, seq):
                return False
            if bars is not None:
                await self._put_bars(conn, bars)
            await anomaly_sql.put(conn, rest.anomalies, rest.at_ns)
            await anomaly_sql.put_episodes(conn, rest.episodes)
            await anomaly_sql.put_outbox(conn, rest.outbox)
            await _put_contexts(conn, rest.contexts)
            await put_gaps(conn, rest.gaps)
            if rest.told is not None:
                await conn.execute(TELL, (msgspec.json.encode(rest.told).decode(), self._shard))
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _connection(self) -> Conn:
        if self._conn is None or self._conn.closed:
            conn = await connect(self._dsn, f"shard-{self._shard}")
            self._conn = conn
            await conn.execute(bar_sql.STAGE.encode())
            await conn.execute(anomaly_sql.STAGE.encode())
        return self._conn

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    async def _claim(self, conn: Conn, epoch: int, seq: int) -> bool:
        params = {"lease": self._lease, "shard": self._shard, "epoch": epoch, "seq": seq}
        held, is_new = (await fetch(conn, CLAIM, params))[0]
        if held != epoch:
            raise LeaseLostError(f"expected epoch {epoch} of the lease {self._lease}, was {held or 'no lease'}")
        return bool(is_new)

    async def _ensure_days(self, conn: Conn, bars: BarRows) -> None:
        days = partitions.days_of(bars.ts)
        if not days <= self._days:
            # Tomorrow's table too: nobody waits for one at midnight.
            wanted = days | {max(days) + 1}
            await partitions.ensure(conn, wanted)
            self._days |= wanted

    async def _put_bars(self, conn: Conn, bars: BarRows) -> None:
        for rows in bar_sql.rounds(bars):
            part = bars if rows is None else bars.take(rows)
            is_new = part.ts > self._known(part)
            if is_new.all():
                await bar_sql.insert(conn, part)
                continue
            if is_new.any():
                await bar_sql.insert(conn, part.take(is_new))
            await bar_sql.merge(conn, part.take(~is_new))

    def _known(self, bars: BarRows) -> I64:
        """Give the newest start stored by this writer per row's series, the smallest int where none is."""
        known = np.full(len(bars), np.iinfo(np.int64).min)
        classes, slots = np.divmod(bars.series_id, CLASS_STRIDE)
        for k in np.unique(classes):
            newest = self._newest.get(int(k))
            if newest is not None:
                rows = np.flatnonzero((classes == k) & (slots < len(newest)))
                known[rows] = newest[slots[rows]]
        return known

    def _remember(self, bars: BarRows) -> None:
        classes, slots = np.divmod(bars.series_id, CLASS_STRIDE)
        for k in np.unique(classes):
            rows = classes == k
            newest = self._newest.get(int(k), np.empty(0, dtype=np.int64))
            size = int(slots[rows].max()) + 1
            if size > len(newest):
                grown = np.full(max(size, 2 * len(newest)), np.iinfo(np.int64).min)
                grown[: len(newest)] = newest
                newest = grown
            np.maximum.at(newest, slots[rows], bars.ts[rows])
            self._newest[int(k)] = newest


async def _put_contexts(conn: Conn, contexts: Sequence[ContextRow]) -> None:
    if contexts:
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO contexts (asset_class, window_s, ts_end, payload) VALUES (%s, %s, %s, %b) "
                "ON CONFLICT (asset_class, window_s, ts_end) DO UPDATE SET payload = excluded.payload",
                [(c.asset_class, c.window_s, Ns(c.ts_end), c.payload) for c in contexts],
            )
