"""Let calls to the vendor go no faster than the plan allows."""

import asyncio
import random
import time

from features.market.types import AssetClass
from ray_apps.ingest.backoff import patiently
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.store import call_budget
from ray_apps.store.connect import Pool


class Rate:
    """Gives turns: a counted plan's are shared by all processes of the key, of any other by this process.

    `calls_per_minute` is the plan's limit, None where there is none; it may change when the vendor has shown what
    the plan is.
    """

    def __init__(self, plan: HistoryPlan, rng: random.Random) -> None:
        self.calls_per_minute = plan.entitlement.calls_per_minute
        self._plan = plan
        self._rng = rng
        self._pool = Pool(plan.dsn, "calls", size=1, wait_s=plan.patience_s)
        self._key = call_budget.digest(plan.api_key)
        self._next_s = 0.0
        self._one = asyncio.Lock()

    async def turn(self, asset_class: AssetClass) -> None:
        """Wait until one more call may be made.

        Raises
        ------
        StoreUnavailableError
            When the database that counts the calls is away for longer than the plan's patience.
        """
        most = self.calls_per_minute
        if most is None:
            await asyncio.sleep(self._own())
            return
        async with self._one:  # a process that is killed loses one turn, not one for each call it wished for
            wait_s = await patiently(lambda: self._shared(asset_class, most), self._plan.patience_s, self._rng)
            await asyncio.sleep(wait_s)

    def _own(self) -> float:
        """Space the calls of this process evenly."""
        now = time.monotonic()
        at = max(now, self._next_s)
        self._next_s = at + 1.0 / self._plan.calls_per_s
        return at - now

    async def _shared(self, asset_class: AssetClass, most: int) -> float:
        async with self._pool.connection() as conn:
            return await call_budget.grant(conn, self._key, asset_class, most, self._plan.window_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._pool.close()
