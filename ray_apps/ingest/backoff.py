"""Give the waits between attempts, and try again what needs the database."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from ray_apps.store.errors import DiskFullError, StoreUnavailableError

T = TypeVar("T")


def full_jitter(rng: random.Random, base_s: float = 1.0, cap_s: float = 60.0) -> Iterator[float]:
    """Give uniform waits below a bound that doubles up to `cap_s`, for ever (Brooker 2015, "full jitter").

    >>> waits = full_jitter(random.Random(1), base_s=1, cap_s=4)
    >>> [round(next(waits), 2) for _ in range(4)]
    [0.13, 1.69, 3.06, 1.02]
    """
    bound_s = base_s
    while True:
        yield rng.uniform(0.0, min(bound_s, cap_s))
        bound_s = min(bound_s * 2.0, cap_s)


async def patiently(work: Callable[[], Awaitable[T]], patience_s: float, rng: random.Random) -> T:
    """Do what needs the database, again while that is away, for at most about `patience_s` seconds.

    Raises
    ------
    StoreUnavailableError
        When it is away for longer; of a full disk at once.
    """
    deadline = time.monotonic() + patience_s
    for wait_s in full_jitter(rng, base_s=0.2, cap_s=5.0):
        try:
            return await work()
        except DiskFullError:
            raise
        except StoreUnavailableError:
            if time.monotonic() + wait_s > deadline:
                raise
        await asyncio.sleep(wait_s)
    raise AssertionError("expected waits for ever, was an end")
