"""Migrations: twice at once, twice in turn, and back."""

import asyncio
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from sqlalchemy import create_engine, make_url

from ray_apps.store import checkpoints, migrate
from ray_apps.store.connect import Conn, connect
from tests.support.postgres import query

pytestmark = pytest.mark.integration


def test_migrating_at_once_from_several_threads(blank_dsn: str) -> None:
    versions: list[str] = []
    threads = [threading.Thread(target=lambda: versions.append(migrate.migrate(blank_dsn))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert versions == [migrate.newest()] * 4
    assert migrate.migrate(blank_dsn) == migrate.newest()
    assert query(blank_dsn, "SELECT count(*) FROM bars") == [(0,)]


def test_the_way_back_leaves_nothing(blank_dsn: str) -> None:
    migrate.migrate(blank_dsn)
    engine = create_engine(make_url(blank_dsn).set(drivername="postgresql+psycopg"))
    with engine.connect() as conn:
        command.downgrade(migrate.config(conn), "base")
        conn.commit()
    engine.dispose()
    left = query(
        blank_dsn, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    assert left == [("alembic_version",)]
    assert migrate.migrate(blank_dsn) == migrate.newest()


async def _conn(dsn: str) -> Conn:
    return await connect(dsn, "test")


def arrays(k: int) -> dict[str, np.ndarray]:
    return {"mean": np.full(3, k + 0.1), "ring/x": np.arange(6).reshape(2, 3) + k, "names": np.array(["a", "bc"])}


def test_checkpoints_keep_the_newest_three(dsn: str, tmp_path: Path) -> None:
    async def main() -> None:
        conn = await _conn(dsn)
        of = {"stage": "symbols", "asset_class": "stocks", "shard": "stocks:0"}
        assert await checkpoints.load(conn, tmp_path, **of) is None
        for k in range(5):
            await checkpoints.save(conn, tmp_path, **of, position={"seq": k}, arrays=arrays(k))
        await checkpoints.save(conn, tmp_path, **{**of, "shard": "x"}, position={}, arrays={})
        assert len(os.listdir(tmp_path)) == 4
        found = await checkpoints.load(conn, tmp_path, **of)
        assert found is not None
        assert found.position == {"seq": 4}
        for name, array in arrays(4).items():
            assert np.array_equal(found.arrays[name], array)
            assert found.arrays[name].dtype == array.dtype
        await conn.close()

    asyncio.run(main())


@pytest.mark.parametrize("damage", ["cut", "flip", "absent", "garbage"])
def test_a_damaged_checkpoint_is_passed_over(dsn: str, tmp_path: Path, damage: str) -> None:
    async def main() -> None:
        conn = await _conn(dsn)
        of = {"stage": "desk", "asset_class": "stocks", "shard": damage}
        await checkpoints.save(conn, tmp_path, **of, position={"seq": 0}, arrays=arrays(0))
        newest = await checkpoints.save(conn, tmp_path, **of, position={"seq": 1}, arrays=arrays(1))
        hurt(newest, damage)
        found = await checkpoints.load(conn, tmp_path, **of)
        assert found is not None
        assert found.position == {"seq": 0}
        await conn.close()

    asyncio.run(main())


def hurt(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "garbage":
        path.write_bytes(b"not a zip file")
    else:
        data[200] ^= 0xFF
        path.write_bytes(data)


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected plain numbers or text in a"):
        checkpoints.write_blob(tmp_path / "a.npz", {"a": np.array([{}, None], dtype=object)})
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(checkpoints.BlobError):
        checkpoints.read_blob(tmp_path / "b.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]


def test_sweep_deletes_blobs_without_pointer(dsn: str, tmp_path: Path) -> None:
    async def main() -> None:
        conn = await _conn(dsn)
        kept = await checkpoints.save(conn, tmp_path, stage="s", asset_class="c", shard="z", position={}, arrays={})
        checkpoints.write_blob(tmp_path / "lost.npz", arrays(0))
        (tmp_path / ".half.npz.1234").write_bytes(b"")
        assert await checkpoints.sweep(dsn, tmp_path) == 2
        assert os.listdir(tmp_path) == [kept.name]
        assert await checkpoints.sweep(dsn, tmp_path / "none") == 0
        await conn.close()

    asyncio.run(main())
