"""The disk runs full under the running system: it says so, goes on receiving, and recovers when there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ray_apps.local.process import free_port
from tests.integration.test_kill import counts
from tests.integration.test_up import ARGS, START_S
from tests.support.eventually import eventually_sync
from tests.support.running import up

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(600)]
RECOVERY_S = 120.0
SIZE_MIB = 400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"needs a disk of its own: {made.stderr.strip()}")
    place.chmod(0o755)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing fits any more."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(2**20))
        except OSError:
            return filler


def test_a_full_disk_is_said_and_survived(disk: Path) -> None:
    port = free_port()
    with up(disk, *ARGS, str(port)) as running:
        running.wait_for("/docs", START_S)
        ready = f"http://127.0.0.1:{port}/readyz"
        eventually_sync(lambda: httpx.get(ready, timeout=10).status_code == 200, RECOVERY_S)
        filler = fill(disk)
        before, _ = counts(disk)
        said: list[str] = []

        def is_told() -> bool:
            answer = httpx.get(ready, timeout=10)
            said.append(answer.text)
            return answer.status_code == 503

        eventually_sync(is_told, RECOVERY_S)
        assert "not storing" in said[-1]
        assert "No space left on device" in said[-1]
        assert "not storing" in running.wait_for("feed .*not storing", RECOVERY_S)
        filler.unlink()
        eventually_sync(lambda: counts(disk)[0] > before + 100, RECOVERY_S)
        eventually_sync(lambda: httpx.get(ready, timeout=10).status_code == 200, RECOVERY_S)
        bars, distinct = counts(disk)
        assert bars == distinct
        assert running.stop() == 0
