"""Start a shard where it stopped: the newest checkpoint, then what is stored after it: bars, contexts, holes."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from features.market.symbols import shard_of
from features.market.types import F64, I32, I64, NS_PER_S, AssetClass, BarBatch, Hole
from features.stages.context import Contexts
from features.stages.market_stream import Item
from ray_apps.shards.messages import Opened
from ray_apps.shards.shard import ShardConfig, SymbolShard
from ray_apps.store import checkpoints, series
from ray_apps.store.connect import Conn, connect, fetch
from ray_apps.store.contexts import contexts_since
from ray_apps.store.feeds import holes_since
from ray_apps.store.recovery import bars_since
from ray_apps.store.rows import CLASS_STRIDE, BarRows

LOG = logging.getLogger(__name__)
STAGE = "symbols"
LATE_NS = 1_200 * NS_PER_S
"""How far before the newest bar a series' first unseen bar may lie: corrections end after 15 minutes."""


async def recover(shard: SymbolShard) -> bool:
    """Bring the shard to its last committed message; False where there is no checkpoint to start from."""
    c = shard.config
    position = await shard.writer.position()
    told = position.told if position else None
    if told is not None and told.run == c.run:  # what this run was told since the shard was made
        shard.config = replace(c, detection=told.detection)
    shard.reset()
    conn = await connect(c.dsn, f"recover-{c.name}")
    try:
        known = await series.load(conn, c.asset_class)
        shard.open(tuple(Opened(slot, s) for slot, s in enumerate(known)))
        since = await _load(conn, shard)
        if since is not None:
            await _fold_stored(conn, shard, since)
        return since is not None
    finally:
        await conn.close()


async def fold_stored(shard: SymbolShard, since_ns: int) -> None:
    """Fold the bars stored after `since_ns`: what follows the history of a shard without a checkpoint."""
    conn = await connect(shard.config.dsn, f"recover-{shard.config.name}")
    try:
        await _fold_stored(conn, shard, since_ns)
    finally:
        await conn.close()


async def _fold_stored(conn: Conn, shard: SymbolShard, since: int) -> None:
    c = shard.config
    known = await series.load(conn, c.asset_class)
    slots = np.array([i for i, s in enumerate(known) if shard_of(s.symbol, c.n_shards) == c.shard], dtype=np.int32)
    lengths = np.array([s.bar_s for s in known], dtype=np.int64)
    position = await shard.writer.position()
    await _fold(conn, shard, slots, lengths, since)
    shard.late_to = await _late_to(conn, c.asset_class)
    shard.applied_seq = position.seq if position else 0


@dataclass(frozen=True, slots=True)
class Copied:
    """The state of a shard as of its last committed message, apart from the one that goes on."""

    config: ShardConfig
    position: dict[str, int]
    arrays: dict[str, F64 | I64]


def copied(shard: SymbolShard) -> Copied | None:
    """Copy the state; None while a message is folded and not yet stored."""
    if shard.pending is not None:
        return None
    return Copied(shard.config, {"seq": shard.applied_seq}, shard.snapshot())


async def write(state: Copied) -> None:
    """Write a copied state as a checkpoint."""
    c = state.config
    conn = await connect(c.dsn, f"checkpoint-{c.name}")
    try:
        await checkpoints.save(
            conn, c.checkpoints, stage=STAGE, asset_class=c.asset_class.value, shard=str(c.shard),
            position=state.position, arrays=state.arrays,
        )  # fmt: skip
    finally:
        await conn.close()


async def try_write(state: Copied | None) -> None:
    """Write a copied state, if there is one; where that fails the one before and the stored bars do, only slower."""
    if state is None:
        return
    try:
        await write(state)
    except Exception as e:
        LOG.warning("checkpoint not written", extra={"path": str(state.config.checkpoints), "error": str(e)})


async def save(shard: SymbolShard) -> bool:
    """Write a checkpoint as of the last committed message; False while one is folded and not yet stored."""
    state = copied(shard)
    if state is None:
        return False
    await write(state)
    return True


async def _load(conn: Conn, shard: SymbolShard) -> int | None:
    """Restore the newest checkpoint; give the start from which stored bars may be unseen, None without one."""
    c = shard.config
    found = await checkpoints.load(
        conn, c.checkpoints, stage=STAGE, asset_class=c.asset_class.value, shard=str(c.shard)
    )
    if found is None:
        return None
    shard.restore(found.arrays)
    return max(0, int(shard.stream.newest_ts.max(initial=0)) - LATE_NS)


async def _fold(conn: Conn, shard: SymbolShard, slots: I32, lengths: I64, since: int) -> None:
    c, stream = shard.config, shard.stream
    later = await contexts_since(
        conn, c.asset_class, max(c.primary_bar_s, 60), max(since, stream.closed_to + 1), c.detection.peers
    )
    between: list[Contexts | Hole] = [*later, *await holes_since(conn, c.asset_class, since)]
    async for item in stored(bars_since(conn, c.asset_class, slots, since), lengths, stream, between, c.primary_bar_s):
        shard.fold_again(item)


async def stored(
    rows: AsyncIterator[BarRows], lengths: I64, state: "Folded", between: Sequence[Contexts | Hole], bar_s: int
) -> AsyncIterator[Item]:
    """Give stored input in order: a window closes, and a hole ends, before the first bar that ends after it."""
    waiting = sorted(between, key=_at, reverse=True)
    async for part in rows:
        for batch in batches(part, lengths, state):
            while waiting and _is_before(waiting[-1], batch, bar_s):
                yield waiting.pop()
            yield batch
    while waiting:
        yield waiting.pop()


def _at(item: Contexts | Hole) -> int:
    return item.to_ns if isinstance(item, Hole) else int(item.end[0])


def _is_before(item: Contexts | Hole, batch: BarBatch, bar_s: int) -> bool:
    return _at(item) < int(batch.ts_end[0]) and (isinstance(item, Hole) or batch.bar_s == bar_s)


async def _late_to(conn: Conn, asset_class: AssetClass) -> int:
    """Give the end of the newest hole that history filled, 0 where there is none."""
    rows = await fetch(conn, "SELECT max(to_ts) FROM gaps WHERE asset_class = %s AND is_filled", (asset_class.value,))
    return int(rows[0][0] or 0)


class Folded(Protocol):
    """A state that knows the start of each slot's newest bar."""

    newest_ts: I64

    def reserve(self, n: int) -> None:
        """Make room for `n` slots."""


def batches(rows: BarRows, lengths: I64, state: Folded) -> Iterator[BarBatch]:
    """Give stored rows the state does not have, as batches of one instant and bar length, in order of their ends."""
    slot = (rows.series_id % CLASS_STRIDE).astype(np.int32)
    state.reserve(int(slot.max(initial=-1)) + 1)
    bar_s = lengths[slot]
    end = rows.ts + bar_s * NS_PER_S
    fresh = np.flatnonzero(rows.ts > state.newest_ts[slot])
    order = fresh[np.lexsort((slot[fresh], bar_s[fresh], end[fresh]))]
    cuts = np.flatnonzero((np.diff(end[order]) != 0) | (np.diff(bar_s[order]) != 0)) + 1
    for at in np.split(order, cuts):
        if len(at):
            p = rows.take(at)
            yield BarBatch(slot[at], p.ts, end[at], p.open, p.high, p.low, p.close, p.volume, p.vwap, p.trades,
                           int(bar_s[at[0]]))  # fmt: skip
