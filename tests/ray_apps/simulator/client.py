"""A plain client of the simulator's stream, for tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from features.market.types import AssetClass
from ray_apps.simulator.config import SimulatorConfig
from ray_apps.simulator.faults import Faults
from ray_apps.simulator.server import simulator

NS = 10**9


def instant(text: str) -> int:
    """Give UTC ns of an ISO time in UTC."""
    return round(datetime.fromisoformat(text + "+00:00").timestamp()) * NS


START = instant("2026-09-15T15:00")  # a Tuesday, 11:00 in New York


def config(**changes: Any) -> SimulatorConfig:
    """Give a small, fast simulator on free ports."""
    base: dict[str, Any] = {
        "rest_port": 0,
        "ws_port": 0,
        "symbols": 5,
        "assets": (AssetClass.CRYPTO,),
        "speed": 0.0,
        "start_ns": START,
    }
    return SimulatorConfig(**(base | changes))


class Stream:
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def recv(self) -> list[dict[str, Any]]:
        """Give the next frame."""
        async with asyncio.timeout(20):
            return json.loads(await self.socket.recv())

    async def ask(self, action: str, params: str) -> None:
        """Send a request."""
        await self.socket.send(json.dumps({"action": action, "params": params}))

    async def enter(self, key: str = "sim-advanced") -> dict[str, Any]:
        """Say who we are; gives the answer."""
        assert (await self.recv())[0]["status"] == "connected"
        await self.ask("auth", key)
        return (await self.recv())[0]

    async def bars(self, n: int) -> list[dict[str, Any]]:
        """Give the next n events that are no statuses."""
        found: list[dict[str, Any]] = []
        while len(found) < n:
            found += [event for event in await self.recv() if event["ev"] != "status"]
        return found

    async def statuses(self, n: int) -> list[str]:
        """Give the messages of the next n statuses."""
        found: list[str] = []
        while len(found) < n:
            found += [event["message"] for event in await self.recv() if event["ev"] == "status"]
        return found


class Running:
    """A simulator and ways to it."""

    def __init__(self, addresses: dict[str, object], http: httpx.AsyncClient) -> None:
        self.rest, self.ws, self.delayed = (str(addresses[name]) for name in ("rest", "ws", "delayed_ws"))
        self.http = http

    @asynccontextmanager
    async def stream(self, path: str = "crypto", delayed: bool = False) -> AsyncIterator[Stream]:
        """Connect."""
        uri = f"ws://{self.delayed if delayed else self.ws}/{path}"
        async with connect(uri, max_size=2**24, proxy=None, close_timeout=1) as socket:
            yield Stream(socket)

    @asynccontextmanager
    async def subscribed(
        self, params: str = "XA.*", key: str = "sim-advanced", path: str = "crypto"
    ) -> AsyncIterator[Stream]:
        """Connect, authenticate and subscribe."""
        async with self.stream(path) as stream:
            assert (await stream.enter(key))["status"] == "auth_success"
            await stream.ask("subscribe", params)
            yield stream

    async def admin(self, name: str, **body: Any) -> Any:
        """Steer it."""
        answer = await self.http.post(f"/admin/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, path: str, key: str | None = "sim-advanced", **params: Any) -> httpx.Response:
        """Call REST."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # No parameters is not empty parameters: those would replace the path's own.
        return await self.http.get(path, params=params or None, headers=headers)


@asynccontextmanager
async def running(faults: dict[str, Any] | None = None, **changes: Any) -> AsyncIterator[Running]:
    """Hold a simulator."""
    wanted = config(faults=Faults().merged(faults or {}), **changes)
    async with (
        simulator(wanted) as addresses,
        httpx.AsyncClient(base_url=str(addresses["rest"]), timeout=30, trust_env=False, verify=False) as http,
    ):
        yield Running(addresses, http)
