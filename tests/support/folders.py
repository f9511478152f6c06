"""Write made-up bars as a folder of files."""

import gzip
from pathlib import Path

import numpy as np

from features.block import BarBlock
from features.market.types import NS_PER_MS


def write(folder: Path, b: BarBlock, columns: str = "t,o,h,l,c,v,n") -> Path:
    """Write a block as a folder of S0.csv.gz, S1.csv, ... whose numbers round-trip."""
    folder.mkdir(exist_ok=True)
    arrays = {"o": b.open, "h": b.high, "l": b.low, "c": b.close, "v": b.volume, "n": b.trades}
    for j in range(b.shape[1]):
        lines = [columns]
        for i in np.flatnonzero(np.isfinite(b.close[:, j])):
            values = {"t": int(b.ts[i, j]) // NS_PER_MS, **{k: float(a[i, j]) for k, a in arrays.items()}}
            lines.append(",".join(repr(values[name]) for name in columns.split(",")))
        text = "\n".join(lines) + "\n"
        if j % 2:
            (folder / f"S{j}.csv").write_text(text)
        else:
            (folder / f"S{j}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder
