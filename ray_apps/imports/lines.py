"""Read lines of a pipe in batches: many at once where they come fast, soon where they come slowly."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

LINGER_S = 0.5
"""After a batch's first line: a slow pipe's lines wait no longer than this."""

LONGEST_LINE = 1 << 13
"""Bytes; of a longer one the beginning is given, at least so long."""

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its number, from 1."""

    number: int
    text: bytes


@dataclass(frozen=True, slots=True)
class _End:
    """After the last line; `error` where it is not the source's own end."""

    error: OSError | None = None


_Queue = queue.Queue[Line | _End]


def batches(source: BinaryIO, most: int) -> Iterator[list[Line]]:
    """Give at most so many lines at a time, as they come; blank ones are none.

    Raises
    ------
    OSError
        When the source cannot be read, after the lines before that.
    """
    waiting: _Queue = queue.Queue(2 * most)
    is_over = threading.Event()
    # Nothing ends a read of a pipe: the thread is left behind if the other end stays open.
    threading.Thread(target=_read, args=(source, waiting, is_over), name="lines", daemon=True).start()
    try:
        end = None
        while end is None:
            batch, end = _batch(waiting, most)
            if batch:
                yield batch
        if end.error is not None:
            raise end.error
    finally:
        is_over.set()


def _batch(waiting: _Queue, most: int) -> tuple[list[Line], _End | None]:
    """Give what comes until there are enough or they have waited; and the end, if that was it."""
    batch: list[Line] = []
    deadline = time.monotonic() + LOOK_S
    while len(batch) < most and (left_s := deadline - time.monotonic()) > 0:
        try:
            line = waiting.get(timeout=left_s)
        except queue.Empty:
            break
        if isinstance(line, _End):
            return batch, line
        if not batch:
            deadline = time.monotonic() + LINGER_S
        batch.append(line)
    return batch, None


def _read(source: BinaryIO, waiting: _Queue, is_over: threading.Event) -> None:
    number = 0
    is_whole = True
    while not is_over.is_set():
        try:
            text = source.readline(LONGEST_LINE)
        except OSError as e:
            _put(_End(e), waiting, is_over)
            return
        if not text:
            _put(_End(), waiting, is_over)
            return
        is_rest, is_whole = not is_whole, text.endswith(b"\n")
        number += not is_rest
        if text.strip() and not is_rest:
            _put(Line(number, text), waiting, is_over)


def _put(line: Line | _End, waiting: _Queue, is_over: threading.Event) -> None:
    while not is_over.is_set():
        with suppress(queue.Full):
            waiting.put(line, timeout=LOOK_S)
            return
