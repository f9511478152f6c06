"""Draw the tape's random numbers: each purpose, day and group of symbols has a generator of its own."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

GROUP = 256
"""Symbols drawn together, always all of them: a symbol's bars do not depend on the universe's size."""


class Purpose(IntEnum):
    """What a generator is for; part of its seed, so never renumber."""

    SYMBOLS = 0
    SECTORS = 1
    MARKET_DAYS = 2
    SYMBOL_DAYS = 3
    MARKET_MINUTES = 4
    SYMBOL_MINUTES = 5
    BARS = 6
    SECONDS = 7
    INJECTIONS = 8


def generator(seed: int, class_index: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """Give the generator of a purpose; the same key gives the same numbers in any process."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence((seed, class_index, purpose, *key))))


def normal(rng: np.random.Generator, *shape: int) -> F32:
    """Draw standard normal numbers."""
    return rng.standard_normal(shape, dtype=np.float32)


def fat(z: F32, exponent: float) -> F32:
    """Turn standard normal numbers into Student's t of unit variance with `exponent` degrees of freedom.

    t = sign(z) sqrt(nu (exp(c z^2 / nu) - 1)), c = ((8 nu + 3) / (8 nu + 1))^2 (Wallace 1959), which is
    monotone: the tail is the power law x^-nu. Close to the exact quantiles, and far faster.

    >>> fat(np.array([-3.0, 0.0, 3.0], dtype=np.float32), 3.2).round(2)
    array([-5.46,  0.  ,  5.46], dtype=float32)
    """
    c = ((8 * exponent + 3) / (8 * exponent + 1)) ** 2
    # Variance nu / (nu - 2) is divided out.
    scale = np.float32(np.sqrt(exponent - 2))
    t = np.square(z)
    t *= np.float32(c / exponent)
    np.expm1(t, out=t)
    np.sqrt(t, out=t)
    t *= scale
    return np.copysign(t, z, out=t)


def autoregress(z: F32, start: F32, persistence: float, size: float) -> F32:
    """Turn unit innovations z [T, ...] into an AR(1) path with stationary sd `size`, in place.

    h[t] = phi h[t-1] + size sqrt(1 - phi^2) z[t], with h[-1] = size * start.
    """
    phi = np.float32(persistence)
    z *= np.float32(size * np.sqrt(1 - persistence**2))
    last = start * np.float32(size)
    for row in z:
        row += phi * last
        last = row
    return z


def land(path: F32, end: F32, persistence: float) -> None:
    """Bend an AR(1) path [T, N], in place, so that its last value is `end`: the exact law given both ends.

    Correction phi^(T-1-t) (end - h[T-1]): covariance with the last value over its variance.
    """
    rows = min(len(path), int(np.ceil(np.log(1e-4) / np.log(persistence)))) if persistence > 0 else 1
    weight = np.power(persistence, np.arange(rows)[::-1], dtype=np.float32)
    path[-rows:] += weight[:, None] * (end - path[-1])
