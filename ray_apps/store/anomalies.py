"""Write anomalies, episodes and messages inside a caller's transaction, many at a time."""

# ruff: noqa: S608 (statements are put together from constants of this package only)

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from features.market.types import NS_PER_MS
from ray_apps.store.connect import Conn
from ray_apps.store.rows import AnomalyRow, EpisodeRow, Json, OutboxRow

ANOMALY_TYPES = {
    "id": "text", "asset_class": "text", "symbol": "text", "series_id": "int4", "bar_s": "int4",
    "ts": "timestamptz", "available_at": "timestamptz", "kind": "text", "own_kind": "text", "score": "float8",
    "p_value": "float8", "rate": "float8", "severity": "text", "state": "text", "direction": "int2",
    "reading": "text", "scores": "jsonb", "features": "jsonb", "versions": "jsonb", "norms": "jsonb",
    "episode_id": "text", "is_late": "bool",
}  # fmt: skip
EPISODE_TYPES = {
    "id": "text", "asset_class": "text", "symbol": "text", "kind": "text", "opened_at": "timestamptz",
    "last_at": "timestamptz", "closed_at": "timestamptz", "n_anomalies": "int4", "severity": "text",
    "rate": "float8", "p_value": "float8", "score": "float8", "breadth": "float8", "leaders": "jsonb",
    "members": "jsonb", "notified_at": "timestamptz",
}  # fmt: skip
OUTBOX_TYPES = {"sink": "text", "topic": "text", "key": "text", "payload": "jsonb"}


def _stage(table: str, types: dict[str, str]) -> str:
    # JSON travels as text: the server checks and packs it once, on the way into the table.
    columns = ", ".join(f"{c} {'text' if t == 'jsonb' else t}" for c, t in types.items())
    return f"CREATE TEMP TABLE stage_{table} ({columns}) ON COMMIT DELETE ROWS"


def _upsert(table: str, types: dict[str, str], keep: Sequence[str] = (), touch: str = "") -> str:
    """Give the statement from stage to table; a column of `keep` never goes back to NULL."""
    columns = ", ".join(types)
    values = ", ".join(f"{c}::jsonb" if t == "jsonb" else c for c, t in types.items())
    sets = [
        f"{c} = coalesce(excluded.{c}, {table}.{c})" if c in keep else f"{c} = excluded.{c}" for c in types if c != "id"
    ]
    return (
        f"INSERT INTO {table} ({columns}) SELECT {values} FROM stage_{table} "
        f"ON CONFLICT (id) DO UPDATE SET {', '.join(sets)}{touch}"
    )


STAGE = "; ".join(
    (_stage("anomalies", ANOMALY_TYPES), _stage("episodes", EPISODE_TYPES), _stage("outbox", OUTBOX_TYPES))
)
LEFT = "jsonb_build_object('state', {table}.state, 'until', %(at_ms)s::bigint)"
"""What the history keeps of a state that is left, and when on the feed's clock."""
HISTORY = (
    f", history = CASE WHEN excluded.state = anomalies.state THEN anomalies.history "
    f"ELSE anomalies.history || {LEFT.format(table='anomalies')} END"
)
PUT_ANOMALIES = _upsert("anomalies", ANOMALY_TYPES, keep=("episode_id",), touch=f", updated_at = now(){HISTORY}")
PUT_EPISODES = _upsert("episodes", EPISODE_TYPES, keep=("notified_at",), touch=", updated_at = now()")
PUT_OUTBOX = (
    "INSERT INTO outbox (sink, topic, key, payload) "
    "SELECT sink, topic, key, payload::jsonb || coalesce("
    "(SELECT jsonb_build_object('history', a.history) FROM anomalies a "
    "WHERE topic = 'anomaly' AND a.id = payload::jsonb ->> 'id'), '{}') "
    "FROM stage_outbox ON CONFLICT (sink, key) DO NOTHING"
)


async def put(conn: Conn, rows: Sequence[AnomalyRow], at_ns: int = 0) -> None:
    """Insert anomalies or replace them by id; an episode once set is kept.

    `at_ns` is the feed's time, at which a former state is left; no earlier than the newest of the rows was known.
    """
    newest = {r.id: r for r in rows}  # one row an id: the last one said
    at_ms = max([at_ns, *(r.available_at for r in rows)]) // NS_PER_MS
    await _put(conn, "anomalies", ANOMALY_TYPES, list(newest.values()), PUT_ANOMALIES, {"at_ms": at_ms})


async def put_episodes(conn: Conn, rows: Sequence[EpisodeRow]) -> None:
    """Insert episodes or replace them by id."""
    newest = {r.id: r for r in rows}
    await _put(conn, "episodes", EPISODE_TYPES, list(newest.values()), PUT_EPISODES)


async def put_outbox(conn: Conn, rows: Sequence[OutboxRow]) -> None:
    """Add messages; one that is there already (same sink and key) stays as it is."""
    await _put(conn, "outbox", OUTBOX_TYPES, rows, PUT_OUTBOX)


async def _put(
    conn: Conn,
    table: str,
    types: dict[str, str],
    rows: Sequence[Any],
    upsert: str,
    params: dict[str, int] | None = None,
) -> None:
    if not rows:
        return
    columns = list(types)
    json_at = [t == "jsonb" for t in types.values()]
    async with conn.cursor() as cursor:
        query = f"COPY stage_{table} ({', '.join(columns)}) FROM STDIN BINARY"
        async with cursor.copy(query.encode()) as copy:
            copy.set_types(["text" if t == "jsonb" else t for t in types.values()])
            for row in rows:
                values = [getattr(row, c) for c in columns]
                await copy.write_row([to_json(v) if j else v for v, j in zip(values, json_at, strict=True)])
        await cursor.execute(upsert.encode(), params)


def to_json(value: Json) -> str:
    """Give compact JSON; NaN and the infinities, which JSON does not have, become null.

    >>> to_json({"a": 1.5, "b": float("nan")})
    '{"a":1.5,"b":null}'
    """
    return msgspec.json.encode(value).decode()


def finite(value: float | None) -> float | None:
    """Give None for a value that is not a number.

    >>> finite(float("nan")), finite(0.5)
    (None, 0.5)
    """
    return None if value is None or not math.isfinite(value) else value
