"""Exponentially weighted norms: scalar steps that the families' kernels fold over slots.

Each step takes the state of one series, judges nothing, and returns the state after one window. A norm starts from
the plain statistics of its first windows (`WARMUP`), which then count as `PRIOR` updates, and forgets with a
half-life of `HALFLIFE` windows. It always learns, from values clipped at `CLIP_SD`: an anomaly cannot become the norm,
a lasting change can.
"""

import math

from features.jit import kernel

HALFLIFE = 1_000.0
"""Half-life of the norms in windows; 600 to 2,000 is flat on labelled pumps."""
WARMUP = 60
"""Windows before a norm says anything: one hour of minutes."""
PRIOR = 30.0
"""How many updates the start-up norm counts for: half of what it saw, since it was not robust."""
CLIP_SD = 3.0
"""Norms learn values clipped here: one 100-fold bar moves a settled mean by 0.0021 sd."""
MAD_TO_SD = math.sqrt(math.pi / 2.0)
"""sd of a normal over its mean absolute deviation; the median one is 0 where most trades repeat a size."""
ALPHA = 1.0 - 2.0 ** (-1.0 / HALFLIFE)


@kernel
def learning_rate(count: float, warmup: float, prior: float, alpha: float) -> float:
    """Give the weight of the next value: 1/n while young, `alpha` once settled."""
    young = 1.0 / (prior + (count - warmup) + 1.0)
    return young if young > alpha else alpha


@kernel
def clip(x: float, bound: float) -> float:
    """Limit `x` to [-bound, bound]."""
    return bound if x > bound else -bound if x < -bound else x


@kernel
def level_step(
    count: float, mean: float, var: float, spread: float, x: float, floor: float
) -> tuple[float, float, float, float]:
    """Fold `x` into a mean and variance; return (count, mean, var, mean absolute deviation).

    `floor` is the smallest standard deviation believed, in the unit of `x`.

    >>> state = (0.0, 0.0, 0.0, 0.0)
    >>> for i in range(60):
    ...     state = level_step(*state, float(i % 2), 0.01)
    >>> round(state[1], 3), state[0]
    (0.5, 60.0)
    """
    count += 1.0
    if count <= WARMUP:
        d = x - mean
        mean += d / count
        if count > 1.0:
            spread += (abs(d) - spread) / (count - 1.0)
        if count == WARMUP:
            var = (MAD_TO_SD * spread) ** 2
        return count, mean, var, spread
    sd = max(math.sqrt(var), floor)
    a = learning_rate(count, WARMUP, PRIOR, ALPHA)
    d = clip(x - mean, CLIP_SD * sd)
    mean += a * d
    var = (1.0 - a) * (var + a * d * d)
    return count, mean, var, spread


@kernel
def scale_step(
    count: float, var: float, spread: float, x: float, floor: float, clip_sd: float = CLIP_SD, alpha: float = ALPHA
) -> tuple[float, float, float]:
    """Fold `x` into a mean square about zero; return (count, var, mean absolute value).

    >>> state = (0.0, 0.0, 0.0)
    >>> for i in range(200):
    ...     state = scale_step(*state, 0.01 if i % 2 else -0.01, 1e-4)
    >>> round(state[1] ** 0.5, 4)
    0.0105
    """
    count += 1.0
    if count <= WARMUP:
        spread += (abs(x) - spread) / count
        if count == WARMUP:
            var = (MAD_TO_SD * spread) ** 2
        return count, var, spread
    sd = max(math.sqrt(var), floor)
    a = learning_rate(count, WARMUP, PRIOR, alpha)
    d = clip(x, clip_sd * sd)
    var += a * (d * d - var)
    return count, var, spread
