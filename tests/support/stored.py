"""Put made-up bars into a database, as if they had been watched."""

import asyncio
from collections.abc import Sequence
from itertools import count

import numpy as np

from features.block import BarBlock
from features.market.types import NS_PER_S, AssetClass
from features.stages.context import Contexts
from features.stages.peers import Peers
from ray_apps.store import series
from ray_apps.store.connect import connect
from ray_apps.store.contexts import encode
from ray_apps.store.feeds import GapRow, put_gaps
from ray_apps.store.rows import BarRows, ContextRow, series_id
from ray_apps.store.writer import ShardWriter
from tests.support.postgres import query

_numbers = count()


def rows_of(b: BarBlock, asset_class: AssetClass, *, in_state: bool = True) -> BarRows:
    """Give the bars of a block as rows to store; its slots are the store's."""
    here = np.isfinite(b.close)
    ts = np.broadcast_to(b.ts, here.shape)[here]
    ids = np.array([series_id(asset_class, int(s)) for s in b.slot], dtype=np.int32)
    values = {name: getattr(b, name)[here] for name in ("open", "high", "low", "close", "volume", "trades")}
    return BarRows(
        series_id=np.broadcast_to(ids, here.shape)[here], ts=ts, recv=ts + b.bar_s * NS_PER_S,
        vwap=np.full(len(ts), np.nan), in_state=np.full(len(ts), in_state), **values,
    )  # fmt: skip


def put(
    dsn: str, b: BarBlock, asset_class: AssetClass, symbols: Sequence[str], kept: Contexts | None = None,
    peers: Peers | None = None, *, in_state: bool = True,
) -> None:  # fmt: skip
    """Store a block, whose slot i is `symbols[i]`, with what the market did in its windows."""
    window_s = max(b.bar_s, 60)

    async def main() -> None:
        conn = await connect(dsn, "test")
        await series.register(conn, asset_class, [(i, name, b.bar_s) for i, name in enumerate(symbols)])
        await conn.close()
        shard = f"past{next(_numbers)}"
        query(dsn, "INSERT INTO leases VALUES (%s, 'test', 1, 'infinity')", shard)
        writer = ShardWriter(dsn, shard)
        one = [] if kept is None else [kept.take(slice(i, i + 1)) for i in range(len(kept))]
        contexts = [ContextRow(asset_class.value, window_s, int(c.end[0]), encode(c, peers or Peers())) for c in one]
        await writer.commit(epoch=1, seq=0, bars=[rows_of(b, asset_class, in_state=in_state)], contexts=contexts)
        await writer.close()

    asyncio.run(main())


def put_hole(dsn: str, row: GapRow) -> None:
    """Record a hole."""

    async def main() -> None:
        conn = await connect(dsn, "test")
        await put_gaps(conn, [row])
        await conn.close()

    asyncio.run(main())
