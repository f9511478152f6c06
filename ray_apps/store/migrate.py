"""Bring the schema of a database to the newest version."""

import logging
import time
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from ray_apps.store.advice import advised
from ray_apps.store.errors import StoreError

LOG = logging.getLogger(__name__)

LOOK_S = 2.0
SAY_S = 30.0
"""Between two lines that say the same."""
NO_ANSWER = "no answer"
LOCK_KEY = 7_041_776
"""Any fixed number of ours: one migration at a time in one database."""


class MigrationError(StoreError):
    """The database did not take the schema: a person has to mend what the message says."""


def migrate(dsn: str) -> str:
    """Run the missing steps under a lock of the database; give the version it then has.

    Safe to run from several processes at once: the second waits, then finds nothing to do. Each step is one
    transaction: what fails leaves the version before it, whole.

    Raises
    ------
    MigrationError
        When the database is away or refuses a step; it names the database and what to do.
    """
    try:
        return _migrate(dsn)
    except SQLAlchemyError as e:
        raise MigrationError(advised(dsn, "it to take the schema", _said(e))) from e


def _migrate(dsn: str) -> str:
    engine = create_engine(make_url(dsn).set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as conn:
            conn.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
            conn.commit()  # the lock belongs to the session, not to the transaction
            try:
                command.upgrade(config(conn), "head")
                conn.commit()
                return version(conn)
            finally:
                conn.rollback()
                conn.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
                conn.commit()
    finally:
        engine.dispose()


def await_schema(dsn: str, timeout_s: float) -> None:
    """Wait until the database has the newest schema; TimeoutError says what it had last."""
    wanted = newest()
    _await(dsn, timeout_s, f"schema {wanted}", lambda found: found == f"schema {wanted}")


def await_database(dsn: str, timeout_s: float, say: Callable[[str], None] = LOG.info) -> None:
    """Wait until the database answers, whatever its schema; TimeoutError says what came instead.

    `say` takes a line where the answer changes, and twice a minute.
    """
    _await(dsn, timeout_s, "an answer", lambda found: not found.startswith(NO_ANSWER), say)


def _await(
    dsn: str, timeout_s: float, expected: str, is_so: Callable[[str], bool], say: Callable[[str], None] = LOG.info
) -> None:
    engine = create_engine(make_url(dsn).set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 10})
    deadline = time.monotonic() + timeout_s
    told, told_at = "", 0.0
    try:
        while not is_so(found := _found(engine)):
            if time.monotonic() > deadline:
                raise TimeoutError(advised(dsn, f"{expected} within {timeout_s:.0f} s", found))
            if found != told or time.monotonic() - told_at > SAY_S:
                told, told_at = found, time.monotonic()
                say(f"waiting for {advised(dsn, expected, found)}")
            time.sleep(LOOK_S)
    finally:
        engine.dispose()


def _found(engine: Engine) -> str:
    """Give the schema's version, or why there is none."""
    try:
        with engine.connect() as conn:
            return f"schema {found}" if (found := version(conn)) else "no schema"
    except SQLAlchemyError as e:
        return f"{NO_ANSWER}: {_said(e)}"


def _said(e: SQLAlchemyError) -> str:
    """Give what the server or the driver said, in its first line."""
    return str(e.__cause__ or e).splitlines()[0].strip()


def version(conn: Connection) -> str:
    """Give the schema's version, empty before the first migration."""
    return str(MigrationContext.configure(conn).get_current_revision() or "")


def newest() -> str:
    """Give the newest version this code knows."""
    return str(ScriptDirectory.from_config(config(None)).get_current_head())


def config(conn: Connection | None) -> Config:
    """Give the settings of Alembic: our steps, over the given connection."""
    made = Config()
    made.set_main_option("script_location", "ray_apps.store:migrations")
    made.attributes["connection"] = conn
    return made
