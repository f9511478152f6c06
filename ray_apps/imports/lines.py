"""Read lines of a pipe in batches: many at once where they come fast, soon where they come slowly."""

import math
import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ray_apps.imports.errors import PlaceError

LINGER_S = 0.5
"""After a batch's first line: a slow pipe's lines wait no longer than this."""

LONGEST_LINE = 1 << 13
"""Bytes; of a longer one so many are given."""

CHUNK_BYTES = 1 << 18
LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its number, from 1."""

    number: int
    text: bytes


def batches(source: int, most: int) -> Iterator[list[Line]]:
    """Give at most so many lines of a descriptor at a time, as they come; blank ones are none.

    It is read as batches are taken: what comes meanwhile waits in the pipe.

    Raises
    ------
    PlaceError
        When it cannot be read, after the lines before that.
    """
    cutter = _Cutter()
    batch: list[Line] = []
    deadline = math.inf
    error: OSError | None = None
    is_over = False
    while not is_over:
        left_s = min(max(deadline - time.monotonic(), 0.0), LOOK_S)
        if select.select([source], [], [], left_s)[0]:
            try:
                data = os.read(source, CHUNK_BYTES)
            except OSError as e:
                data, error = b"", e
            is_over = not data
            batch += cutter.take(data)
        now = time.monotonic()
        deadline = min(deadline, now + LINGER_S) if batch else math.inf
        while len(batch) >= most or (batch and (is_over or now >= deadline)):
            yield batch[:most]
            batch, deadline = batch[most:], time.monotonic() + LINGER_S
    if error is not None:
        raise PlaceError(f"expected lines that can be read, was {error.strerror}") from error


class _Cutter:
    """Cuts what comes into numbered lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

    def take(self, data: bytes) -> list[Line]:
        """Give the lines that are whole now; at the end, which is b"", also one without an end."""
        *whole, rest = (self._rest + (data or b"\n")).split(b"\n")
        self._rest = rest[:LONGEST_LINE]
        first = self._number + 1
        self._number += len(whole)
        return [Line(k, text[:LONGEST_LINE]) for k, text in enumerate(whole, first) if text.strip()]
