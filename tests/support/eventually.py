"""Wait for a condition with a deadline instead of sleeping a guess."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(
    check: Callable[[], Any] | Callable[[], Awaitable[Any]],
    timeout: float = 10.0,  # noqa: ASYNC109
) -> Any:
    """Return the first true value of `check` within `timeout` seconds; raise AssertionError otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"expected {check} to become true within {timeout} s, was {value!r}")
        await asyncio.sleep(0.02)


def eventually_sync(check: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Do the same for synchronous code."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"expected {check} to become true within {timeout} s, was {value!r}")
        time.sleep(0.02)
