import csv
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray_apps.simulator.client import START, Running
from tests.ray_apps.simulator.test_session import play
from tests.support.eventually import eventually, eventually_sync

pytestmark = pytest.mark.integration

END_S = 120.0
"""A process ends in a moment, on a machine that is not starved."""
FLAGS = ["--rest-port", "0", "--ws-port", "0", "--symbols", "3", "--asset", "crypto"]


def start(*flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ray_apps.simulator", *FLAGS, *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_says_where_it_listens_and_ends_when_told() -> None:
    with start("--start", "2026-09-15T15:00", "--speed", "60") as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert line["rest"].startswith("http://127.0.0.1:")
        assert line["ws"].startswith("127.0.0.1:")
        assert line["clock"] == "2026-09-15T15:00:00+00:00"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=END_S)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--speed", "-1"], "error: speed: expected 0 to 1000000, was -1.0"),
        (["--speed", "fast"], "error: argument --speed: invalid float value: 'fast'"),
        (["--asset", "bonds"], "error: asset: expected some of stocks, crypto"),
        (["--start", "noon"], "error: start: expected an ISO time"),
        (["--fault", "late_fraction=2"], "error: fault late_fraction: expected `float` <= 1.0, was 2"),
        (["--fault", "late_fractio=1"], "error: fault: expected a name such as late_fraction"),
        (["--start", "1900-01-01"], "error: start: expected a time from 1971 to 2100"),
        (["--ws-port", "65535"], "error: ws-port: expected a port from 0 to 65534, was 65535"),
        (["--asset", ","], "error: asset: expected at least one asset class, was none"),
        (["--labels", "/no/such/folder/x.csv"], "error: labels: expected a file in a folder that exists"),
        (["--fault", "nonsense"], "error: fault: expected NAME=VALUE"),
        (["--source", "/no/such/folder"], "error: source: expected 'synthetic' or a folder"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(flags: list[str], said: str) -> None:
    with start(*flags) as process:
        out, err = process.communicate(timeout=END_S)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start("--rest-port", str(port)) as process:
            _, err = process.communicate(timeout=END_S)
    assert process.returncode == 1
    assert err.startswith(f"error: expected port {port} of 127.0.0.1 to be free")
    assert err.count("\n") == 1


def test_it_dies_with_its_parent() -> None:
    code = (
        "import subprocess, sys;"
        f"p = subprocess.Popen([sys.executable, '-m', 'ray_apps.simulator', *{FLAGS!r}, '--die-with-parent'],"
        " stdout=subprocess.PIPE, text=True);"
        "print(p.pid, p.stdout.readline(), end='', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        os.kill(pid, 0)
        parent.kill()

    def is_gone() -> bool:
        try:
            # A zombie without a parent that waits counts as gone.
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    if Path("/proc/self").exists():
        eventually_sync(is_gone, timeout=END_S)


def test_labels_are_written_as_the_clock_goes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"

    async def test(sim: Running) -> None:
        await sim.admin("clock", now_ms=START // 10**6 + 3_600_000)

        def rows() -> list[dict[str, str]]:
            with path.open(newline="") as file:
                return list(csv.DictReader(file))

        found = await eventually(lambda: [row for row in rows() if row["kind"] == "burst_up"])
        assert int(found[-1]["start_ms"]) % 60_000 == 0
        minute = START // 10**6 + 600_000
        assert {"asset_class": "crypto", "symbol": "BTC-USD", "start_ms": str(minute)}.items() <= next(
            row for row in rows() if row["start_ms"] == str(minute)
        ).items()

    play(test, labels=path, per_day=100, burst_ns=START + 600 * 10**9, speed=1.0)


def write(path: Path, rows: list[tuple[float, ...]], header: str = "t,o,h,l,c,v,vw,n") -> None:
    with gzip.open(path, "wt") as out:
        out.write("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def test_a_folder_is_played_as_it_is(tmp_path: Path) -> None:
    first = START // 10**6
    bars = [(first + 60_000 * k, 10 + k, 11 + k, 9 + k, 10.5 + k, 100 + k, 10.2 + k, 7) for k in (0, 1, 3)]
    write(tmp_path / "ABC-USD.csv.gz", bars)
    write(tmp_path / "XYZ-USD.csv.gz", bars[1:])

    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            found = await stream.bars(5)
            assert [(bar["pair"], (bar["s"] - first) // 60_000) for bar in found] == [
                ("ABC-USD", 0),
                ("ABC-USD", 1),
                ("XYZ-USD", 1),
                ("ABC-USD", 3),
                ("XYZ-USD", 3),
            ]
            assert [found[0][name] for name in "ohlcv"] == list(bars[0][1:6])
            answer = await sim.get(f"/v2/aggs/ticker/X:ABCUSD/range/1/minute/{first}/{first + 600_000}")
            assert [tuple(bar[name] for name in ("t", *"ohlcv", "vw", "n")) for bar in answer.json()["results"]] == bars

    play(test, source=str(tmp_path), start_ns=None)


def test_names_no_pair_has_are_played_as_they_are_and_a_bad_one_is_left_out(tmp_path: Path, capsys) -> None:
    first = START // 10**6
    bars = [(first + 60_000 * k, 10, 11, 9, 10.5, 100, 10.2, 7) for k in range(3)]
    for name in ("BTCUSD", "APPC_20201118T1800", "A,B"):
        write(tmp_path / f"{name}.csv.gz", bars)

    async def test(sim: Running) -> None:
        async with sim.subscribed() as stream:
            assert {bar["pair"] for bar in await stream.bars(4)} == {"BTCUSD", "APPC_20201118T1800"}
            answer = await sim.get(f"/v2/aggs/ticker/X:APPC_20201118T1800/range/1/minute/{first}/{first + 600_000}")
            assert len(answer.json()["results"]) == 3

    play(test, source=str(tmp_path), start_ns=None)
    assert "A,B.csv.gz: expected a file named after a symbol, was 'A,B': left out" in capsys.readouterr().err


def test_a_folder_of_seconds_gives_minutes_too(tmp_path: Path) -> None:
    first = START // 10**6
    write(tmp_path / "ABC-USD.csv.gz", [(first + 1_000 * k, 10, 12, 9, 11, 1) for k in range(120)], "t,o,h,l,c,v")

    async def test(sim: Running) -> None:
        async with sim.subscribed("XA.*,XAS.*") as stream:
            found = await stream.bars(100)
            minute = next(bar for bar in found if bar["ev"] == "XA")
            assert (minute["s"], minute["v"]) == (first, 60)
            assert sum(bar["ev"] == "XAS" for bar in found) >= 58

    play(test, source=str(tmp_path), start_ns=None)
