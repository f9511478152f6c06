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
    """Where the clock starts, UTC ns; `first_ns` is the oldest stored bar, or the first start."""

    ns: int
    first_ns: int
    is_first: bool

    @property
    def iso(self) -> str:
        """The start as ISO 8601."""
        return _iso(self.ns)

    @property
    def burst_iso(self) -> str:
        """The minute after the one the clock starts in: where a first run shows its anomaly."""
        return _iso((self.ns // MINUTE_NS + 1) * MINUTE_NS)


async def start_of(dsn: str, today: date | None = None) -> Start:
    """Give the start: the end of the newest stored minute, else shortly before a minute's end in a session."""
    conn = await connect(dsn, "start")
    try:
        newest = await newest_ts(conn)
        oldest = await fetch(conn, "SELECT min(ts) FROM bars") if newest is not None else []
    finally:
        await conn.close()
    if newest is not None:
        return Start(newest + MINUTE_NS, int(oldest[0][0]), False)
    first = last_session(today or datetime.now(UTC).date())
    return Start(first, first, True)


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
