"""The simulator as a child: what it says when it cannot play."""

from pathlib import Path

import pytest

from ray_apps.errors import UserError
from ray_apps.local.stack import Stack
from ray_apps.settings import Settings

pytestmark = pytest.mark.integration


def test_a_simulator_that_ends_says_why(tmp_path: Path) -> None:
    bars = tmp_path / "bars"
    bars.mkdir()
    (bars / "AAPL.csv").write_text("nothing,of,use\n1,2,3\n")
    log = tmp_path / "simulator.log"
    log.write_text("error: of yesterday\n")
    with (
        Stack(Settings(data_dir=tmp_path)) as stack,
        pytest.raises(UserError, match="expected the simulator to listen, was an end: expected a good bar file in"),
    ):
        stack.simulator(["--source", str(bars), "--asset", "stocks"], log)
