"""The whole system by its one command: what a first user sees, what is left behind, what a second run goes on from."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from ray_apps.local.postgres import LocalPostgres
from ray_apps.local.process import FolderLock
from tests.support.eventually import eventually_sync
from tests.support.ports import taken
from tests.support.running import Up, up

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(600)]
START_S = 180.0
ARGS = ("--symbols", "30", "--speed", "20", "--http-port")


def listening(running: Up) -> list[tuple[str, int, str]]:
    """Give (address, port, command) of every socket the system listens on."""
    found = []
    for p in running.processes():
        with suppress(psutil.Error):
            found += [
                (c.laddr.ip, c.laddr.port, " ".join(p.cmdline()))
                for c in p.net_connections("inet")
                if c.status == psutil.CONN_LISTEN
            ]
    return found


def stored(data_dir: Path) -> tuple[int, int, int]:
    """Give (bars, distinct bars, anomalies) of a stopped system."""
    with LocalPostgres(data_dir) as server, psycopg.connect(server.dsn) as conn:
        bars, distinct = conn.execute("SELECT count(*), count(DISTINCT (series_id, ts)) FROM bars").fetchone() or (0, 0)
        (anomalies,) = conn.execute("SELECT count(*) FROM anomalies").fetchone() or (0,)
    return bars, distinct, anomalies


def is_ray(command: str) -> bool:
    """Say whether a process speaks for Ray: its servers, its workers and the driver, which it listens in too."""
    return any(word in command for word in ("ray::", "site-packages/ray/", "tapewatch up"))


def join_ray_without_token(sockets: list[tuple[str, int, str]]) -> str:
    """Try to join the cluster as a stranger would; give what came of it."""
    gcs = next(port for _, port, command in sockets if "gcs_server" in command)
    code = f"import ray; ray.init('127.0.0.1:{gcs}', logging_level='ERROR'); print('JOINED')"
    bare = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=bare, check=False
    )
    return done.stdout + done.stderr


def push_a_bar(base: str) -> None:
    """Bars of any source go to the running feed."""
    (newest,) = httpx.get(f"{base}/v1/bars", params={"symbol": "stocks:AAPL", "limit": 1}, timeout=10).json()["items"]
    t = int(datetime.fromisoformat(newest["ts"]).timestamp() * 1_000)
    row = {"symbol": "OURS", "t": t, "o": 5, "h": 5, "l": 5, "c": 5, "v": 9, "n": 3}
    answer = httpx.post(f"{base}/v1/bars", json={"asset_class": "stocks", "bars": [row, {}]}, timeout=10)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    eventually_sync(lambda: httpx.get(f"{base}/v1/symbols/OURS", timeout=10).status_code == 200, 30)
    absent = httpx.post(f"{base}/v1/bars", json={"asset_class": "futures", "bars": [row]}, timeout=10)
    assert absent.status_code == 404


def test_a_folder_in_use_is_said_at_once(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "lock"), up(tmp_path) as late:
        assert late.process.wait(60) == 2
        late.stop()
    assert late.lines == [
        f"error: expected a free data folder at {tmp_path}, was in use by process {os.getpid()}: "
        "stop it, or choose another folder with --data-dir"
    ]


def test_a_database_that_cannot_start_is_a_failure_and_no_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("no folder")
    with up(tmp_path, "--http-port", "0") as late:
        assert late.process.wait(120) == 1
        late.stop()
    assert any(line.startswith("error: database: ") for line in late.lines)


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with taken() as other, up(tmp_path, "--http-port", str(other.getsockname()[1])) as late:
        assert late.process.wait(60) == 2
        late.stop()
    (line,) = late.lines
    assert line.startswith("error: http.port: expected to listen on 127.0.0.1 port ")
    assert line.endswith("was refused: Address already in use; --http-port 0 takes a free one")


def test_one_command_shows_the_tape_and_its_anomaly_and_a_second_run_goes_on(tmp_path: Path) -> None:
    with up(tmp_path, *ARGS, "0") as first:
        first.wait_for("  vol ", START_S)
        line = first.wait_for(r"ANOMALY \w+ +AAPL", START_S)  # of what kind depends on the day
        assert "  p=" in line
        assert "severity" in line
        base = first.wait_for("/docs", START_S).split()[-1].removesuffix("/docs")
        port = int(base.rpartition(":")[2])
        assert (tmp_path / "gateway").read_text() == f"{base}\n"
        assert httpx.get(f"{base}/healthz").status_code == 200
        eventually_sync(lambda: httpx.get(f"{base}/readyz", timeout=10).status_code == 200, 30)
        shadow = "tapewatch_shadow_p_value_count"
        eventually_sync(lambda: shadow in httpx.get(f"{base}/metrics", timeout=10).text, START_S)
        rows = httpx.get(f"{base}/v1/anomalies", params={"symbol": "AAPL"}, timeout=10).json()["items"]
        assert line.split()[1] in {row["kind"] for row in rows}
        assert (
            httpx.get(f"{base}/v1/anomalies/nothing", timeout=10)
            .headers["content-type"]
            .startswith("application/problem+json")
        )
        push_a_bar(base)
        sockets = listening(first)
        ours = [x for x in sockets if not is_ray(x[2]) or x[1] == port]
        places = " ".join(line.split()[-1] for line in first.lines if re.match(r"  (database|cache) +\w+://", line))
        told = {port, *(int(number) for number in re.findall(r"(?<=127\.0\.0\.1:)\d+", places))}
        assert len(told) == 3  # gateway, database, cache
        assert told <= {number for _, number, _ in ours}
        assert len(ours) >= 4  # database, cache, simulator, gateway
        assert {address for address, _, _ in ours} <= {"127.0.0.1", "::1"}
        assert "AuthenticationError" in join_ray_without_token(sockets)
        began = first.processes()
        session = next(Path("/tmp/ray").glob(f"session_*_{first.process.pid}"))
        assert first.stop() == 0
        assert first.lines[-1] == "stopping"
        assert not session.exists()
    eventually_sync(lambda: not [p for p in began if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], 30)
    bars, distinct, anomalies = stored(tmp_path)
    assert bars == distinct > 60
    assert anomalies >= 1
    assert not (tmp_path / "gateway").exists()
    with up(tmp_path, *ARGS, "0") as second:
        second.wait_for("  vol ", START_S)
        assert second.stop() == 0
    more, distinct, _ = stored(tmp_path)
    assert more == distinct > bars
