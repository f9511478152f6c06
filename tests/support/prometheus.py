"""A real Prometheus on a free port of 127.0.0.1, with this project's rules."""

import math
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.eventually import eventually_sync

BINARY = "prometheus"
RULES = Path(__file__).resolve().parents[2] / "grafana" / "rules"


def hold(tmp_path: Path, series: Sequence[tuple[str, str]], *cases: tuple[str, Sequence[tuple[str, float]]]) -> None:
    """Let promtool hold queries, after five minutes of series (a name with labels, its values), to their samples."""
    given = [{"series": name, "values": values} for name, values in series]
    asked = [
        {"expr": expr, "eval_time": "5m", "exp_samples": [{"labels": labels, "value": v} for labels, v in samples]}
        for expr, samples in cases
    ]
    test = {"interval": "1m", "input_series": given, "promql_expr_test": asked}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def is_there() -> bool:
    return shutil.which(BINARY) is not None


@dataclass
class Prometheus:
    """A running server."""

    url: str

    def get(self, path: str, **params: str) -> Any:
        """Give the data of an answer; a query that is wrong raises with what the server said."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=params, timeout=30).json()
        assert answer["status"] == "success", answer["error"]
        return answer["data"]

    def values(self, expr: str, start: float, end: float, *, instant: bool) -> list[float]:
        """Give every finite value of a query over a span or at its end (Unix seconds)."""
        if instant:
            found = self.get("query", query=expr, time=str(end))["result"]
            samples = [sample["value"] for sample in found]
        else:
            found = self.get("query_range", query=expr, start=str(start), end=str(end), step="5")["result"]
            samples = [value for sample in found for value in sample["values"]]
        return [v for v in (float(value) for _, value in samples) if math.isfinite(v)]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Scrape `target` (host:port) every second until the block ends."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "rule_files": [str(p) for p in sorted(RULES.glob("*.yaml"))],
        "scrape_configs": [{"job_name": "tapewatch", "static_configs": [{"targets": [target]}]}],
    }
    folder.mkdir()
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    command = [
        *(BINARY, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address={address}", "--log.level=warn"),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            server = Prometheus(f"http://{address}")
            eventually_sync(lambda: _answers(server), 30)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(server: Prometheus) -> bool:
    try:
        return httpx.get(f"{server.url}/-/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
