"""Sectors and pairs on the stored path: what is said of a break, and a shard that comes back to other pairs."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.decisions.config import DetectorRule
from features.detectors.base import KINDS
from features.families.cross_section import COUNT
from features.stages.market import Market
from features.stages.market_stream import Item, MarketStream
from features.stages.peers import Peers
from features.state import SeriesShape
from ray_apps.shards import recovery
from ray_apps.shards.messages import Message, Opened
from ray_apps.shards.shard import ShardConfig, SymbolShard
from ray_apps.store import series
from ray_apps.store.connect import connect
from ray_apps.store.lease import Lease
from tests.support.builders import PRICES, Scene, assert_same_arrays, batch, block, table
from tests.support.postgres import query

pytestmark = pytest.mark.integration

PEERS = Peers({"low": ("S0", "S1", "S2")}, (("S4", "S3"),))
OTHER = Peers({"low": ("S0", "S1", "S2")}, (("S4", "S2"),))
SCENE = Scene(n_windows=120, missing=0.0, bursts=0, shocks=0, faults=0, peers=PEERS)
ONLY = {kind: DetectorRule(enabled=kind == "correlation_break", share=1.0) for kind in KINDS}
LOUD = replace(SCENE.detection, budget=1.0, rules=ONLY)
SAVED = 90
STATE = "symbols/60/features.cross_section.state"


def items() -> list[list[Item]]:
    """Give what the shard gets minute by minute: S4 leaves S3, and S1 its sector, in the 101st."""
    b = block(SCENE)
    left = np.where(np.arange(120)[:, None] < 100, 1.0, np.array([1.0, 0.7, 1.0, 1.0, 1.3]))
    b = replace(b, **{name: getattr(b, name) * left for name in PRICES})
    names = table(SCENE)
    stream = MarketStream(Market(SeriesShape(SCENE.asset_class, 60, SCENE.activity), LOUD), names)
    return [[*stream.take(batch(b, t), 0.0), stream.close()] for t in range(120)]


async def run(config: ShardConfig, epoch: int) -> SymbolShard:
    """Apply every minute, with a checkpoint between; give the shard as it then is."""
    conn = await connect(config.dsn, "test")
    names = table(SCENE).since(0)
    await series.register(conn, SCENE.asset_class, [(i, s.symbol, s.bar_s) for i, s in enumerate(names)])
    await conn.close()
    shard = SymbolShard(config)
    for t, told in enumerate(items()):
        opened = tuple(Opened(i, s) for i, s in enumerate(names)) if t == 0 else ()
        await shard.apply(Message(epoch, t + 1, tuple(told), opened))
        if t == SAVED:
            assert await recovery.save(shard)
    await shard.writer.close()
    return shard


async def recovered(config: ShardConfig) -> SymbolShard:
    shard = SymbolShard(config)
    assert await recovery.recover(shard)
    await shard.writer.close()
    return shard


def test_a_break_names_its_reference_and_a_new_one_is_learnt_anew(dsn: str, tmp_path: Path) -> None:
    async def work() -> list[SymbolShard]:
        config = ShardConfig(SCENE.asset_class, 0, 1, 60, SCENE.activity, dsn, tmp_path, LOUD, {})
        lease = Lease(dsn, config.lease, "test", 60.0)
        epoch = await lease.acquire()
        assert epoch is not None
        first = await run(config, epoch)
        await lease.release()
        again = await recovered(config)
        other = await recovered(replace(config, detection=replace(LOUD, peers=OTHER)))
        return [first, again, other]

    first, again, other = (s.snapshot() for s in asyncio.run(work()))
    rows = query(dsn, "SELECT DISTINCT symbol, reading FROM anomalies WHERE kind = 'correlation_break'")
    said = {str(symbol): str(reading) for symbol, reading in rows}
    assert said["S4"].endswith("x S3's move")
    assert said["S1"].endswith("x its sector's (low) move")
    assert_same_arrays(again, first)
    np.testing.assert_array_equal(other[STATE][:4], first[STATE][:4])
    assert first[STATE][4, COUNT] > SAVED
    # what the old pair's contexts say of S2 is not known: nothing is learnt until the market says it
    assert other[STATE][4, COUNT] == 0.0
