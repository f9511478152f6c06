"""Write files of bars as others do: the vendor's flat files, plain columns, other people's spellings."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.market.bars import COLUMN_NAMES, BarColumns
from features.market.types import AssetClass
from ray_apps.imports.config import S3Config
from ray_apps.imports.importer import Import, Order
from ray_apps.imports.place import find
from ray_apps.imports.told import Told
from tests.support.postgres import query


def write_csv(path: Path, header: str, rows: Sequence[Sequence[Any]]) -> Path:
    """Write rows under a header, packed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def plain_rows(bars: BarColumns, unit_ns: int = 10**6) -> list[tuple[Any, ...]]:
    """Give rows of t,o,h,l,c,v,vw,n."""
    columns = [getattr(bars, name).tolist() for name in COLUMN_NAMES]
    return [(t // unit_ns, *values) for t, *values in zip(*columns, strict=True)]


def flat_rows(series: Mapping[str, BarColumns]) -> list[tuple[Any, ...]]:
    """Give rows of the vendor's flat files: ticker,volume,open,close,high,low,window_start,transactions."""
    return [
        (name, v, o, c, h, low, t, int(n))
        for name, bars in series.items()
        for t, o, h, low, c, v, _, n in plain_rows(bars, 1)
    ]


FLAT_HEADER = "ticker,volume,open,close,high,low,window_start,transactions"
PLAIN_HEADER = "t,o,h,l,c,v,vw,n"


def write_flat(path: Path, series: Mapping[str, BarColumns]) -> Path:
    """Write a flat file, CSV or Parquet."""
    rows = flat_rows(series)
    if path.suffix != ".parquet":
        return write_csv(path, FLAT_HEADER, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(FLAT_HEADER.split(","), zip(*rows, strict=True), strict=True))), path)
    return path


def importing(dsn: str, *wanted: Path | str, again: bool = False, patience_s: float = 5.0, **told: Any) -> Import:
    """Give an import of stocks that keeps everything."""
    said = Told(told.pop("asset_class", AssetClass.STOCKS), **told)
    return Import(dsn, Order(find([str(w) for w in wanted], S3Config()), said, 3_000, again), patience_s)


def stored(dsn: str, symbol: str, bar_s: int = 60) -> BarColumns:
    """Give the stored bars of a series."""
    rows = query(
        dsn, "SELECT extract(epoch FROM ts)::bigint * 1000000000, open, high, low, close, volume, vwap, trades "
        "FROM bars JOIN series ON series_id = id WHERE symbol = %s AND bar_s = %s ORDER BY ts", symbol, bar_s,
    )  # fmt: skip
    table = np.array(rows, dtype=object).reshape(len(rows), len(COLUMN_NAMES))
    return BarColumns(table[:, 0].astype(np.int64), *(table[:, k].astype(float) for k in range(1, len(COLUMN_NAMES))))


def assert_stored(dsn: str, symbol: str, expected: BarColumns, bar_s: int = 60, without: Sequence[str] = ()) -> None:
    """Say that a series is stored exactly; columns `without` the file has are absent."""
    found = stored(dsn, symbol, bar_s)
    for name in COLUMN_NAMES:
        want = getattr(expected, name).astype(float)
        if name in without:
            want = np.full(len(want), np.nan)
        np.testing.assert_array_equal(getattr(found, name).astype(float), want, err_msg=f"{symbol} {name}")
