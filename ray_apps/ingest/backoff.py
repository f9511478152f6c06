"""Give the waits between attempts to connect."""

import random
from collections.abc import Iterator


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
