"""What the desk does with stored anomalies: it tells, confirms, and takes back where it told."""

import asyncio
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from features.decisions.config import DetectionConfig
from features.market.types import NS_PER_S, AssetClass
from features.stages.context import Contexts
from ray_apps.shards.desk import CONFIRM_NS, DeskService
from ray_apps.store.lease import Lease
from ray_apps.store.migrate import migrate
from ray_apps.store.rows import CLASS_STRIDE, AnomalyRow
from ray_apps.store.writer import ShardWriter
from tests.support.postgres import query
from tests.support.store import anomaly

pytestmark = pytest.mark.integration
MINUTE, HOUR = 60 * NS_PER_S, 3_600 * NS_PER_S


def context(end: int) -> Contexts:
    """Give what a market that did nothing did."""
    nan, zero = np.array([np.nan]), np.zeros(1, dtype=np.int64)
    return Contexts(np.array([end]), zero, nan, nan, nan, nan, np.array([False]), nan, nan, zero, np.ones(1))


class Place:
    """A class's lease, one writer and one desk on a real database."""

    def __init__(
        self, dsn: str, asset_class: AssetClass = AssetClass.STOCKS, config: DetectionConfig | None = None
    ) -> None:
        self.dsn = dsn
        self.asset_class = asset_class
        self.config = config or DetectionConfig()
        self.seq = 0

    async def __aenter__(self) -> "Place":
        self.lease = Lease(self.dsn, f"feed:{self.asset_class}", "test")
        self.epoch = await self.lease.wait(5.0) or 0
        self.writer = ShardWriter(self.dsn, f"shard:{self.asset_class}:0", f"feed:{self.asset_class}")
        self.desk = DeskService(self.asset_class, self.dsn, self.config, ("console",))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.writer.close()
        await self.desk.close()
        await self.lease.release()

    async def store(self, row: AnomalyRow, at_ns: int = 0) -> None:
        self.seq += 1
        await self.writer.commit(epoch=self.epoch, seq=self.seq, anomalies=[row], at_ns=at_ns)

    async def settle(self, end: int) -> int:
        return len((await self.desk.settle(context(end), self.epoch)).notified)


def test_the_days_cap_holds_over_all_classes(blank_dsn: str) -> None:
    migrate(blank_dsn)
    rows = [anomaly(i, symbol=f"S{i}", series_id=i) for i in range(3)]
    end = max(r.available_at for r in rows)
    capped = DetectionConfig(notifications_per_day=4)

    async def told(asset_class: AssetClass) -> int:
        place = Place(blank_dsn, asset_class, capped)
        async with place:
            for row in rows:
                mine = {"asset_class": asset_class.value, "id": f"{row.id}-{asset_class}"}
                await place.store(replace(row, available_at=end, series_id=series_id(asset_class, row), **mine))
            return await place.settle(end)

    async def scene() -> list[int]:
        return await asyncio.gather(*(told(a) for a in (AssetClass.STOCKS, AssetClass.CRYPTO, AssetClass.FOREX)))

    assert sorted(asyncio.run(scene())) == [0, 1, 3]


def series_id(asset_class: AssetClass, row: AnomalyRow) -> int:
    return list(AssetClass).index(asset_class) * CLASS_STRIDE + row.series_id


def states(dsn: str) -> tuple[str, list[str]]:
    ((state, history),) = query(dsn, "SELECT state, history FROM anomalies")
    return str(state), [h["state"] for h in history]  # type: ignore[attr-defined]


def test_a_retraction_goes_where_the_alert_went_once(blank_dsn: str) -> None:
    migrate(blank_dsn)
    row = anomaly(1)
    end = row.available_at

    async def scene() -> None:
        async with Place(blank_dsn) as place:
            await place.store(row)
            assert await place.settle(end) == 1
            await place.store(replace(row, state="retracted"))
            for minute in (1, 2):
                assert await place.settle(end + minute * MINUTE) == 0

    asyncio.run(scene())
    told = query(blank_dsn, "SELECT sink, topic, payload::text FROM outbox ORDER BY id")
    assert [(sink, topic) for sink, topic, _ in told] == [("console", "anomaly")] * 2
    alert, retraction = (msgspec.json.decode(str(payload)) for _, _, payload in told)
    assert (alert["id"], alert["state"], alert["history"]) == (row.id, "provisional", [])
    assert (retraction["id"], retraction["state"]) == (row.id, "retracted")
    assert [h["state"] for h in retraction["history"]] == ["provisional"]


def test_a_quarter_of_an_hour_confirms_and_a_late_revision_amends(blank_dsn: str) -> None:
    migrate(blank_dsn)
    row = anomaly(1)
    end = row.available_at

    async def scene() -> None:
        async with Place(blank_dsn) as place:
            await place.store(row)
            await place.settle(end + CONFIRM_NS - MINUTE)
            assert states(blank_dsn) == ("provisional", [])
            await place.settle(end + CONFIRM_NS)
            assert states(blank_dsn) == ("confirmed", ["provisional"])
            await place.store(replace(row, state="amended"), end + HOUR)
            await place.store(replace(row, state="amended", score=9.0))
            assert states(blank_dsn) == ("amended", ["provisional", "confirmed"])
            ((history,),) = query(blank_dsn, "SELECT history FROM anomalies")
            assert [h["until"] for h in history] == [(end + CONFIRM_NS) // 10**6, (end + HOUR) // 10**6]

    asyncio.run(scene())
