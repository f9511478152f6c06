"""Stop answering pings on purpose."""

from collections.abc import Callable

from websockets.asyncio.server import ServerConnection

from ray_apps.simulator.faults import Faults

_OPCODE, _PONG = 0x0F, 0x0A
"""The bits of a frame's first byte that say what it is, and what they are of a pong (RFC 6455, 5.2)."""


def connection_class(faults: Callable[[], Faults]) -> type[ServerConnection]:
    """Give the class of connections that answer pings unless the knob says otherwise."""

    class Keepalive(ServerConnection):
        def send_data(self) -> None:
            if faults().ping_stop:
                self.protocol.writes = [w for w in self.protocol.writes if not w or w[0] & _OPCODE != _PONG]
            super().send_data()

    return Keepalive
