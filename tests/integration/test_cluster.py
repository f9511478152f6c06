"""The applications of a cluster: started by settings, changed in place, started anew where that is needed, ended."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_apps.store.migrate import migrate
from tests.support.eventually import eventually_sync
from tests.support.ports import later_port
from tests.support.postgres import query

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
NAMES = ["desk", "feed-crypto", "shard-crypto-0", "sinks"]


class Cluster:
    """The applications, and what they answered."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, line: str = "", seconds: float = 150) -> str:
        """Send a line, if any; give the next one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        deadline = time.monotonic() + seconds
        while select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            said = self.process.stdout.readline()
            if not said:
                raise AssertionError(f"expected an answer to {line!r}, was the end")
            if said[0] in "{rd":  # Ray's own lines are left out
                return said.strip()
        raise AssertionError(f"expected an answer to {line!r} within {seconds} s")

    def actors(self) -> dict[str, str]:
        """Give the actors there are."""
        found: dict[str, str] = json.loads(self.ask("actors"))
        return found


@contextmanager
def simulator(log: Path) -> Iterator[dict[str, Any]]:
    """Hold a simulated market of crypto at sixty times its speed."""
    command = [sys.executable, "-m", "ray_apps.simulator", "--rest-port", "0", "--ws-port", "0", "--asset", "crypto"]
    command += ["--symbols", "20", "--speed", "60", "--start", "2026-11-25T15:30", "--hold"]
    with log.open("wb") as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as child:
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())
        finally:
            child.terminate()


@contextmanager
def cluster(port: int, environ: dict[str, str], log: Path) -> Iterator[Cluster]:
    """Hold the applications' Ray."""
    command = [sys.executable, "-m", "tests.support.on_ray", str(port)]
    own = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_", "RAY_"))}
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=said, text=True, cwd=ROOT, env={**own, **environ, "PYTHONPATH": "."}
        ) as child,
    ):
        made = Cluster(child)
        try:
            assert made.ask() == "ready"
            yield made
        finally:
            if child.stdin is not None and not child.stdin.closed:
                child.stdin.close()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()


def address(url: str) -> str:
    return url.split("://", 1)[-1].split("/", 1)[0]


def environment(dsn: str, redis_url: str, folder: Path, market: dict[str, Any], metrics: int) -> dict[str, str]:
    """Give what a pod's environment would say."""
    return {
        "DATABASE_URL": dsn, "REDIS_URL": redis_url, "TAPEWATCH_DATA_DIR": str(folder),
        "TAPEWATCH_SIMULATOR__WS": address(market["ws"]), "TAPEWATCH_SIMULATOR__REST": address(market["rest"]),
        "TAPEWATCH_METRICS__PORT": str(metrics), "TAPEWATCH_HTTP__TOKEN": "a-token-of-many-letters",
    }  # fmt: skip


def test_settings_start_change_and_end_a_cluster(blank_dsn: str, redis_url: str, tmp_path: Path) -> None:
    migrate(blank_dsn)
    port, metrics = later_port(), later_port()
    with simulator(tmp_path / "simulator.log") as market:
        environ = environment(blank_dsn, redis_url, tmp_path, market, metrics)
        settings: dict[str, Any] = {
            "source": "synthetic", "assets": ["crypto"], "simulator": {"symbols": 20, "speed": 60},
        }  # fmt: skip
        with cluster(port, environ, tmp_path / "cluster.log") as held:
            assert held.ask(f"deploy {json.dumps(settings)}") == "deployed"
            first = held.actors()
            assert list(first) == NAMES
            eventually_sync(lambda: query(blank_dsn, "SELECT status FROM feeds") == [("live",)], 30)
            eventually_sync(lambda: query(blank_dsn, "SELECT 1 FROM bars LIMIT 1"), 60)

            settings["budget"] = {"notifications_per_day": 77}
            assert held.ask(f"deploy {json.dumps(settings)}") == "deployed"
            assert held.actors() == first  # taken over by those that run

            settings["shards"] = 2
            assert held.ask(f"deploy {json.dumps(settings)}") == "deployed"
            wanted = {*NAMES, "shard-crypto-1"}
            eventually_sync(lambda: wanted == set(held.actors()), 120)
            assert held.actors()["feed-crypto"] != first["feed-crypto"]

            n = query(blank_dsn, "SELECT count(*) FROM bars")[0][0]
            eventually_sync(lambda: query(blank_dsn, "SELECT count(*) FROM bars")[0][0] > n, 60)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
                assert client.get("/healthz").status_code == 200
                assert client.post("/v1/bars", json={"asset_class": "crypto", "bars": []}).status_code == 401
            scraped = httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False, timeout=20).text
            assert 'tapewatch_bars_received_total{asset_class="crypto"' in scraped
            for process in ("feed-crypto", "shard-crypto-0", "shard-crypto-1", "desk", "sinks"):
                assert f'tapewatch_process_silent_seconds{{process="{process}"}}' in scraped

            assert held.process.stdin is not None
            held.process.stdin.close()
            assert held.ask() == "{}"  # whoever started the actors has ended them


