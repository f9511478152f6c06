"""Measure `tapewatch up` in a fresh data folder: until a bar is shown, until an anomaly is."""

import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ray_apps.settings import child_environment

SIGNS = {"first_bar_s": b"  vol ", "first_anomaly_s": b"ANOMALY "}
WAIT_S = 240.0
STOP_S = 90.0
CHUNK = 65_536


def run(rounds: int = 3) -> dict[str, Any]:
    """Start and stop the system `rounds` times; give the medians and every round's seconds."""
    found = [_once() for _ in range(rounds)]
    medians = {name: statistics.median(r[name] for r in found) for name in SIGNS}
    return {**medians, "rounds": [[round(r[name], 1) for name in SIGNS] for r in found]}


def _once() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        tapewatch = Path(sys.executable).with_name("tapewatch")
        command = [str(tapewatch), "up", "--source", "synthetic", "--data-dir", folder, "--http-port", "0"]
        began = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 (our own module)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=child_environment(), start_new_session=True
        )
        try:
            return _watch(child, began)
        finally:
            _stop(child)


def _watch(child: "subprocess.Popen[bytes]", began: float) -> dict[str, float]:
    """Read what the system shows until every sign was seen."""
    assert child.stdout is not None
    seen: dict[str, float] = {}
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while len(seen) < len(SIGNS):
            left = began + WAIT_S - time.monotonic()
            chunk = child.stdout.read1(CHUNK) if left > 0 and selector.select(left) else b""  # type: ignore[attr-defined]
            if not chunk:
                raise AssertionError(f"expected a bar and an anomaly within {WAIT_S:.0f} s, was {said[-2_000:]!r}")
            said += chunk
            for name, sign in SIGNS.items():
                if sign in said:
                    seen.setdefault(name, time.monotonic() - began)
    return seen


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
