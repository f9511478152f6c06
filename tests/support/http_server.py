"""Serve scripted HTTP answers, byte for byte: what a real server sends on a bad day."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Script = Callable[[str, int], bytes | Awaitable[bytes] | list[bytes]]


def answer(body: bytes = b"", code: int = 200, length: int | None = None, **headers: str) -> bytes:
    """Give a whole answer; `length` may claim more than there is."""
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class ScriptedHttp:
    """Answer every request on a free port of 127.0.0.1 with what `script` gives for its path and number.

    A list of pieces is sent one every 50 ms. `requests` keeps the heads of the requests as they came.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self.requests: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.wait_for(self._server.wait_closed(), 5)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            said = self._script(head.split(" ")[1], len(self.requests) - 1)
            pieces = said if isinstance(said, list) else [said if isinstance(said, bytes) else await said]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
