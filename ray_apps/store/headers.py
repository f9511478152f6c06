"""Read what columns a folder's bar files have, without reading the bars."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.market.types import AssetClass
from ray_apps.store.files import FileError, list_files


def activity_of(folder: Path, asset_class: AssetClass) -> str:
    """Give the column that measures how busy a bar of a replayed folder was.

    Trades count only where every file has them (`n`); else it is volume, as where the class's live feed gives that.

    Raises
    ------
    FileError
        When the folder has no bar files, or one of them cannot be opened.
    """
    if asset_class.activity == "volume":
        return "volume"
    return "trades" if all("n" in columns(path) for path in list_files(folder)) else "volume"


def columns(path: Path) -> list[str]:
    """Give the names of a file's columns."""
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as f:
            return [name.strip() for name in f.readline().split(",")]
    except (OSError, ValueError, pa.ArrowException) as e:
        raise FileError(f"{path.name}: expected a file of bars, was: {e}") from e
