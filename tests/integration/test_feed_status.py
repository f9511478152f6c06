"""What a feed says of itself, and is counted as, where the vendor does not serve it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from features.market.types import AssetClass
from ray_apps import metrics
from ray_apps.ingest.counting import FeedCounts
from tests.support.eventually import eventually
from tests.support.live import Live, live, plans
from tests.support.ws_server import Peer, Script, ScriptedServer, held_elsewhere

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@asynccontextmanager
async def served(script: Script, dsn: str, folder: Path) -> AsyncIterator[Live]:
    """Hold the system that reads a server of a script."""
    async with ScriptedServer(script) as server:
        plan, shards = plans(AssetClass.STOCKS, "", dsn, folder)
        async with live(replace(plan, feed=replace(plan.feed, url=server.url)), shards) as running:
            yield running


def test_a_feed_that_waits_for_another_holder_of_the_key_says_so(dsn: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with served(held_elsewhere, dsn, tmp_path) as running:
            await eventually(lambda: running.service.status == "cooldown", 30)
            assert "another instance is using this key" in running.service.detail
            await eventually(lambda: running.service.status == "live", 30)

    asyncio.run(scene())


def test_a_key_refused_at_the_start_is_a_silent_feed_that_is_not_live(dsn: str, tmp_path: Path) -> None:
    now = [0.0]
    counts = FeedCounts("stocks", 60, "1", lambda: now[0])

    async def script(peer: Peer) -> None:
        await peer.status("connected")
        await peer.hear()
        await peer.status("auth_failed", "authentication failed")
        await peer.close(1008)

    async def scene() -> None:
        async with served(script, dsn, tmp_path) as running:
            await eventually(running.task.done, 30)
            assert (running.service.status, running.service.watch) == ("refused", None)
            now[0] = 3_600.0
            values = counts.snapshot(running.service)["values"]
        assert values[metrics.SILENT.name]["stocks",] == 3_600.0
        assert values[metrics.NOT_LIVE.name]["stocks",] == 1.0
        assert metrics.BAR_INTERVAL.name not in values

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        asyncio.run(scene())
    assert counts.own.snapshot()["values"][metrics.NOT_LIVE.name]["stocks",] == 1.0
