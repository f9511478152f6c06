"""Compile a numeric function with numba without losing its types."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile at the first call, for the types it is called with, and keep the result on disk."""
    return cast(Function, njit(cache=True)(function))
