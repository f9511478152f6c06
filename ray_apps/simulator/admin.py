"""Let a test or a bench steer a running simulator over HTTP: faults, clock, drops, bursts, raw frames."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from features.market.types import NS_PER_MS, AssetClass
from ray_apps.simulator.broadcast import Broadcast
from ray_apps.simulator.clock import Clock, checked
from ray_apps.simulator.faults import DropMode, Faults
from ray_apps.simulator.gate import reply
from ray_apps.simulator.truth import Truth, check_symbols
from ray_apps.simulator.vendor import Handler
from ray_apps.simulator.ws import Hub


class FaultBox:
    """The knobs as they stand."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def __call__(self) -> Faults:
        """Give the knobs."""
        return self.faults


class _ClockRequest(msgspec.Struct, forbid_unknown_fields=True):
    now_ms: int | None = None
    speed: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class _DropRequest(msgspec.Struct, forbid_unknown_fields=True):
    mode: DropMode = "abort"
    asset: AssetClass | None = None


class _SendRequest(msgspec.Struct, forbid_unknown_fields=True):
    frame: str
    asset: AssetClass | None = None


class _BurstRequest(msgspec.Struct, forbid_unknown_fields=True):
    asset: AssetClass = AssetClass.STOCKS
    symbols: Annotated[int, msgspec.Meta(ge=1)] = 2**31
    ts_ms: int | None = None


def _guarded(handler: Handler) -> Handler:
    """Answer 400 to what cannot be done."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except (ValueError, msgspec.DecodeError) as e:
            return reply({"error": str(e)}, 400)
        except RecursionError:
            return reply({"error": "expected JSON of a few levels, was nested too deeply"}, 400)

    return guarded


def _ns(name: str, ms: int | None) -> int | None:
    return None if ms is None else checked(name, ms * NS_PER_MS)


class Admin:
    """The steering wheel. No key: it listens on loopback and steers a toy."""

    def __init__(
        self,
        clock: Clock,
        hub: Hub,
        broadcast: Broadcast,
        faults: FaultBox,
        sources: dict[AssetClass, Truth],
    ) -> None:
        self._clock, self._hub, self._broadcast = clock, hub, broadcast
        self._faults, self._sources = faults, sources

    def routes(self) -> list[BaseRoute]:
        """Give the routes."""
        return [
            Route("/admin/state", self._state),
            Route("/admin/faults", _guarded(self._set_faults), methods=["POST"]),
            Route("/admin/clock", _guarded(self._set_clock), methods=["POST"]),
            Route("/admin/drop", _guarded(self._drop), methods=["POST"]),
            Route("/admin/send", _guarded(self._send), methods=["POST"]),
            Route("/admin/burst", _guarded(self._burst), methods=["POST"]),
        ]

    async def _state(self, _: Request) -> Response:
        return reply(self._describe())

    async def _set_faults(self, request: Request) -> Response:
        """Turn some knobs; the body {"reset": true} turns all back first."""
        changes = msgspec.json.decode(await request.body(), type=dict)
        base = Faults() if changes.pop("reset", False) else self._faults.faults
        turned = base.merged(changes)
        check_symbols(turned, self._sources.values())
        self._faults.faults = turned
        return reply(msgspec.to_builtins(self._faults.faults))

    async def _set_clock(self, request: Request) -> Response:
        wanted = msgspec.json.decode(await request.body(), type=_ClockRequest)
        self._clock.set(_ns("now_ms", wanted.now_ms), wanted.speed)
        return reply(self._describe())

    async def _drop(self, request: Request) -> Response:
        wanted = msgspec.json.decode(await request.body() or b"{}", type=_DropRequest)
        return reply({"dropped": self._hub.drop(wanted.mode, wanted.asset)})

    async def _send(self, request: Request) -> Response:
        wanted = msgspec.json.decode(await request.body(), type=_SendRequest)
        return reply({"clients": self._hub.send_raw(wanted.frame.encode(), wanted.asset)})

    async def _burst(self, request: Request) -> Response:
        wanted = msgspec.json.decode(await request.body() or b"{}", type=_BurstRequest)
        if wanted.asset not in self._sources:
            raise ValueError(f"expected an asset class that is played, was {wanted.asset}")
        start = _ns("ts_ms", wanted.ts_ms)
        return reply(dict(await self._broadcast.burst(wanted.asset, wanted.symbols, start)))

    def _describe(self) -> dict[str, object]:
        return {
            "now_ms": self._clock.now() // NS_PER_MS,
            "speed": self._clock.speed,
            "symbols": {str(c): len(s.symbols) for c, s in self._sources.items()},
            "accepted": self._hub.accepted,
            "connections": [
                {
                    "asset": str(c.asset_class),
                    "host": c.host,
                    "ready": c.is_ready,
                    "topics": {topic: "*" if s.everything else len(s.names) for topic, s in c.subscriptions.items()},
                    "frames": c.frames_sent,
                    "bytes": c.bytes_sent,
                    "queued_bytes": c.queued_bytes,
                }
                for c in sorted(self._hub.connections, key=lambda c: c.number)
            ],
            "faults": msgspec.to_builtins(self._faults.faults),
        }
