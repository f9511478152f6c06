"""Read from the store what no process counts: checkpoints, the outbox, the day's episodes, the disk taken."""

from ray_apps import metrics
from ray_apps.metrics import MetricSet
from ray_apps.store.connect import Conn, fetch

GIB = 2**30
# A class that is watched no more, and a shard that is no more, have old checkpoints and nobody to write new ones.
CHECKPOINTS = """
SELECT stage, asset_class, max(age) FROM (
    SELECT c.stage, c.asset_class, extract(epoch FROM clock_timestamp() - max(c.created_at))::float8 AS age
    FROM checkpoints c JOIN feeds f USING (asset_class)
    WHERE f.updated_at > clock_timestamp() - interval '10 minutes' AND (c.shard = '' OR c.shard::int < %s)
    GROUP BY c.stage, c.asset_class, c.shard
) q GROUP BY stage, asset_class
"""
WAITING = """
SELECT sink, count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8 FROM outbox
WHERE delivered_at IS NULL AND dead_at IS NULL GROUP BY sink
"""
DEAD = "SELECT sink, count(*) FROM outbox WHERE dead_at IS NOT NULL GROUP BY sink"
OPENED_TODAY = """
SELECT f.asset_class, count(e.id) FROM feeds f LEFT JOIN episodes e ON e.asset_class = f.asset_class
    AND e.kind NOT IN ('market_shock', 'data_fault') AND e.opened_at >= date_trunc('day', f.newest_ts, 'UTC')
WHERE f.newest_ts IS NOT NULL GROUP BY f.asset_class
"""
TOLD_TODAY = """
SELECT count(*) FROM episodes WHERE notified_at >= (SELECT date_trunc('day', max(newest_ts), 'UTC') FROM feeds)
"""
BYTES = "SELECT pg_database_size(current_database())"


class StoreGauges:
    """Sets the gauges of the store.

    Parameters
    ----------
    own
        Where they are set.
    sinks
        Names of the sinks: one without a message waits for 0.
    n_shards
        Shards per asset class.
    limit_gib
        What the database may take, GiB.
    """

    def __init__(self, own: MetricSet, sinks: tuple[str, ...], n_shards: int, limit_gib: float) -> None:
        self.own = own
        self._sinks = sinks
        self._n_shards = n_shards
        self._limit_gib = limit_gib

    async def read(self, conn: Conn) -> None:
        """Set every gauge anew.

        Raises
        ------
        psycopg.Error
            When the database is away.
        """
        own = self.own
        checkpoints = await fetch(conn, CHECKPOINTS, (self._n_shards,))
        own.clear(metrics.CHECKPOINT_AGE)
        for stage, asset_class, age_s in checkpoints:
            own.set(metrics.CHECKPOINT_AGE, age_s, stage=stage, asset_class=asset_class)
        await self._read_outbox(conn)
        for asset_class, n in await fetch(conn, OPENED_TODAY):
            own.set(metrics.EPISODES_TODAY, n, asset_class=asset_class)
        own.set(metrics.NOTIFIED_TODAY, (await fetch(conn, TOLD_TODAY))[0][0])
        own.set(metrics.DATABASE_BYTES, (await fetch(conn, BYTES))[0][0])
        own.set(metrics.DATABASE_LIMIT, self._limit_gib * GIB)

    async def _read_outbox(self, conn: Conn) -> None:
        waiting = {sink: (n, age_s) for sink, n, age_s in await fetch(conn, WAITING)}
        dead = dict(await fetch(conn, DEAD))
        for sink in {*self._sinks, *waiting, *dead}:
            n, age_s = waiting.get(sink, (0, 0.0))
            self.own.set(metrics.OUTBOX_WAITING, n, sink=sink)
            self.own.set(metrics.OUTBOX_AGE, age_s, sink=sink)
            self.own.set(metrics.OUTBOX_DEAD, dead.get(sink, 0), sink=sink)
