"""Lines of bars from a pipe to a running feed: stored and corrected as those of the stream are."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr

from features.market.types import NS_PER_S, AssetClass
from ray_apps.api.http import create_app
from ray_apps.api.live import live_deps
from ray_apps.config_services import HttpConfig
from ray_apps.ingest.config import FeedConfig
from ray_apps.ingest.events import Admission
from ray_apps.store.migrate import migrate
from ray_apps.store.reader import Reader
from tests.support.eventually import eventually
from tests.support.live import live, plans
from tests.support.postgres import query

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TOKEN = "0123456789abcdef"
NAMES = ["BTC-USD", "ETH-USD", "SOL-USD"]


@asynccontextmanager
async def running(dsn: str, folder: Path) -> AsyncIterator[str]:
    """Hold a feed of pushed bars and a gateway before it, in this process; give its address."""
    migrate(dsn)
    base, shards = plans(AssetClass.CRYPTO, "", dsn, folder)
    config = FeedConfig(AssetClass.CRYPTO, "", "", is_live=True)
    reader = Reader(dsn)

    async def no_metrics() -> str:
        return ""

    async with live(replace(base, feed=config, tier="pushed"), shards) as feed:

        async def push(asset_class: AssetClass, body: bytes) -> Admission | None:
            return feed.service.push(body) if asset_class is AssetClass.CRYPTO else None

        await eventually(lambda: feed.service.status == "live", 30)
        app = create_app(live_deps(reader, None, None, HttpConfig(token=SecretStr(TOKEN)), no_metrics, push))
        async with served(app) as url:
            yield url
    await reader.close()


@asynccontextmanager
async def served(app: Callable[..., Awaitable[None]]) -> AsyncIterator[str]:
    """Hold an application on a free port of 127.0.0.1, in this loop."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off"))
    task = asyncio.create_task(server.serve([listener]))
    try:
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)
        listener.close()


async def importing(*args: str) -> asyncio.subprocess.Process:
    """Start the command, its lines on a pipe."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "POLYGON_"))}
    line = [str(Path(sys.executable).with_name("tapewatch")), "import", "-", "--asset", "crypto", "--json", *args]
    environ["TAPEWATCH_HTTP__TOKEN"] = TOKEN

    def heed_interrupts() -> None:  # a run in the background inherits that they are ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return await asyncio.create_subprocess_exec(
        *line, env=environ, stdin=-1, stdout=-1, stderr=-1, preexec_fn=heed_interrupts
    )


def stored(dsn: str) -> dict[tuple[Any, Any], Any]:
    sql = "SELECT symbol, extract(epoch FROM ts)::bigint * 1000, close FROM bars JOIN series ON series.id = series_id"
    return {(symbol, ms): close for symbol, ms, close in query(dsn, sql)}


def test_bars_of_a_pipe_are_on_the_live_path_while_it_is_open(blank_dsn: str, tmp_path: Path) -> None:
    first_ms = (time.time_ns() // NS_PER_S // 60 - 50) * 60_000
    bars: list[dict[str, Any]] = [
        {"symbol": name, "t": first_ms + m * 60_000, "o": 10 + i, "h": 11 + i, "l": 9 + i, "c": 10.5 + i, "v": 5 + m}
        for m in range(48)
        for i, name in enumerate(NAMES)
    ]
    changed = {**bars[31], "c": 10.9}
    bad = {**bars[0], "t": first_ms + 3_600_000}

    async def main() -> tuple[int | None, bytes, bytes]:
        async with running(blank_dsn, tmp_path) as url:
            process = await importing("--url", url)
            assert process.stdin is not None
            process.stdin.write(b"".join(json.dumps(bar).encode() + b"\n" for bar in bars))
            await process.stdin.drain()
            await eventually(lambda: len(stored(blank_dsn)) == len(bars), 40)  # the pipe is still open
            rest = b"".join(json.dumps(x).encode() + b"\n" for x in (changed, bad)) + b"no JSON"
            async with asyncio.timeout(40):
                out, err = await process.communicate(rest)
            await eventually(lambda: changed["c"] in stored(blank_dsn).values(), 30)
            return process.returncode, out, err

    code, out, err = asyncio.run(main())
    told = json.loads(out)
    assert (code, told["accepted"], told["refused"], told["failure"]) == (1, len(bars) + 1, 2, "")
    assert sorted((r["line"], r["reason"]) for r in told["refusals"]) == [
        (len(bars) + 2, "future"), (len(bars) + 3, "malformed"),
    ]  # fmt: skip
    assert len(err.splitlines()) == 2
    assert stored(blank_dsn) == {(b["symbol"], b["t"]): b["c"] for b in [*bars, changed]}
    assert query(blank_dsn, "SELECT count(*) FROM bar_revisions") == [(1,)]


def test_an_interrupt_ends_a_pipe_that_stays_open(tmp_path: Path) -> None:
    good = {
        "symbol": "BTC-USD",
        "t": (time.time_ns() // 60_000_000_000 - 2) * 60_000,
        "o": 2,
        "h": 3,
        "l": 1,
        "c": 2,
        "v": 5,
    }

    async def main() -> tuple[int | None, bytes, bytes]:
        process = await importing("--dry-run", "--data-dir", str(tmp_path))
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(good).encode() + b"\nno JSON\n")
        async with asyncio.timeout(30):
            said = await process.stderr.readline()
            process.send_signal(signal.SIGINT)
            await process.wait()
            assert process.stdout is not None
            return process.returncode, await process.stdout.read(), said + await process.stderr.read()

    code, out, err = asyncio.run(main())
    assert code == 130
    assert (json.loads(out)["refused"], len(err.splitlines())) == (1, 1)
