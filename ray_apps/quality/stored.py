"""Judge bars of the store: one series at a time, the next being read meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from psycopg.errors import UndefinedTable

from features.market.quality.series import Frame, judge_series
from features.market.quality.summary import Quality, Survey
from features.market.types import NS_PER_S, Series
from ray_apps.errors import UserError
from ray_apps.quality.wish import Wish, framed
from ray_apps.store import series as numbers
from ray_apps.store.columns import Extent, bars_of, extent
from ray_apps.store.connect import Conn, connect, unavailable
from ray_apps.store.errors import StoreError
from ray_apps.store.rows import series_id

READERS = 3
"""Two wait for the database while one series is judged."""
READ_TIMEOUT_S = 120.0


async def judge_stored(dsn: str, wish: Wish, seen: Callable[[int, int], None]) -> Quality:
    """Judge the stored bars of a wish; `seen` is told how many series of how many are done.

    Raises
    ------
    UserError
        When there are no such bars, or the database does not answer.
    """
    try:
        with unavailable("answer"):
            conn = await connect(dsn, "quality", READ_TIMEOUT_S)
            try:
                chosen = await _chosen(conn, wish)
                found = await extent(conn, list(chosen.values()))
            finally:
                await conn.close()
            if found is None:
                raise wish.empty()
            return await _judged(dsn, wish, chosen, found, seen)
    except StoreError as e:
        raise UserError(str(e)) from e
    except UndefinedTable as e:
        raise UserError("expected the tables of stored bars, was none: `tapewatch db migrate` makes them") from e


async def _chosen(conn: Conn, wish: Wish) -> dict[Series, int]:
    """Give the series of a wish with their numbers."""
    stored = {s: series_id(wish.asset_class, slot) for slot, s in enumerate(await numbers.load(conn, wish.asset_class))}
    if not stored:
        raise UserError(f"expected stored bars of {wish.asset_class}, was none: `tapewatch backfill` brings them")
    wish.refuse_absent([s.symbol for s in stored], f"of {wish.asset_class} that are stored")
    named = {s: i for s, i in stored.items() if not wish.symbols or s.symbol in wish.symbols}
    bar_s = wish.one_length({s.bar_s: s.symbol for s in reversed(named)})
    return {s: i for s, i in named.items() if s.bar_s == bar_s}


async def _judged(
    dsn: str, wish: Wish, chosen: dict[Series, int], found: Extent, seen: Callable[[int, int], None]
) -> Quality:
    bar_s = next(iter(chosen)).bar_s
    from_ns = found.first_ns if wish.from_ns is None else wish.from_ns
    until_ns = found.last_ns + bar_s * NS_PER_S if wish.to_ns is None else wish.to_ns
    to_ns = until_ns if wish.to_ns is not None else min(until_ns, max(wish.now_ns, found.first_ns) + 1)
    if from_ns > found.last_ns or to_ns <= found.first_ns or from_ns >= to_ns:
        raise wish.empty()
    bounded = replace(wish, from_ns=from_ns, to_ns=until_ns)
    held = framed(wish.asset_class, bar_s, from_ns, to_ns, found.first_ns % (bar_s * NS_PER_S))
    survey, left = Survey(), iter(chosen.items())
    readers = [
        asyncio.create_task(_read(dsn, bounded, left, held, survey, lambda: seen(len(survey), len(chosen))))
        for _ in range(min(READERS, len(chosen)))
    ]
    try:
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    if not survey.has_bars:
        raise wish.empty()
    return survey.result(held.days, bar_s, (from_ns, to_ns))


async def _read(
    dsn: str, wish: Wish, left: Iterator[tuple[Series, int]], held: Frame, into: Survey, seen: Callable[[], None]
) -> None:
    """Take series one after the other, until none is left."""
    assert wish.from_ns is not None
    assert wish.to_ns is not None
    conn = await connect(dsn, "quality", READ_TIMEOUT_S)
    try:
        for series, number in left:
            bars = await bars_of(conn, number, held.bar_s, wish.from_ns, wish.to_ns)
            if len(bars) or wish.symbols:  # of all that are stored, those of other times are not asked for
                known = wish.known.get(series.symbol)
                into.add(await asyncio.to_thread(judge_series, series.symbol, bars, held, known, None, wish.now_ns))
            seen()
    finally:
        await conn.close()
