"""Which database a command talks to: the configured one, that of a running `up`, or ours for a moment."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ray_apps.errors import UserError

if TYPE_CHECKING:
    from ray_apps.settings import Settings


@contextlib.contextmanager
def database(settings: Settings, make: bool = False) -> Iterator[str]:
    """Give a connection string; start the data folder's server for the time where `up` does not run it.

    `make` makes the database where there is none yet.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from ray_apps.local.postgres import DATABASE, USER, LocalPostgres
    from ray_apps.local.process import LocalError

    home = settings.data_dir / "postgres"
    if not make and not (home / "data" / "PG_VERSION").exists():
        raise UserError(f"expected a database in {settings.data_dir}, was none: `tapewatch up` makes it")
    try:
        port = int((home / "port").read_text(encoding="ascii"))
        password = (home / "password").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        port, password = 0, ""
    if port and _answers(port):
        yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
        return
    try:
        with LocalPostgres(settings.data_dir) as server:
            yield server.dsn
    except LocalError as e:
        raise UserError(str(e)) from e


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
