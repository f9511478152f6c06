"""Find what would end a start of `tapewatch up` before anything is started."""

from __future__ import annotations

import tempfile
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