TAKE_OVER_S = 15.0
"""For a market of this size on a machine busy with two systems; some seconds on an idle one."""


def received(metrics: int) -> float:
    """Give how many bars a system says it received."""
    text = httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False, timeout=20).text
    lines = [line for line in text.splitlines() if line.startswith("tapewatch_bars_received_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def missing(dsn: str, rest: str) -> list[tuple[str, int]]:
    """Give the bars (symbol, start in s) the vendor has and the database lacks, between its first and last minutes."""
    span = "SELECT extract(epoch FROM min(ts))::bigint, extract(epoch FROM max(ts))::bigint FROM bars"
    ((first, last),) = query(dsn, span)
    from_s, to_s = int(str(first)) + 120, int(str(last)) - 180
    gone: list[tuple[str, int]] = []
    n = 0
    with httpx.Client(base_url=f"http://{rest}", params={"apiKey": "sim-advanced"}, trust_env=False) as client:
        for (symbol,) in query(dsn, "SELECT symbol FROM series ORDER BY symbol"):
            ticker = "X:" + str(symbol).replace("-", "")
            way = f"/v2/aggs/ticker/{ticker}/range/1/minute/{from_s * 1000}/{to_s * 1000}"
            there = {b["t"] // 1000 for b in client.get(way, params={"limit": 50_000}).json().get("results", [])}
            stored = (
                "SELECT extract(epoch FROM ts)::bigint FROM bars b JOIN series s ON s.id = series_id WHERE symbol = %s"
            )
            n += len(there)
            rows = query(dsn, stored, symbol)
            gone += [(str(symbol), t) for t in sorted(there - {int(str(r[0])) for r in rows})]
    assert n > 200  # else there was nothing to compare with
    return gone


def test_a_second_cluster_is_ready_without_the_lease_and_takes_over(
    blank_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """As an upgrade by a new cluster goes: both run, the second gets ready, the first one's pods drain."""
    migrate(blank_dsn)
    held = "SELECT epoch, expires_at > now() FROM leases WHERE name = 'feed:crypto'"
    settings = json.dumps({"source": "synthetic", "assets": ["crypto"], "simulator": {"symbols": 20, "speed": 60}})
    hubs = later_port(), later_port()
    with simulator(tmp_path / "simulator.log") as market:
        old, new = (environment(blank_dsn, redis_url, tmp_path / "data", market, hub) for hub in hubs)
        with (
            cluster(later_port(), old, tmp_path / "old.log") as first,
            cluster(later_port(), new, tmp_path / "new.log") as second,
        ):
            assert first.ask(f"deploy {settings}") == "deployed"
            eventually_sync(lambda: query(blank_dsn, "SELECT count(*) FROM bars")[0][0] > 200, 60)
            ((epoch, _),) = query(blank_dsn, held)

            assert second.ask(f"deploy {settings}") == "deployed"  # ready
            assert query(blank_dsn, held) == [(epoch, True)]  # and without the lease
            assert received(hubs[0]) > 200
            assert received(hubs[1]) == 0

            assert first.ask("drain") == "drained desk feed-crypto shard-crypto-0"
            newest = query(blank_dsn, "SELECT max(ts) FROM bars")[0][0]
            eventually_sync(lambda: query(blank_dsn, "SELECT max(ts) FROM bars")[0][0] > newest, TAKE_OVER_S)
            assert query(blank_dsn, held) == [(int(str(epoch)) + 1, True)]
            eventually_sync(lambda: received(hubs[1]) > 0, 30)

            n = int(str(query(blank_dsn, "SELECT count(*) FROM bars")[0][0]))
            eventually_sync(lambda: int(str(query(blank_dsn, "SELECT count(*) FROM bars")[0][0])) > n + 200, 60)
            assert missing(blank_dsn, address(market["rest"])) == []
            whole = "SELECT count(*) AS n FROM bars WHERE ts < (SELECT max(ts) FROM bars) GROUP BY ts"
            per_minute = f"SELECT n, count(*) > 10 FROM ({whole}) q GROUP BY n"
            assert query(blank_dsn, per_minute) == [(20, True)]
            twice = "SELECT key FROM outbox GROUP BY sink, key HAVING count(*) > 1 OR max(attempts) > 1"
            assert query(blank_dsn, twice) == []
