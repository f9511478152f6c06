"""Find what would end a start of `tapewatch up` before anything is started."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ray_apps.errors import UsageError

if TYPE_CHECKING:
    from ray_apps.settings import Settings

SOURCES = ("synthetic", "polygon", "push")
"""Any other is a folder of bars."""


def check(settings: Settings) -> None:
    """Make the data folder; raise UsageError where it cannot be written, or the source can give no bar."""
    source = settings.chosen_source
    if source == "polygon":
        _vendor(settings)
    elif source not in SOURCES:
        _bars(Path(source))
    _data_dir(settings.data_dir)


def check_ports(settings: Settings) -> None:
    """Raise UsageError where the gateway or the metrics cannot listen at their port, or want the same."""
    from ray_apps.local.process import LocalError, listener

    http, metrics = settings.http, settings.metrics
    wanted = (
        ("http.port", http.host, http.port, "--http-port 0 takes a free one"),
        ("metrics.port", metrics.host, metrics.port, "set another"),
    )
    with ExitStack() as held:
        for name, host, port, advice in wanted:
            try:
                if port:
                    held.enter_context(listener(host, port))
            except LocalError as e:
                raise UsageError(f"{name}: {e}; {advice}") from None


def _data_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as e:
        said = e.strerror or type(e).__name__
        raise UsageError(f"--data-dir: expected a folder that can be written, was {str(path)!r}: {said}") from None


def _vendor(settings: Settings) -> None:
    from ray_apps import plans

    if settings.polygon.api_key is None:
        raise UsageError("POLYGON_API_KEY: expected a key for the source polygon, was none: synthetic needs none")
    feeds, lines = plans.feeds(settings, "polygon", 1.0)
    if not feeds:
        raise UsageError("\n".join([*lines, "expected an asset class that can be watched, was none"]))


def _bars(folder: Path) -> None:
    from ray_apps.store.files import FileError, list_files  # brings pyarrow

    if not folder.is_dir():
        raise UsageError(f"--source: expected synthetic, polygon, push or a folder of bars, was {str(folder)!r}")
    try:
        list_files(folder)
    except FileError as e:
        raise UsageError(f"--source: {e}") from None
