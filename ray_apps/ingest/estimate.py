"""Say what a backfill takes at most, by the calendar: bars, calls, time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from features.market.calendar import DAY_S
from features.market.quality.days import count_windows, widest_days
from features.market.types import NS_PER_S, AssetClass
from ray_apps.ingest.allowed import DAY_NS, Allowed
from ray_apps.ingest.backfill import Order, Tally
from ray_apps.ingest.history import History
from ray_apps.ingest.pages import LIMIT, base_s
from ray_apps.store import backfills, series
from ray_apps.store.backfills import Span
from ray_apps.store.connect import connect, unavailable

BARS_PER_S = 50_000.0
"""What two cores store."""


class Bounds:
    """What the spans inside one can hold: bars of one length, and the calls they take.

    >>> span = Span(0, 365 * DAY_NS)
    >>> bounds = Bounds(AssetClass.CRYPTO, 60, span)
    >>> bounds.bars(Span(0, DAY_NS)), bounds.calls(Span(0, DAY_NS)), bounds.calls(span)
    (1440, 1, 11)
    """

    def __init__(self, asset_class: AssetClass, bar_s: int, span: Span) -> None:
        from ray_apps.store.calendar import sessions  # brings pandas

        first, last = (datetime.fromtimestamp(ns // NS_PER_S, UTC).date() for ns in (span.from_ns, span.to_ns))
        days = sessions(asset_class, first - timedelta(days=1), last + timedelta(days=1))
        self._days = widest_days(asset_class, days, span.from_ns, span.to_ns)
        self._class = asset_class
        self._bar_s = bar_s

    def bars(self, span: Span) -> int:
        """Give the windows of a span that meet hours in which anything prints."""
        return self._windows(span, self._bar_s)

    def calls(self, span: Span) -> int:
        """Give the calls a span takes: a page begins with the window that the one before it would have cut."""
        base = base_s(self._bar_s)
        return self._windows(span, base) // (LIMIT - self._bar_s // base + 1) + 1

    def _windows(self, span: Span, bar_s: int) -> int:
        if bar_s < DAY_S:
            return int(count_windows(self._days.within(span.from_ns, span.to_ns), bar_s).sum())
        if self._class in (AssetClass.FOREX, AssetClass.FUTURES):  # their days begin on evenings, and on Sundays
            return -(-(span.to_ns - span.from_ns) // DAY_NS) + 1
        return len(self._days.within(span.from_ns, span.to_ns))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes at most, as long as no call has to be made again.

    Attributes
    ----------
    bars, calls
        In all.
    probes
        Calls among them that see what there is to ask for: what the plan gives, the names of all symbols; each
        counts once, however often it was made.
    seconds
        By the plan's rate and the store's.
    """

    bars: int
    calls: int
    probes: int
    seconds: float


async def estimate(history: History, order: Order, allowed: Allowed) -> Estimate:
    """Say what an order takes, once what there is to ask for was seen.

    Raises
    ------
    StoreUnavailableError
        When the database is away.
    """
    asset_class, probes, bars = history.plan.asset_class, history.calls.n_calls - history.calls.n_again, 0
    bounds, calls = Bounds(asset_class, order.bar_s, order.span), probes
    with unavailable("answer"):
        conn = await connect(history.plan.dsn, "backfill")
        try:
            stored = set(await series.symbols(conn, asset_class))
            for symbol in dict.fromkeys(order.symbols):
                missing = [order.span]
                if not order.is_again:
                    missing = await backfills.missing(conn, asset_class, symbol, order.bar_s, order.span)
                bars += sum(bounds.bars(span) for span in missing)
                pages = sum(bounds.calls(span) for span in missing)
                # of a symbol without a bar anywhere one call more asks whether there is such a name
                is_sure = order.is_listed or symbol in stored
                calls += pages if is_sure else max(pages, len(missing) + 1)
        finally:
            await conn.close()
    per_minute = allowed.calls_per_minute or 60 * history.plan.calls_per_s
    return Estimate(bars, calls, probes, max(60 * calls / per_minute, bars / BARS_PER_S))


def calls_left(tallies: Sequence[Tally], whole: int, span: Span) -> int:
    """Give the calls that are still to be made at most, where a whole span takes `whole` of them."""
    left = 0
    for tally in tallies:
        if not tally.is_over:
            todo_ns = span.to_ns - span.from_ns if tally.todo_ns is None else tally.todo_ns - tally.done_ns
            left += math.ceil(whole * todo_ns / (span.to_ns - span.from_ns))
    return left
