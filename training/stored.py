"""Replay bars of the database, as if they had been perfectly received, under some settings or under two at once."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg

from features.decisions.config import DetectionConfig
from ray_apps.errors import UserError
from ray_apps.store.connect import connect, unavailable
from ray_apps.store.errors import StoreError
from training import reel
from training.difference import Comparison
from training.fold import Folding
from training.lines import AnomalyLine
from training.reel import Reel, StorePlan, StoreSummary

STATEMENT_TIMEOUT_S = 600.0
"""A block is read in a second; where the machine does much else it takes long, and nobody waits at a screen."""


async def replay_store(dsn: str, plan: StorePlan, give: Callable[[AnomalyLine], object]) -> StoreSummary:
    """Replay stored bars: `give` gets every anomaly by the time it was known, then symbol. Memory is bounded.

    Bars whose prices cannot be true are not stored, so they are not called again.

    Raises
    ------
    UserError
        When nothing is stored of what was asked for (UsageError where that cannot be), or the database does not answer.
    """
    began = time.perf_counter()
    async with _found(dsn, plan) as found:
        engine = found.engine(plan.detection)
        folding = Folding(engine, found.newest_ns, lambda called: give(called.line))
        summary = await found.play(folding, [engine])
    folding.tally.fill(summary)
    summary.engine_s = folding.engine_s
    summary.total_s = time.perf_counter() - began
    return summary


async def compare_store(
    dsn: str, plan: StorePlan, other: DetectionConfig
) -> tuple[StoreSummary, StoreSummary, Comparison]:
    """Replay stored bars under two settings at once: give what either came to, and where they differ.

    Raises
    ------
    UserError
        As `replay_store`.
    """
    async with _found(dsn, plan) as found:
        engines = [found.engine(detection) for detection in (plan.detection, other)]
        comparison = Comparison(engines[0], engines[1], found.newest_ns)
        now = await found.play(comparison, engines)
    then = replace(now)
    comparison.now.tally.fill(now)
    comparison.then.tally.fill(then)
    return now, then, comparison


@asynccontextmanager
async def _found(dsn: str, plan: StorePlan) -> AsyncIterator[Reel]:
    """Give what the plan asks for, and the database's failures as the user's errors."""
    try:
        conn = await connect(dsn, "replay", STATEMENT_TIMEOUT_S)
        try:
            with unavailable("answer"):
                yield await reel.find(conn, plan)
        finally:
            await conn.close()
    except StoreError as e:
        raise UserError(str(e)) from e
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as e:
        said = f"expected this version's schema, was: {e.diag.message_primary}; `tapewatch db migrate` brings it"
        raise UserError(said) from e
