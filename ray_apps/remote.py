"""Call actors and find them, with a deadline."""

import asyncio
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any

import ray

from ray_apps.metrics import Snapshot
from ray_apps.placement import NAMESPACE, SINKS

CALL_S = 90.0
"""A call to an actor may take a whole recovery; beyond this it is given up and made again."""


def wait(ref: Any) -> Any:
    """Wait for a remote call from outside the actors."""
    return ray.get(ref, timeout=CALL_S)


async def count(snapshot: Snapshot) -> None:
    """Send a process's metrics to the hub; there is none before the sinks are up."""
    await call(named(SINKS).count.remote(snapshot))


@lru_cache(maxsize=256)
def named(name: str) -> Any:
    """Find an actor; a handle stays good over the actor's restarts, and until a supervisor ends it for another."""
    return ray.get_actor(name, namespace=NAMESPACE)


async def call(ref: Awaitable[Any]) -> Any:
    """Await a remote call with a deadline; a remote error of ours comes as itself."""
    try:
        async with asyncio.timeout(CALL_S) as within:
            return await ref
    except TimeoutError as e:
        if not within.expired():
            raise
        raise TimeoutError(f"expected an answer of a process within {CALL_S:.0f} s, was none: is it busy?") from e
    except ray.exceptions.ActorDiedError:
        named.cache_clear()  # there may be another of its name by now
        raise
    except ray.exceptions.RayTaskError as e:
        raise (e.cause if isinstance(e.cause, Exception) else e) from None
