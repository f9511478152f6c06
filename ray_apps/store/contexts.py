"""Encode a closed window's context for the database, and read it back.

A context may be read under other sectors and pairs than it was written under: each column of moves is stored with its
key, and goes to the column of that key.
"""

import io
from dataclasses import fields, replace
from typing import Any

import numpy as np

from features.market.types import AssetClass
from features.stages.context import Contexts
from features.stages.peers import Peers
from ray_apps.store.connect import Conn, Ns, fetch, ns

KEYS = "keys"


def encode(ctx: Contexts, peers: Peers) -> bytes:
    """Give the columns as an uncompressed npz; never a pickle."""
    out = io.BytesIO()
    columns: dict[str, Any] = {f.name: getattr(ctx, f.name) for f in fields(Contexts)}
    np.savez(out, **columns | {KEYS: np.array(peers.keys)})
    return out.getvalue()


def decode(data: bytes, peers: Peers) -> Contexts:
    """Read what `encode` wrote; moves that were not known then are NaN."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        ctx = Contexts(*(arrays[f.name] for f in fields(Contexts)))
        known = {key: ctx.moves[:, g] for g, key in enumerate(arrays[KEYS].tolist())}
    unknown = np.full(len(ctx), np.nan)
    return replace(ctx, moves=np.stack([known.get(key, unknown) for key in peers.keys], axis=1))


async def contexts_since(
    conn: Conn, asset_class: AssetClass, window_s: int, since: int, peers: Peers
) -> list[Contexts]:
    """Give the stored contexts of windows ending at `since` or later, in time order, in the columns of `peers`."""
    return [decode(payload, peers) for payload in await payloads(conn, asset_class, window_s, since)]


async def payloads(
    conn: Conn, asset_class: AssetClass, window_s: int, since: int, until: int | None = None
) -> list[bytes]:
    """Give the stored contexts of windows with since <= end < until as `encode` gave them, in time order."""
    rows = await fetch(
        conn,
        "SELECT payload FROM contexts WHERE asset_class = %s AND window_s = %s AND ts_end >= %s "
        "AND ts_end < coalesce(%s, 'infinity'::timestamptz) ORDER BY ts_end",
        (asset_class.value, window_s, Ns(since), ns(until)),
    )
    return [bytes(payload) for (payload,) in rows]
