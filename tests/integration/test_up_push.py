"""`up --source push` is there to be pushed to, though no bar came yet and its port was another's for a while."""

import re
import time
from pathlib import Path

import httpx
import pytest

from ray_apps.cli import run
from tests.support.eventually import eventually_sync
from tests.support.ports import later_port, taken
from tests.support.running import up

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300)]
START_S = 180.0


def test_what_is_pushed_to_an_empty_system_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = later_port()
    base = f"http://127.0.0.1:{port}"
    start_ms = (time.time_ns() // 10**9 // 60 - 5) * 60_000
    bar = {"symbol": "BTC-USD", "t": start_ms, "o": 10, "h": 12, "l": 9, "c": 11, "v": 5}
    with up(tmp_path, "--source", "push", "--asset", "crypto", "--http-port", str(port)) as running:
        running.wait_for("database     up in", START_S)
        with taken(port):
            line = running.wait_for("  http  ", START_S)
        assert line.endswith(
            f"not up yet, tried again: expected to listen on 127.0.0.1 port {port}, was refused: Address already in use"
        )
        running.wait_for(f"127.0.0.1:{port}/docs", START_S)  # as soon as it is free
        for _ in range(2):
            assert run(["probe", "--url", base]) == 0
            stored, score, counted = capsys.readouterr().out.split(", ")
            assert stored == "bar of PROBE-USD stored"
            assert re.fullmatch(r"1 bar counted\n|2 bars counted\n", counted)
            assert score.startswith("no score seen and none expected before history is there (59 more bars")
        answer = httpx.post(f"{base}/v1/bars", json={"asset_class": "crypto", "bars": [bar]}, trust_env=False)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "refused": []})

        def close() -> float | None:
            found = httpx.get(f"{base}/v1/symbols/BTC-USD", trust_env=False)
            return float(found.json()["bar"]["close"]) if found.status_code == 200 else None

        assert eventually_sync(close, 30) == 11.0
        assert running.stop() == 0
