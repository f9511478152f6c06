"""Put what history has of a hole on the path of the live bars; ask again later for what it could not give at once."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from features.market.calendar import DAY_S
from features.market.types import NS_PER_S, AssetClass, Hole
from ray_apps.ingest.backoff import patiently
from ray_apps.ingest.events import Flush
from ray_apps.ingest.fill import Filler, Filling
from ray_apps.ingest.watch import MarketWatch
from ray_apps.store.connect import Pool
from ray_apps.store.errors import StoreUnavailableError
from ray_apps.store.feeds import fill_gap, holes_since

LOG = logging.getLogger(__name__)

AGAIN_S = 30.0
"""Until a hole is asked for again; doubled with every try."""
TRIES = 8
"""The last comes two hours after the first: what a plan does not give by then stays a hole."""
MOST_OPEN = 16
"""Holes remembered; the oldest go."""
UNGIVEN = ", not all given"
RECALLED_NS = DAY_S * NS_PER_S
"""So far back a start looks for holes that were still open when the system ended, on the feed's clock."""
PATIENCE_S = 60.0


@dataclass(slots=True)
class _Open:
    """A hole of which something is missing, and the reason it is recorded by."""

    hole: Hole
    reason: str
    due_s: float
    tries: int = 1


class Mending:
    """Fills the holes of one feed; without a filler they stay as they are.

    Parameters
    ----------
    asset_class, pool
        Whose holes, and where they are recorded.
    filler
        Asks history.
    say
        Told what is done, "" when nothing is.
    """

    def __init__(self, asset_class: AssetClass, pool: Pool, filler: Filler | None, say: Callable[[str], None]) -> None:
        self._asset_class = asset_class
        self._pool = pool
        self._filler = filler
        self._say = say
        self._open: deque[_Open] = deque(maxlen=MOST_OPEN)

    async def filled(self, hole: Hole, watch: MarketWatch) -> list[Flush | Hole]:
        """Give a hole as the stages are to take it: with the bars history has of it, where it has them."""
        if self._filler is None:
            return [hole]
        filling = await self._fill(self._filler, hole, watch)
        told: list[Flush | Hole] = [replace(hole, is_filled=True, count=filling.n_bars)]
        told += [Flush((batch,)) for batch in filling.batches]
        if filling.missing:
            LOG.warning("hole not filled: %s", filling.missing)
            told.append(replace(hole, cause=hole.cause + UNGIVEN, blind_s=0.0))
            self._open.append(_Open(hole, hole.cause + UNGIVEN, _now_s() + AGAIN_S))
        return told

    async def again(self, watch: MarketWatch) -> None:
        """Ask once more for what was not given, until cancelled; what comes is late, and the hole no longer one.

        First what an earlier run could not fill is remembered.
        """
        with suppress(StoreUnavailableError):
            await self._recall(watch)
        while True:
            await asyncio.sleep(1.0)
            # before a window after it was closed its bars would not be late
            closed_to = watch.stream.minute.closed_to
            found = min((o for o in self._open if o.hole.to_ns < closed_to), key=lambda o: o.due_s, default=None)
            if self._filler is None or found is None or found.due_s > _now_s():
                continue
            self._open.remove(found)
            filling = await self._fill(self._filler, found.hole, watch)
            await watch.deliver([Flush((batch,)) for batch in filling.batches])
            if not filling.missing:
                await self._record(found, filling.n_bars)
            elif found.tries < TRIES:
                due_s = _now_s() + AGAIN_S * 2**found.tries
                self._open.append(replace(found, due_s=due_s, tries=found.tries + 1))

    async def close(self) -> None:
        """Ask no more."""
        if self._filler is not None:
            await self._filler.close()

    async def _fill(self, filler: Filler, hole: Hole, watch: MarketWatch) -> Filling:
        self._say(f"filling a hole of {(hole.to_ns - hole.from_ns) / NS_PER_S:.0f} s by history")
        async with watch.paused() as stream:  # what was received is stored: the store says what is lacking
            pass
        filling = await filler.fill(hole, stream)
        self._say(filling.missing)
        return filling

    async def _recall(self, watch: MarketWatch) -> None:
        """Remember the holes of the last day that are recorded as open, the newest where they are many."""
        if self._filler is None:
            return
        since_ns = max(0, watch.stream.newest_end_ns - RECALLED_NS)

        async def stored() -> list[Hole]:
            async with self._pool.connection() as conn:
                return await holes_since(conn, self._asset_class, since_ns)

        known = {(o.reason, o.hole.from_ns, o.hole.to_ns) for o in self._open}
        for hole in reversed(await patiently(stored, PATIENCE_S, random.Random())):  # noqa: S311 (spreads waits)
            if (hole.cause, hole.from_ns, hole.to_ns) not in known and len(self._open) < MOST_OPEN:
                cause = hole.cause.removesuffix(UNGIVEN)
                self._open.appendleft(_Open(replace(hole, cause=cause), hole.cause, _now_s() + AGAIN_S))

    async def _record(self, found: _Open, n_bars: int) -> None:
        with suppress(StoreUnavailableError):
            async with self._pool.connection() as conn:
                hole = found.hole
                await fill_gap(conn, self._asset_class.value, hole.from_ns, hole.to_ns, found.reason, n_bars)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
