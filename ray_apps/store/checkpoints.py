"""Keep checkpoints: arrays in a file, a pointer in the database; the newest few, newest readable one first.

A blob is an npz file (never a pickle), written aside, flushed to disk and renamed: it is whole or absent. Its
pointer is written after it. A reader that finds the newest blob damaged takes the one before.
"""

import asyncio
import logging
import os
import secrets
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.state import STATE_VERSION
from ray_apps.store.connect import Conn, connect, fetch
from ray_apps.store.errors import StoreError, StoreUnavailableError

KEEP = 3
YOUNG_S = 600.0
"""A blob's pointer is written within seconds of it."""
LOG = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


class BlobError(StoreError):
    """A checkpoint's file is absent, damaged or not one of ours."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stage's state and the place in the stream it stands for."""

    arrays: dict[str, NDArray[Any]]
    position: dict[str, Any]
    created_at: int
    path: Path


async def save(
    conn: Conn,
    folder: Path,
    *,
    stage: str,
    asset_class: str,
    shard: str,
    position: Mapping[str, Any],
    arrays: Arrays,
    keep: int = KEEP,
) -> Path:
    """Write a blob, then its pointer, then forget all but the newest `keep`; give the blob's path.

    Raises
    ------
    StoreUnavailableError
        When the volume is full or cannot be written to.
    """
    name = f"{stage}-{asset_class}-{shard}-{secrets.token_hex(8)}.npz".replace("/", "_").replace(":", "_")
    path = folder / name
    try:
        await asyncio.to_thread(write_blob, path, arrays)
    except OSError as e:
        advice = "make room there or a larger volume (persistence.size of the chart)"
        said = e.strerror or type(e).__name__
        raise StoreUnavailableError(f"expected to write a checkpoint to {folder}, was: {said}; {advice}") from e
    await conn.execute(
        "INSERT INTO checkpoints (stage, asset_class, shard, path, position) VALUES (%s, %s, %s, %s, %s::jsonb)",
        (stage, asset_class, shard, name, msgspec.json.encode({**position, "version": STATE_VERSION}).decode()),
    )
    old = await fetch(
        conn,
        "DELETE FROM checkpoints WHERE stage = %(stage)s AND asset_class = %(class)s AND shard = %(shard)s "
        "AND id NOT IN (SELECT id FROM checkpoints WHERE stage = %(stage)s AND asset_class = %(class)s "
        "AND shard = %(shard)s ORDER BY id DESC LIMIT %(keep)s) RETURNING path",
        {"stage": stage, "class": asset_class, "shard": shard, "keep": keep},
    )
    for (gone,) in old:
        (folder / gone).unlink(missing_ok=True)
    return path


async def exists(conn: Conn, *, stage: str, asset_class: str, shard: str) -> bool:
    """Say whether there is a checkpoint of this version's state, readable or not."""
    rows = await fetch(
        conn,
        "SELECT EXISTS (SELECT FROM checkpoints WHERE stage = %s AND asset_class = %s AND shard = %s "
        "AND coalesce((position ->> 'version')::int, 1) = %s)",
        (stage, asset_class, shard, STATE_VERSION),
    )
    return bool(rows[0][0])


async def load(conn: Conn, folder: Path, *, stage: str, asset_class: str, shard: str) -> Checkpoint | None:
    """Give the newest readable checkpoint of this version's state, None when there is none."""
    rows = await fetch(
        conn,
        "SELECT path, (position - 'version')::text, created_at FROM checkpoints "
        "WHERE stage = %s AND asset_class = %s AND shard = %s AND coalesce((position ->> 'version')::int, 1) = %s "
        "ORDER BY id DESC",
        (stage, asset_class, shard, STATE_VERSION),
    )
    for name, position, created_at in rows:
        try:
            arrays = await asyncio.to_thread(read_blob, folder / name)
        except BlobError as e:
            LOG.warning("checkpoint skipped, taking the one before", extra={"path": name, "error": str(e)})
            continue
        return Checkpoint(arrays, msgspec.json.decode(position), int(created_at), folder / name)
    return None


def write_blob(path: Path, arrays: Arrays) -> None:
    """Write arrays under their names, atomically and durably.

    Raises
    ------
    TypeError
        For an array of Python objects, which only a pickle could hold.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"expected plain numbers or text in {name}, was dtype {array.dtype}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with aside.open("xb") as f, zipfile.ZipFile(f, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)
            archive.close()
            f.flush()
            os.fsync(f.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_blob(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_blob` wrote; every byte is checked against its checksum.

    Raises
    ------
    BlobError
        When the file is absent, cut short, altered or holds a pickle.
    """
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise BlobError(f"expected a whole checkpoint in {path.name}, was: {e}") from e


async def sweep(dsn: str, folder: Path) -> int:
    """Delete blobs without a pointer (a crash between the two writes leaves one); give their number.

    Young ones stay: another system on the same folder may be about to write their pointers.
    """
    conn = await connect(dsn, "sweep")
    try:
        known = {str(name) for (name,) in await fetch(conn, "SELECT path FROM checkpoints")}
    finally:
        await conn.close()
    return await asyncio.to_thread(_sweep, folder, known)


def _sweep(folder: Path, known: set[str]) -> int:
    before_s = time.time() - YOUNG_S
    found = folder.iterdir() if folder.exists() else ()
    orphans = [p for p in found if ".npz" in p.name and p.name not in known and _written_s(p) < before_s]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # renamed meanwhile
        return float("inf")
