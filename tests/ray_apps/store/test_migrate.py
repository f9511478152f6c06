"""Migrations: twice at once, twice in turn, and back."""

import asyncio
import os
import secrets
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from sqlalchemy import create_engine, make_url

from ray_apps.store import checkpoints, migrate
from ray_apps.store.connect import Conn, connect
from ray_apps.store.errors import StoreUnavailableError
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
        assert await checkpoints.sweep(dsn, tmp_path) == 0  # young: their pointers may be on the way
        for name in os.listdir(tmp_path):
            os.utime(tmp_path / name, (0, 0))
        assert await checkpoints.sweep(dsn, tmp_path) == 2
        assert os.listdir(tmp_path) == [kept.name]
        assert await checkpoints.sweep(dsn, tmp_path / "none") == 0
        await conn.close()

    asyncio.run(main())


def with_role(dsn: str, *grants: str) -> str:
    """Give the address for a user of the database who may connect, and what is granted."""
    name, password = f"joe_{secrets.token_hex(4)}", "pass-of-joe"
    query(dsn, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    for grant in grants:
        query(dsn, f"{grant} TO {name}")
    return make_url(dsn).set(username=name, password=password).render_as_string(hide_password=False)


def tables(dsn: str) -> list[str]:
    rows = query(
        dsn, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    return sorted(str(name) for (name,) in rows)


def refused(dsn: str) -> str:
    with pytest.raises(migrate.MigrationError) as caught:
        migrate.migrate(dsn)
    assert "pass" not in str(caught.value).replace("password", "")
    return str(caught.value)


def test_a_user_who_may_not_make_tables_leaves_none(blank_dsn: str) -> None:
    query(blank_dsn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    dsn = with_role(blank_dsn)
    said = refused(dsn)
    assert said.startswith(f"database {make_url(dsn).username}@127.0.0.1:")
    assert "permission denied for schema public; let the user make tables" in said
    assert tables(blank_dsn) == []


def test_a_step_refused_in_its_middle_leaves_the_version_before(blank_dsn: str) -> None:
    query(blank_dsn, "CREATE TABLE call_budgets (n int)")  # the second table of the third step
    said = refused(blank_dsn)
    assert 'relation "call_budgets" already exists' in said
    assert query(blank_dsn, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert "backfills" not in tables(blank_dsn)
    query(blank_dsn, "DROP TABLE call_budgets")
    assert migrate.migrate(blank_dsn) == migrate.newest()


def test_a_user_who_does_not_own_the_tables_changes_none(blank_dsn: str) -> None:
    engine = create_engine(make_url(blank_dsn).set(drivername="postgresql+psycopg"))
    with engine.connect() as conn:
        command.upgrade(migrate.config(conn), "0001")
        conn.commit()
    engine.dispose()
    before = tables(blank_dsn)
    said = refused(with_role(blank_dsn, "GRANT ALL ON ALL TABLES IN SCHEMA public"))
    assert "must be owner of table gaps; run the migration as the user who made the tables" in said
    assert tables(blank_dsn) == before
    assert query(blank_dsn, "SELECT version_num FROM alembic_version") == [("0001",)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password": "not-the-pass"}, "password authentication failed for user .*; user or password is not"),
        ({"username": "nobody"}, "; (user or password is not|make the user)"),
        ({"database": "none"}, 'database "none" does not exist; make the database'),
        ({"port": 1}, "Connection refused; is it running"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid.*; its name is not known here"),
    ],
)
def test_a_database_that_does_not_let_us_in_is_named_with_the_fix(
    blank_dsn: str, changes: dict[str, Any], said: str
) -> None:
    wrong = make_url(blank_dsn).set(**changes)
    told: list[str] = []
    with pytest.raises(TimeoutError, match=said) as caught:
        migrate.await_database(wrong.render_as_string(hide_password=False), 0.5, told.append)
    assert len(told) == 1  # said once while it waited
    assert f"{wrong.username}@{wrong.host}:{wrong.port}/{wrong.database}" in str(caught.value)
    assert str(wrong.password) not in " ".join([*told, str(caught.value)])


def test_a_full_volume_is_named_with_the_fix(dsn: str, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("needs a volume of its own")

    async def main() -> None:
        conn = await _conn(dsn)
        of = {"stage": "symbols", "asset_class": "stocks", "shard": "full"}
        with pytest.raises(StoreUnavailableError, match=f"checkpoint to {place}, was: No space left.*larger volume"):
            await checkpoints.save(conn, place, **of, position={}, arrays={"a": np.zeros(100_000)})
        assert os.listdir(place) == []
        await conn.close()

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", str(place)], check=True)
