"""Reading takes the same memory however long a file is."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.thorough

SYMBOLS, MINUTES = 1_000, 390
MIB = 1 << 20
READ = """
import resource, sys
from pathlib import Path
from features.market.types import AssetClass
from ray_apps.imports.config import S3Config
from ray_apps.imports.place import find
from ray_apps.imports.reading import Tally, parts
from ray_apps.imports.recipe import understand, with_lengths
from ray_apps.imports.sift import Limits
from ray_apps.imports.told import Told

told, limits = Told(AssetClass.STOCKS), Limits(1_790_000_000_000)
place = find([sys.argv[1]], S3Config())[0]
recipe = with_lengths([understand(place, told, limits)], told)[0]
n = sum(len(part.sheaf.bars) for part in parts(recipe, told, limits, Tally(place)))
status = Path("/proc/self/status")  # elsewhere what the parent had before this process began may be in it
if status.exists():
    size = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(n, size)
"""


def write(path: Path, days: int) -> int:
    """Write a flat file of some days' minutes, in Parquet as one group of rows; give its bars."""
    n = days * SYMBOLS * MINUTES
    price = np.round(100 + np.random.default_rng(1).random(n), 4)
    at = np.arange(days)[:, None, None] * 86_400 + np.arange(MINUTES) * 60 + np.zeros((SYMBOLS, 1), np.int64)
    names = np.tile(np.repeat([f"T{i:05d}" for i in range(SYMBOLS)], MINUTES), days)
    table = pa.table({
        "ticker": names, "volume": np.round(price), "open": price, "close": price, "high": price, "low": price,
        "window_start": (1_743_552_000 + at.ravel()) * 10**9, "transactions": np.arange(n) % 99 + 1,
    })  # fmt: skip
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=n)
    else:
        with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as out:
            pyarrow.csv.write_csv(table, out)
    return n


def peak(path: Path) -> tuple[int, int]:
    """Give the bars that a process of its own reads, and the bytes it takes at most."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=120, check=True, env=os.environ
    )
    n, size = done.stdout.split()
    return int(n), int(size)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_four_times_as_long_takes_hardly_more(tmp_path: Path, suffix: str) -> None:
    short, long = tmp_path / f"short{suffix}", tmp_path / f"long{suffix}"
    sizes = []
    for path, days in ((short, 1), (long, 4)):
        n = write(path, days)
        read, size = peak(path)
        assert read == n
        sizes.append(size)
    assert sizes[1] - sizes[0] < 30 * MIB  # its numbers alone are 71 more
