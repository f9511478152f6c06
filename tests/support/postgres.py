"""One real PostgreSQL for the session, a fresh database for each test module that asks."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ray_apps.local.postgres import LocalPostgres
from ray_apps.store.migrate import migrate

TEMPLATE = "migrated"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LocalPostgres]:
    """Give the session's server; its folder is not pytest's, whose permissions other sessions reset."""
    with (
        tempfile.TemporaryDirectory(prefix="tapewatch-pg-", ignore_cleanup_errors=True) as folder,
        LocalPostgres(Path(folder)) as server,
    ):
        _create(server, TEMPLATE)
        migrate(server.dsn_of(TEMPLATE))
        yield server


@pytest.fixture(scope="module")
def dsn(postgres_server: LocalPostgres) -> str:
    """Give a database of the newest schema, without rows, for one test module."""
    return postgres_server.dsn_of(_create(postgres_server, f"test_{next(_numbers)}", TEMPLATE))


@pytest.fixture
def blank_dsn(postgres_server: LocalPostgres) -> str:
    """Give a database without any table, for one test."""
    return postgres_server.dsn_of(_create(postgres_server, f"test_{next(_numbers)}"))


def query(dsn: str, sql: str, *params: object) -> list[tuple[object, ...]]:
    """Run one statement on a connection of its own; give its rows, if it has any."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(sql.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def _create(server: LocalPostgres, name: str, template: str = "template0") -> str:
    query(server.dsn_of("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
    return name
