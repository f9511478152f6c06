"""The bench of judging stored bars runs, and what it says holds together."""

import pytest

from features.market.types import AssetClass
from ray_apps.bench.quality import run

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("asset_class", "per_symbol"), [(AssetClass.STOCKS, 4 * 390), (AssetClass.CRYPTO, 7 * 1_440)])
def test_the_bench_gives_figures(asset_class: AssetClass, per_symbol: int) -> None:
    found = run(symbols=3, days=7, asset_class=asset_class)
    # From 1 to 7 January stocks have four sessions.
    assert found["bars"] == 3 * per_symbol
    assert found["bars_per_s"] == pytest.approx(found["bars"] / found["seconds"])
    assert min(found["read_bars_per_s"], found["judged_bars_per_s"], found["peak_mb"]) > 0
