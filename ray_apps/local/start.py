"""Say where a synthetic tape starts: after the newest stored bar, or inside the last session."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from features.market.types import NS_PER_S
from features.synthetic.holidays import is_holiday
from ray_apps.store.connect import connect, fetch
from ray_apps.store.partitions import newest_ts

NEW_YORK = ZoneInfo("America/New_York")
MINUTE_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Start:
    """Where the clock starts, UTC ns; `first_ns` is the oldest stored bar, or the first start.

    `burst_ns` is the minute after the one the first start was in, where a first run shows its anomaly: history is then
    the same in every run. None where what is stored does not begin with a first start.
    """

    ns: int
    first_ns: int
    burst_ns: int | None
    is_first: bool

    @property
    def iso(self) -> str:
        """The start as ISO 8601."""
        return _iso(self.ns)

    @property
    def burst_iso(self) -> str | None:
        """The minute of the anomaly as ISO 8601."""
        return None if self.burst_ns is None else _iso(self.burst_ns)


async def start_of(dsn: str, today: date | None = None) -> Start:
    """Give the start: the end of the newest stored minute, else shortly before a minute's end in a session."""
    conn = await connect(dsn, "start")
    try:
        newest = await newest_ts(conn)
        oldest = await fetch(conn, "SELECT min(ts) FROM bars") if newest is not None else []
        closed = await fetch(conn, "SELECT min(ts_end) FROM contexts")
    finally:
        await conn.close()
    if newest is not None:
        return Start(newest + MINUTE_NS, int(oldest[0][0]), _burst(closed[0][0]), False)
    first = last_session(today or datetime.now(UTC).date())
    return Start(first, first, (first // MINUTE_NS + 1) * MINUTE_NS, True)


def _burst(closed_ns: int | None) -> int | None:
    """Give the end of the oldest window that was watched, where that is the minute of a first start."""
    if closed_ns is None:
        return None
    day = datetime.fromtimestamp(closed_ns / NS_PER_S, NEW_YORK).date()
    first = last_session(day + timedelta(days=1))
    return closed_ns if closed_ns == (first // MINUTE_NS + 1) * MINUTE_NS else None


def last_session(today: date) -> int:
    """Give 10:31:50 New York of the last trading day before `today`, UTC ns.

    >>> last_session(date(2026, 11, 22)) // NS_PER_S
    1795188710
    """
    day = today - timedelta(days=1)
    while day.weekday() >= 5 or is_holiday(day.toordinal() - date(1970, 1, 1).toordinal()):
        day -= timedelta(days=1)
    return int(datetime(day.year, day.month, day.day, 10, 31, 50, tzinfo=NEW_YORK).timestamp()) * NS_PER_S


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns / NS_PER_S, UTC).isoformat().replace("+00:00", "Z")
