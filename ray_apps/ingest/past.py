"""Bring the past a first start needs from the vendor into the store: the last days of every symbol that is watched."""

import asyncio
import time
from collections.abc import Callable

from features.market.types import NS_PER_S
from features.state import DAY_S
from ray_apps.ingest import allowed, wanted
from ray_apps.ingest.backfill import Backfill, Order
from ray_apps.ingest.history import History
from ray_apps.ingest.plan import FeedPlan
from ray_apps.ingest.verdict import HistoryError
from ray_apps.store import checkpoints, series
from ray_apps.store.backfills import Span
from ray_apps.store.connect import Pool
from ray_apps.store.errors import StoreUnavailableError

EVERY_S = 1.0


class Past:
    """The vendor's past for one feed's start; does nothing where there is a checkpoint or no vendor to ask."""

    def __init__(self, plan: FeedPlan, pool: Pool) -> None:
        self.plan = plan
        self.trouble = ""
        self._pool = pool
        self._names: tuple[str, ...] = ()

    async def enroll(self) -> None:
        """Give numbers to the series that are to be fetched, the listed ones or all, before the stream numbers any.

        A plan of a few calls a minute is not asked for a whole market.
        """
        plan = self.plan
        if plan.history is None or plan.warm is not None or await self._has_state():
            return
        listed = tuple(name for name in plan.feed.names if name != "*")
        history = History(plan.history)
        try:
            is_counted = plan.history.entitlement.calls_per_minute is not None
            if not listed and not is_counted:
                listed = tuple([name async for names in history.names() for name in names])
        except HistoryError as e:
            self.trouble = str(e)
        finally:
            await history.close()
        async with self._pool.connection() as conn:
            await series.allocate(conn, plan.asset_class, [(name, plan.primary_bar_s) for name in listed])
        self._names = listed

    async def fetch(self, tell: Callable[[str], None]) -> None:
        """Store what is missing of the last days; what cannot be had is said and left out."""
        if not self._names or self.plan.history is None:
            return
        history = History(self.plan.history)
        try:
            may = await allowed.ask(history.calls, time.time_ns())
            bar_s = self.plan.primary_bar_s
            to_ns = wanted.over(self.plan.asset_class, bar_s, may.newest_ns)
            span = Span(to_ns - self.plan.warm_days * DAY_S * NS_PER_S, to_ns)
            await self._run(Backfill(history, Order(self._names, bar_s, span, may.settled_ns)), tell)
        except (HistoryError, StoreUnavailableError) as e:
            self.trouble = str(e)
        finally:
            await history.close()

    async def _run(self, backfill: Backfill, tell: Callable[[str], None]) -> None:
        running = asyncio.create_task(backfill.run())
        try:
            while not running.done():
                tell(f"fetching the past: {backfill.share:.0%}, {backfill.n_bars:,} bars")
                await asyncio.wait({running}, timeout=EVERY_S)
            running.result()
        finally:
            running.cancel()
        failed = [t for t in backfill.tallies if t.failure]
        if failed:
            self.trouble = f"{len(failed)} symbols without their past, such as {failed[0].symbol}: {failed[0].failure}"

    async def _has_state(self) -> bool:
        async with self._pool.connection() as conn:
            return await checkpoints.exists(conn, stage="market", asset_class=self.plan.asset_class.value, shard="")
