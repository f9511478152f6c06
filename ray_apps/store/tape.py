"""Give what is stored of one class's bars of one length as it would have come, had all been perfectly received."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from features.block import BarBlock, rows_of
from features.market.types import I32, NS_PER_S, AssetClass, Hole, Series
from ray_apps.store import columns
from ray_apps.store.connect import Conn, Ns, fetch
from ray_apps.store.feeds import holes_since
from ray_apps.store.recovery import blocks_since
from ray_apps.store.rows import series_id


@dataclass(frozen=True, slots=True)
class Span:
    """Instants from `from_ns` up to, and without, `to_ns`; UTC ns."""

    from_ns: int
    to_ns: int


def slots_of(known: list[Series], bar_s: int, symbols: tuple[str, ...] = ()) -> I32:
    """Give the slots of the series of one bar length, of some symbols or of all.

    >>> slots_of([Series(AssetClass.STOCKS, "A", 1), Series(AssetClass.STOCKS, "A", 60)], 60)
    array([1], dtype=int32)
    """
    wanted = set(symbols)
    return np.array(
        [i for i, s in enumerate(known) if s.bar_s == bar_s and (not wanted or s.symbol in wanted)], dtype=np.int32
    )


async def extent(conn: Conn, asset_class: AssetClass, slots: I32, bar_s: int) -> Span | None:
    """Give the start of the slots' oldest stored bar and the end of their newest; None where there is none."""
    found = await columns.extent(conn, [series_id(asset_class, int(s)) for s in slots])
    return None if found is None else Span(found.first_ns, found.last_ns + bar_s * NS_PER_S)


async def was_called(conn: Conn, asset_class: AssetClass, span: Span) -> bool:
    """Say whether a live system called anomalies of the class in a span."""
    rows = await fetch(
        conn,
        "SELECT EXISTS (SELECT FROM anomalies WHERE asset_class = %s AND ts >= %s AND ts < %s)",
        (asset_class.value, Ns(span.from_ns), Ns(span.to_ns)),
    )
    return bool(rows[0][0])


async def has_bars(conn: Conn, asset_class: AssetClass, slots: I32, span: Span) -> bool:
    """Say whether any of the slots has a bar that starts in a span."""
    ids = [series_id(asset_class, int(s)) for s in slots]
    query = "SELECT EXISTS (SELECT FROM bars WHERE series_id = ANY(%s) AND ts >= %s AND ts < %s)"
    return bool((await fetch(conn, query, (ids, Ns(span.from_ns), Ns(span.to_ns))))[0][0])


async def tape(
    conn: Conn, asset_class: AssetClass, slots: I32, bar_s: int, span: Span
) -> AsyncIterator[BarBlock | Hole]:
    """Give the bars that start in a span as blocks of whole windows, in time order, and the holes among them.

    A hole that was not filled comes before the bars after it. A window that holds bars of both sides is not cut: its
    hole comes before all of them.
    """
    window_ns = max(bar_s, 60) * NS_PER_S
    holes = await holes_since(conn, asset_class, span.from_ns)
    waiting = [h for h in reversed(holes) if h.bar_s in (0, bar_s)]
    async for block in blocks_since(conn, asset_class, slots, bar_s, span.from_ns, span.to_ns):
        starts = block.ts[:, 0]
        at = 0
        while waiting and waiting[-1].to_ns <= starts[-1]:
            hole = waiting.pop()
            cut = int(np.searchsorted(starts, hole.to_ns // window_ns * window_ns))
            if cut > at:
                yield rows_of(block, slice(at, cut))
                at = cut
            yield hole
        yield rows_of(block, slice(at, None))
