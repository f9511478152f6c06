"""Read the splits a vendor lists: pages of its call `/v3/reference/splits`, kept in a file."""

from collections import defaultdict
from datetime import date
from pathlib import Path

import msgspec
import numpy as np

from features.market.quality.splits import KnownSplits
from ray_apps.errors import UsageError

EPOCH = date(1970, 1, 1)


class _Row(msgspec.Struct):
    ticker: str
    execution_date: date
    split_from: float
    split_to: float


class _Page(msgspec.Struct):
    results: list[_Row]


def read_splits(path: Path) -> dict[str, KnownSplits]:
    """Give the splits of a file by symbol: a page of the call, or its results as a list.

    Raises
    ------
    UsageError
        When the file cannot be read or is none of both.
    """
    try:
        told = msgspec.json.decode(path.read_bytes(), type=_Page | list[_Row])
    except OSError as e:
        raise UsageError(f"--splits: expected a readable file, was {path}: {e.strerror}") from e
    except msgspec.DecodeError as e:
        raise UsageError(f"--splits: expected the vendor's list of splits in {path}, was: {e}") from e
    rows = told.results if isinstance(told, _Page) else told
    by_symbol: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        if row.split_from > 0 and row.split_to > 0:
            by_symbol[row.ticker].append(row)
    return {
        symbol: KnownSplits(
            np.array([(row.execution_date - EPOCH).days for row in mine], np.int64),
            np.array([row.split_to / row.split_from for row in mine]),
        )
        for symbol, mine in by_symbol.items()
    }
