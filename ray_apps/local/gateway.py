"""Say where the gateway of a data folder listens: `tapewatch up` writes it down, what talks to the gateway reads it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ray_apps.errors import UsageError

if TYPE_CHECKING:
    from ray_apps.settings import Settings

FILE = "gateway"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (an address to listen on is none to call)


def url(host: str, port: int) -> str:
    """Give the address a gateway that listens there is called at.

    >>> url("127.0.0.1", 8000), url("0.0.0.0", 1), url("::", 2)
    ('http://127.0.0.1:8000', 'http://127.0.0.1:1', 'http://[::1]:2')
    """
    name = ANY.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def write(data_dir: Path, address: str) -> None:
    """Write the address down, until `forget`."""
    (data_dir / FILE).write_text(f"{address}\n", encoding="ascii")


def forget(data_dir: Path) -> None:
    """Take the address back."""
    (data_dir / FILE).unlink(missing_ok=True)


def find(settings: Settings) -> str:
    """Give the address of the gateway that runs on the data folder, else the one the settings say."""
    with suppress(OSError, ValueError):
        return (settings.data_dir / FILE).read_text(encoding="ascii").strip()
    if not settings.http.port:
        raise UsageError("--url: expected the address that `tapewatch up` printed, as http.port is 0, was none")
    return url(settings.http.host, settings.http.port)


def shown(address: str) -> str:
    """Give a server's address without what it may hold of secrets.

    >>> shown("postgresql://tapewatch:secret@127.0.0.1:5433/tapewatch?password=x")
    'postgresql://127.0.0.1:5433/tapewatch'
    >>> shown("unix:///tmp/secret.sock")
    'as configured'
    """
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.hostname is not None:
            port = f":{parts.port}" if parts.port else ""
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return f"{parts.scheme}://{host}{port}{parts.path}"
    return "as configured"
