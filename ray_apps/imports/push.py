"""Send bars to a running system over HTTP: JSON lines of any vendor, in batches, as they come."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import httpx
import msgspec

from features.market.types import AssetClass
from ray_apps.errors import UserError
from ray_apps.store.sieve import EARLIEST_MS, LATEST_MS, one_line

MOST_BARS = 5_000
"""Of one request, as the endpoint takes them."""

LINGER_S = 0.25
"""After a batch's first line: a slow pipe's bars wait no longer than this."""

LONGEST_LINE = 1 << 16
LINES_WAITING = 4 * MOST_BARS
PATIENCE_S = 120.0
"""So long is one batch offered to a feed whose queue is full, or to a system that does not answer."""

LONGEST_WAIT_S = 30.0
TIMEOUT_S = 30.0
LOOK_S = 1.0
MESSAGES_KEPT = 1_000
BUSY = (429, 503)


class PushError(UserError):
    """The system does not take bars; what was sent before is there."""


class Bar(msgspec.Struct, omit_defaults=True):
    """One line, and what is sent of it: `t` is the start in Unix ms, `bar_s` the length in seconds."""

    t: int
    o: float
    h: float
    l: float  # noqa: E741 (the vendor's own names)
    c: float
    v: float
    symbol: str = ""
    vw: float | None = None
    n: float | None = None
    bar_s: int | None = None


@dataclass(slots=True)
class Sent:
    """What became of the lines; `messages` are the first of those refused, by line."""

    accepted: int = 0
    refused: int = 0
    requests: int = 0
    last_line: int = 0
    messages: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: bytes


class Push:
    """Sends lines; `sent` tells at any time what became of them.

    Parameters
    ----------
    url
        Base address of the system; None: check the lines and send nothing.
    asset_class
        Whose feed takes them.
    symbol, bar_s
        Of lines that do not say.
    say
        Gets a line for each bar refused.
    patience_s
        How long one batch is offered to a system that is busy or does not answer.
    """

    def __init__(
        self,
        url: str | None,
        asset_class: AssetClass,
        symbol: str | None,
        bar_s: int | None,
        say: Callable[[str], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.sent = Sent()
        self._url = url
        self._class = asset_class
        self._symbol = symbol or ""
        self._bar_s = bar_s
        self._say = say
        self._patience_s = patience_s

    def run(self, source: BinaryIO) -> None:
        """Send until the end of the lines.

        Raises
        ------
        PushError
            When the system is not there, has no such feed, or stays full.
        """
        with httpx.Client(timeout=TIMEOUT_S) as client:
            for lines in _batches(source):
                read = ((line, self._bar(line)) for line in lines)
                good = [(line.number, bar) for line, bar in read if bar is not None]
                if good:
                    self._send(client, good)
                self.sent.last_line = lines[-1].number

    def _bar(self, line: _Line) -> Bar | None:
        """Read a line; None where it is none."""
        try:
            if len(line.text) >= LONGEST_LINE:
                raise msgspec.ValidationError(f"expected a line of less than {LONGEST_LINE:,} bytes, was a longer one")
            bar = msgspec.json.decode(line.text, type=Bar)
            bar.symbol = bar.symbol or self._symbol
            bar.bar_s = bar.bar_s or self._bar_s
            if not bar.symbol:
                raise msgspec.ValidationError("expected a symbol, was none: --symbol says it for all lines")
            if not EARLIEST_MS <= bar.t <= LATEST_MS:
                raise msgspec.ValidationError(f"expected t in Unix milliseconds, was {bar.t}")
        except msgspec.DecodeError as e:
            self._refuse(line.number, _said(str(e)))
            return None
        return bar

    def _refuse(self, number: int, message: str) -> None:
        self.sent.refused += 1
        if len(self.sent.messages) < MESSAGES_KEPT:
            self.sent.messages.append((number, message))
        self._say(f"line {number}: {message}")

    def _send(self, client: httpx.Client, bars: list[tuple[int, Bar]]) -> None:
        """Send a batch, again while the system is busy; it takes a bar twice as one."""
        if self._url is None:
            self.sent.accepted += len(bars)
            return
        body = msgspec.json.encode({"asset_class": self._class.value, "bars": [bar for _, bar in bars]})
        deadline = time.monotonic() + self._patience_s
        while (wait_s := self._offer(client, body, bars)) is not None:
            if time.monotonic() + wait_s > deadline:
                raise PushError(f"expected {self._url} to take bars within {self._patience_s:.0f} s, was busy")
            time.sleep(wait_s)

    def _offer(self, client: httpx.Client, body: bytes, bars: list[tuple[int, Bar]]) -> float | None:
        """Send a batch once; give how long to wait before the next time, None where it was taken."""
        try:
            answer = client.post(f"{self._url}/v1/bars", content=body, headers={"Content-Type": "application/json"})
        except httpx.TransportError as e:
            if self.sent.requests:  # it was there before: it may be starting again
                return 1.0
            said = one_line(str(e) or type(e).__name__)
            raise PushError(f"expected a running system at {self._url} (`tapewatch up`), was: {said}") from e
        if answer.status_code in BUSY:
            return _wait_s(answer)
        self.sent.requests += 1
        if answer.status_code != httpx.codes.ACCEPTED:
            expected = f"a feed of {self._class}" if answer.status_code == httpx.codes.NOT_FOUND else "bars taken"
            raise PushError(f"expected {expected} at {self._url}, was {answer.status_code}: {_detail(answer)}")
        self._count(answer, bars)
        return None

    def _count(self, answer: httpx.Response, bars: list[tuple[int, Bar]]) -> None:
        """Take in what the system says of a batch."""
        try:
            told: dict[str, Any] = answer.json()
            accepted = int(told["accepted"])
            refused = [(bars[int(r["index"])][0], str(r.get("message") or r["reason"])) for r in told["refused"]]
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise PushError(f"expected {self._url} to say what it took, was: {one_line(answer.text)}") from e
        self.sent.accepted += accepted
        for number, message in refused:
            self._refuse(number, message)


def _batches(source: BinaryIO) -> Iterator[list[_Line]]:
    """Give lines as they come, many at once where they come fast; blank ones are none."""
    waiting: queue.Queue[_Line | None] = queue.Queue(LINES_WAITING)
    is_over = threading.Event()
    # Nothing ends a read of a pipe: the thread is left behind if the other end stays open.
    threading.Thread(target=_read, args=(source, waiting, is_over), name="lines", daemon=True).start()
    try:
        is_last = False
        while not is_last:
            batch, is_last = _batch(waiting)
            if batch:
                yield batch
    finally:
        is_over.set()


def _batch(waiting: queue.Queue[_Line | None]) -> tuple[list[_Line], bool]:
    """Give what comes until there are enough or they have waited; and whether that was all."""
    batch: list[_Line] = []
    deadline = time.monotonic() + LOOK_S
    while len(batch) < MOST_BARS:
        try:
            line = waiting.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            break
        if line is None:
            return batch, True
        if not batch:
            deadline = time.monotonic() + LINGER_S
        batch.append(line)
    return batch, False


def _read(source: BinaryIO, waiting: queue.Queue[_Line | None], is_over: threading.Event) -> None:
    number = 0
    is_whole = True
    while not is_over.is_set():
        text = source.readline(LONGEST_LINE)
        is_rest, is_whole = not is_whole, text.endswith(b"\n") or not text
        if text and (is_rest or not text.strip()):  # of a line that is too long, its beginning was given
            number += not is_rest
            continue
        number += 1
        _put(_Line(number, text) if text else None, waiting, is_over)
        if not text:
            return


def _put(line: _Line | None, waiting: queue.Queue[_Line | None], is_over: threading.Event) -> None:
    while not is_over.is_set():
        with suppress(queue.Full):
            waiting.put(line, timeout=LOOK_S)
            return


def _wait_s(answer: httpx.Response) -> float:
    try:
        return min(max(float(answer.headers.get("Retry-After", "1")), 0.05), LONGEST_WAIT_S)
    except ValueError:  # a date, which no part of ours sends
        return 1.0


def _detail(answer: httpx.Response) -> str:
    try:
        return one_line(str(answer.json()["detail"]))
    except (ValueError, KeyError, TypeError):
        return one_line(answer.text or answer.reason_phrase)


def _said(message: str) -> str:
    """Write what the JSON reader says as we do.

    >>> _said("Expected `int`, got `str` - at `$.t`")
    'expected int, was str at t'
    >>> _said("Object missing required field `o`")
    'expected a field o, was none'
    """
    text = message.replace("`", "").replace(", got ", ", was ").replace(" - at $.", " at ")
    if text.startswith("Object missing required field "):
        return f"expected a field {text.rpartition(' ')[2]}, was none"
    if text.lower().startswith("expected"):
        return "e" + text[1:]
    return f"expected a JSON object, was: {text}"
