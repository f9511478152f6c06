"""Bars of any source over HTTP: stored, corrected, counted and recorded as those of the stream are."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from features.market.types import NS_PER_S, AssetClass
from ray_apps.api.http import create_app
from ray_apps.api.live import live_deps
from ray_apps.config import HttpConfig
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.events import Admission
from ray_apps.ingest.journal import RecordingPlan
from ray_apps.ingest.service import STATUS_S
from ray_apps.store import series
from ray_apps.store.connect import connect
from ray_apps.store.errors import SlotTakenError
from ray_apps.store.migrate import migrate
from ray_apps.store.reader import Reader
from ray_apps.store.rows import series_id
from tests.support.eventually import eventually
from tests.support.live import Live, live, plans
from tests.support.postgres import query
from training.recording import replay_recording

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
NAMES = ["BTC-USD", "ETH-USD", "SOL-USD"]
MINUTE_MS = 60_000


def rows(minutes: range, first_ms: int) -> list[dict]:
    return [
        {"symbol": name, "t": first_ms + m * MINUTE_MS, "o": 10 + i, "h": 11 + i, "l": 9 + i, "c": 10.5 + i, "v": 5 + m}
        for m in minutes
        for i, name in enumerate(NAMES)
    ]


class Gateway:
    """The HTTP gateway before a running feed of this process."""

    def __init__(self, running: Live, client: httpx.AsyncClient) -> None:
        self.running = running
        self.client = client

    async def push(self, bars: list[dict], asset_class: str = "crypto") -> httpx.Response:
        return await self.client.post("/v1/bars", json={"asset_class": asset_class, "bars": bars})


def with_gateway(dsn: str, folder: Path, use, **feed) -> None:
    """Run `use(gateway)` before a feed whose bars are pushed."""
    migrate(dsn)
    base, shards = plans(AssetClass.CRYPTO, "", dsn, folder, recording=RecordingPlan(folder / "tape"))
    config = FeedConfig(AssetClass.CRYPTO, "", "", is_live=True, **feed)

    async def no_metrics() -> str:
        return ""

    async def main() -> None:
        reader = Reader(dsn)
        async with live(replace(base, feed=config, tier="pushed"), shards) as running:

            async def push(asset_class: AssetClass, body: bytes) -> Admission | None:
                return running.service.push(body) if asset_class is AssetClass.CRYPTO else None

            deps = live_deps(reader, None, None, HttpConfig(), no_metrics, push)
            transport = httpx.ASGITransport(create_app(deps))
            await eventually(lambda: running.service.status == "live", 30)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                await use(Gateway(running, client))
        await reader.close()

    asyncio.run(main())


def stored(dsn: str) -> dict[tuple[str, int], tuple[float, float]]:
    sql = "SELECT symbol, ts, close, volume FROM bars JOIN series ON series.id = series_id"
    return {(s, int(t.timestamp()) * 1_000): (c, v) for s, t, c, v in query(dsn, sql)}


def test_pushed_bars_are_stored_corrected_and_replayed(blank_dsn: str, tmp_path: Path) -> None:
    first_ms = (time.time_ns() // NS_PER_S // 60 - 50) * MINUTE_MS
    bars = rows(range(48), first_ms)
    changed = {**bars[31], "c": 10.9}
    bad = [{**bars[0], "l": 50}, {"symbol": "BTC-USD"}, {**bars[0], "t": first_ms + 3_600_000}]

    async def use(gateway: Gateway) -> None:
        for at in range(0, len(bars), 50):
            part = bars[at : at + 50]
            assert (await gateway.push(part)).json() == {"accepted": len(part), "refused": []}
        assert (await gateway.push(bars[:50])).json()["accepted"] == 50  # once more: no change
        told = (await gateway.push([*bad, changed])).json()
        assert (told["accepted"], [r["reason"] for r in told["refused"]]) == (
            1, ["high_below_low", "missing_field", "future"],
        )  # fmt: skip
        assert (await gateway.push(bars, "stocks")).status_code == 404
        await eventually(lambda: changed["c"] in {c for c, _ in stored(blank_dsn).values()}, 30)
        page = (await gateway.client.get("/v1/bars", params={"symbol": "BTC-USD", "limit": 60})).json()
        assert [b["close"] for b in page["items"]] == [10.5] * 48
        feeds = (await gateway.client.get("/v1/feeds")).json()["items"]
        assert [(f["asset_class"], f["tier"], f["gaps"]) for f in feeds] == [("crypto", "pushed", [])]
        assert gateway.running.service.stats().errors == {"high_below_low": 1, "missing_field": 1, "future": 1}

    with_gateway(blank_dsn, tmp_path, use)
    wanted = {(b["symbol"], b["t"]): (b["c"], b["v"]) for b in [*bars, changed]}
    assert stored(blank_dsn) == wanted
    assert query(blank_dsn, "SELECT count(*) FROM bar_revisions") == [(1,)]
    (summary,) = replay_recording(tmp_path / "tape", None, lambda line: None)
    assert (summary.series, summary.bars, summary.notes) == (3, 48 * 3 + 50 + 1, [])


def test_series_that_another_process_numbers_are_taken_over(blank_dsn: str, tmp_path: Path) -> None:
    first_ms = (time.time_ns() // NS_PER_S // 60 - 50) * MINUTE_MS
    bars = rows(range(10), first_ms)
    ours = [{**b, "symbol": "DOGE-USD"} for b in bars if b["symbol"] == "BTC-USD"]

    async def use(gateway: Gateway) -> None:
        await gateway.push(bars)
        await eventually(lambda: len(stored(blank_dsn)) == len(bars), 30)
        conn = await connect(blank_dsn, "other")
        assert await series.allocate(conn, AssetClass.CRYPTO, [("ADA-USD", 60), ("BTC-USD", 60)]) == [3, 0]
        await conn.close()
        await asyncio.sleep(2 * STATUS_S)
        await gateway.push([*rows(range(10, 20), first_ms), *ours])
        await eventually(lambda: len(stored(blank_dsn)) == 2 * len(bars) + len(ours), 30)
        assert not gateway.running.task.done()

    with_gateway(blank_dsn, tmp_path, use)
    numbered = query(blank_dsn, "SELECT symbol FROM series ORDER BY slot")
    assert numbered == [(name,) for name in (*NAMES, "ADA-USD", "DOGE-USD")]
    (summary,) = replay_recording(tmp_path / "tape", None, lambda line: None)
    assert (summary.series, summary.bars) == (5, 2 * len(bars) + len(ours))


def test_a_slot_taken_at_the_same_moment_ends_the_feed_and_the_next_start_goes_on(
    blank_dsn: str, tmp_path: Path
) -> None:
    first_ms = (time.time_ns() // NS_PER_S // 60 - 50) * MINUTE_MS

    async def race(gateway: Gateway) -> None:
        sql = "INSERT INTO series (id, asset_class, slot, symbol, bar_s) VALUES (%s, 'crypto', 0, 'ADA-USD', 60)"
        query(blank_dsn, f"{sql} RETURNING 1", series_id(AssetClass.CRYPTO, 0))
        await gateway.push(rows(range(3), first_ms))
        await eventually(gateway.running.task.done, 30)

    with pytest.raises(ExceptionGroup) as e:
        with_gateway(blank_dsn, tmp_path, race)
    assert e.group_contains(SlotTakenError)

    async def go_on(gateway: Gateway) -> None:
        await gateway.push(rows(range(3), first_ms))

    with_gateway(blank_dsn, tmp_path, go_on)
    assert len(stored(blank_dsn)) == 9


def test_more_than_the_queue_holds_is_refused_and_nothing_accepted_is_lost(blank_dsn: str, tmp_path: Path) -> None:
    first_ms = (time.time_ns() // NS_PER_S // 60 - 50) * MINUTE_MS
    taken: list[dict] = []

    async def use(gateway: Gateway) -> None:
        answers = []
        for minute in range(40):
            bars = rows(range(minute, minute + 1), first_ms)
            answers.append((await gateway.push(bars)).status_code)
            taken.extend(bars if answers[-1] == 202 else [])
        assert set(answers) <= {202, 429}
        await eventually(lambda: not gateway.running.service.watch.has_more(), 30)
        assert (await gateway.push(rows(range(41, 42), first_ms))).status_code == 202
        taken.extend(rows(range(41, 42), first_ms))

    with_gateway(blank_dsn, tmp_path, use, queue_frames=4)
    assert stored(blank_dsn) == {(b["symbol"], b["t"]): (b["c"], b["v"]) for b in taken}
