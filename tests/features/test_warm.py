"""After `warm` nothing is left to compile: neither for blocks of any width nor for live batches."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from numba.core.dispatcher import Dispatcher
from features.decisions.config import DetectionConfig
from features.market.types import AssetClass
from features.stages.peers import Peers
from features.warm import warm
from tests.support.builders import Live, Scene, block, engine

def compiled():
    held = (v for m in list(sys.modules.values()) if m.__name__.startswith("features") for v in vars(m).values())
    return {v.py_func.__qualname__ + v.py_func.__module__: tuple(map(str, v.signatures))
            for v in held if isinstance(v, Dispatcher)}

for asset_class in (AssetClass.STOCKS, AssetClass.CRYPTO):
    warm(asset_class)
before = compiled()
rules = DetectionConfig(min_dollar_volume=10.0)
for asset_class in (AssetClass.STOCKS, AssetClass.CRYPTO):
    for bar_s, n in ((60, 5), (60, 1), (5, 3), (300, 2)):
        scene = Scene(asset_class, bar_s, n_symbols=n, n_windows=75)
        list(engine(scene).fold(block(scene)))
        Live(scene, rules).run(block(scene), groups=1 + (n > 1))
held = Scene(n_windows=75, peers=Peers({"low": ("S0", "S1", "S2")}, (("S3", "S4"),)))
list(engine(held).fold(block(held)))
Live(held).run(block(held))
for name, signatures in compiled().items():
    if signatures != before.get(name):
        print(name, set(signatures) - set(before.get(name, ())))
print("scenes done")
"""


@pytest.mark.integration
def test_nothing_is_left_to_compile() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["scenes done"], "")
