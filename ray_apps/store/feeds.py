"""Keep what is known of each feed, and the holes in its data."""

from collections.abc import Sequence
from dataclasses import dataclass

from features.market.types import AssetClass, Hole
from ray_apps.store.connect import Conn, Ns, fetch, ns


@dataclass(frozen=True, slots=True)
class FeedRow:
    """The state of one feed; `lag_s` is receive time minus the newest window's end."""

    asset_class: str
    status: str
    host: str
    tier: str
    connected_at: int | None = None
    newest_ts: int | None = None
    lag_s: float | None = None
    detail: str = ""
    updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class GapRow:
    """A hole: no bar of the class, of length `bar_s` or any (0), was received whose window lies in [from_ts, to_ts).

    `is_filled` says that history gave its `n_bars` bars later, `blind_s` for how long there was no connection.
    """

    asset_class: str
    from_ts: int
    to_ts: int
    reason: str
    bar_s: int = 0
    is_filled: bool = False
    n_bars: int = 0
    blind_s: float = 0.0
    recorded_at: int | None = None


async def put_feed(conn: Conn, row: FeedRow) -> None:
    """Store the feed's state over the former one."""
    await conn.execute(
        "INSERT INTO feeds AS f (asset_class, status, host, tier, connected_at, newest_ts, lag_s, detail) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (asset_class) DO UPDATE SET "
        "status = excluded.status, host = excluded.host, tier = excluded.tier, "
        "connected_at = coalesce(excluded.connected_at, f.connected_at), "
        "newest_ts = coalesce(excluded.newest_ts, f.newest_ts), "
        "lag_s = excluded.lag_s, detail = excluded.detail, updated_at = now()",
        (
            row.asset_class, row.status, row.host, row.tier,
            ns(row.connected_at), ns(row.newest_ts), row.lag_s, row.detail,
        ),
    )  # fmt: skip


async def fill_gap(conn: Conn, asset_class: str, from_ts: int, to_ts: int, reason: str, n_bars: int) -> None:
    """Record that history gave what was missing of a hole after all."""
    await conn.execute(
        "UPDATE gaps SET is_filled = true, n_bars = %s "
        "WHERE asset_class = %s AND from_ts = %s AND to_ts = %s AND reason = %s",
        (n_bars, asset_class, Ns(from_ts), Ns(to_ts), reason),
    )


async def put_gaps(conn: Conn, rows: Sequence[GapRow]) -> None:
    """Record holes; one that is there already changes nothing."""
    for row in rows:
        await conn.execute(
            "INSERT INTO gaps (asset_class, from_ts, to_ts, reason, bar_s, is_filled, n_bars, blind_s) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                row.asset_class,
                Ns(row.from_ts),
                Ns(row.to_ts),
                row.reason,
                row.bar_s,
                row.is_filled,
                row.n_bars,
                row.blind_s,
            ),
        )


async def heard_of(conn: Conn, asset_class: str) -> int:
    """Give when the feed of a class last reported, UTC ns; 0 where it never did."""
    rows = await fetch(conn, "SELECT updated_at FROM feeds WHERE asset_class = %s", (asset_class,))
    return int(rows[0][0]) if rows else 0


async def holes_since(conn: Conn, asset_class: AssetClass, since: int) -> list[Hole]:
    """Give the recorded holes that end at `since` or later and were not filled, in time order."""
    rows = await fetch(
        conn,
        "SELECT reason, from_ts, to_ts, bar_s FROM gaps WHERE asset_class = %s AND to_ts >= %s AND NOT is_filled "
        "ORDER BY to_ts",
        (asset_class.value, Ns(since)),
    )
    return [Hole(cause, from_ns, to_ns, bar_s=bar_s) for cause, from_ns, to_ns, bar_s in rows]
