"""`tapewatch warm`: compile what is compiled at first use, so that the first `up` need not."""

from __future__ import annotations

import typer


def warm() -> None:
    """Compile the numeric kernels and keep them on disk; `make install` does it once.

    Example: tapewatch warm
    """
    import time

    import numpy as np

    from features.catalog import CATALOG
    from features.market.polygon import parse
    from features.market.types import AssetClass, SlotTable
    from features.warm import warm as warm_engine
    from ray_apps.bench.parse import frames
    from ray_apps.bench.quality import warm as warm_quality
    from ray_apps.scoring.models import shipped

    start = time.monotonic()
    for asset_class in (AssetClass.STOCKS, AssetClass.CRYPTO):
        warm_engine(asset_class)
    table = SlotTable(AssetClass.STOCKS)
    for _ in range(2):  # symbols new, then known
        parse(frames(3)[0], table, 0, 0)
    warm_quality()
    for detector in shipped().values():
        detector.score(np.zeros((1, len(CATALOG))))
    typer.echo(f"kernels ready after {time.monotonic() - start:.0f} s")
