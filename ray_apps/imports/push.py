"""Send bars to a running system over HTTP: JSON lines of any source, in batches, as they come."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import msgspec

from features.market.errors import DataError
from features.market.polygon import Limits
from features.market.pushed import EARLIEST_MS, LATEST_MS, MOST_BARS, check
from ray_apps.errors import UserError
from ray_apps.imports.lines import LONGEST_LINE, Line, batches
from ray_apps.imports.spelling import ours
from ray_apps.imports.told import Told
from ray_apps.store.sieve import one_line

PATIENCE_S = 120.0
"""So long is one batch offered to a feed whose queue is full, or to a system that does not answer."""

LONGEST_WAIT_S = 30.0
TIMEOUT_S = 30.0
MESSAGES_KEPT = 1_000
SPELLINGS_KEPT = 100_000
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class PushError(UserError):
    """The system does not take bars; what was sent before is there."""


class Bar(msgspec.Struct, omit_defaults=True):
    """One line, and what is sent of it: `t` is the start in Unix ms, `bar_s` the length in seconds."""

    t: int
    o: float
    h: float
    l: float  # noqa: E741 (the vendor's own names)
    c: float
    symbol: str = ""
    v: float | None = None
    vw: float | None = None
    n: float | None = None
    bar_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that did not come in: why by a word and in a sentence."""

    line: int
    reason: str
    message: str


@dataclass(slots=True)
class Sent:
    """What became of the lines.

    Attributes
    ----------
    skipped
        Of other symbols than the one to take.
    last_line
        The last one of which is said what became of it.
    refusals
        The first of those refused.
    """

    accepted: int = 0
    refused: int = 0
    skipped: int = 0
    requests: int = 0
    last_line: int = 0
    refusals: list[Refusal] = field(default_factory=list)


class Push:
    """Sends lines; `sent` tells at any time what became of them.

    Parameters
    ----------
    url, token
        Base address of the system, and what lets a writer in; no url: check the lines as a live feed would, and send
        nothing.
    told
        Whose feed takes them; symbol and length of lines that do not say.
    say
        Gets each refusal.
    patience_s
        How long one batch is offered to a system that is busy or does not answer.
    clock
        Gives the time of a live feed, UTC ns, where lines are only checked.
    """

    def __init__(
        self,
        url: str | None,
        token: str | None,
        told: Told,
        say: Callable[[Refusal], None],
        patience_s: float = PATIENCE_S,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.sent = Sent()
        self._url = url
        self._told = told
        self._say = say
        self._patience_s = patience_s
        self._clock = clock
        self._headers = {"Content-Type": "application/json", "User-Agent": "tapewatch"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._ours: dict[str, str | None] = {}

    def run(self, source: int) -> None:
        """Send until the end of the lines of a descriptor.

        Raises
        ------
        PushError
            When the system is not there, has no such feed, or stays full.
        PlaceError
            When the lines cannot be read.
        """
        with httpx.Client(timeout=TIMEOUT_S, headers=self._headers, trust_env=False) as client:
            for lines in batches(source, MOST_BARS):
                read = ((line.number, self._bar(line)) for line in lines)
                good = [(number, bar) for number, bar in read if bar is not None]
                if good:
                    self._send(client, good)
                self.sent.last_line = lines[-1].number

    def _bar(self, line: Line) -> Bar | None:
        """Read a line; None where it is no bar, or not one to take."""
        try:
            bar = _decode(line)
            bar.symbol = self._spelled(bar.symbol) if bar.symbol else self._told.symbol or ""
            if not bar.symbol:
                raise DataError("bad_symbol", "expected a symbol, was none: --symbol says it for all lines")
        except DataError as e:
            self._refuse(Refusal(line.number, e.reason, str(e)))
            return None
        if self._told.symbol not in (None, bar.symbol):
            self.sent.skipped += 1
            return None
        bar.bar_s = bar.bar_s or self._told.bar_s
        return bar

    def _spelled(self, text: str) -> str:
        if text not in self._ours:
            if len(self._ours) >= SPELLINGS_KEPT:
                self._ours.clear()
            self._ours[text] = ours(self._told.asset_class, text)
        found = self._ours[text]
        if found is None:
            raise DataError("bad_symbol", f"expected a symbol of {self._told.asset_class}, was {one_line(text)!r}")
        return found

    def _refuse(self, refusal: Refusal) -> None:
        self.sent.refused += 1
        if len(self.sent.refusals) < MESSAGES_KEPT:
            self.sent.refusals.append(refusal)
        self._say(refusal)

    def _send(self, client: httpx.Client, bars: list[tuple[int, Bar]]) -> None:
        """Send a batch, again while the system is busy; it takes a bar twice as one."""
        numbers = [number for number, _ in bars]
        body = msgspec.json.encode({"asset_class": self._told.asset_class.value, "bars": [bar for _, bar in bars]})
        if self._url is None:
            accepted, refused = check(body, self._clock(), Limits())
            self._count(accepted, [Refusal(numbers[r.index], r.reason, r.message) for r in refused])
            return
        deadline = time.monotonic() + self._patience_s
        while (busy := self._offer(client, body, numbers)) is not None:
            if time.monotonic() + busy.wait_s > deadline:
                expected = f"expected {self._url} to take bars within {self._patience_s:g} s"
                raise PushError(f"{expected}, was: {busy.said}")
            time.sleep(busy.wait_s)

    def _offer(self, client: httpx.Client, body: bytes, numbers: list[int]) -> "_Busy | None":
        """Send a batch once; None where it was taken."""
        try:
            answer = client.post(f"{self._url}/v1/bars", content=body)
        except httpx.TransportError as e:
            said = one_line(str(e) or type(e).__name__)
            if self.sent.requests:  # it was there before: it may be starting again
                return _Busy(1.0, said)
            raise PushError(f"expected a running system at {self._url} (`tapewatch up`), was: {said}") from e
        if answer.status_code in BUSY:
            return _Busy(_wait_s(answer), f"{answer.status_code} {_detail(answer)}")
        if answer.status_code != httpx.codes.ACCEPTED:
            raise PushError(f"expected bars taken at {self._url}, was {answer.status_code}: {_detail(answer)}")
        self.sent.requests += 1
        try:
            told: dict[str, Any] = answer.json()
            accepted = int(told["accepted"])
            refused = [Refusal(numbers[r["index"]], str(r["reason"]), str(r["message"])) for r in told["refused"]]
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise PushError(f"expected {self._url} to say what it took, was: {one_line(answer.text)}") from e
        self._count(accepted, refused)
        return None

    def _count(self, accepted: int, refused: list[Refusal]) -> None:
        """Take in what is said of a batch."""
        self.sent.accepted += accepted
        for refusal in refused:
            self._refuse(refusal)


@dataclass(frozen=True, slots=True)
class _Busy:
    """When to offer a batch again, and why it was not taken."""

    wait_s: float
    said: str


def _decode(line: Line) -> Bar:
    if len(line.text) >= LONGEST_LINE:
        raise DataError("oversize", f"expected a line of less than {LONGEST_LINE:,} bytes, was a longer one")
    try:
        bar = msgspec.json.decode(line.text, type=Bar)
    except msgspec.ValidationError as e:
        is_missing = str(e).startswith("Object missing")
        raise DataError("missing_field" if is_missing else "wrong_type", _said(str(e))) from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DataError("malformed", f"expected a JSON object, was: {one_line(str(e))}") from e
    if not EARLIEST_MS <= bar.t <= LATEST_MS:
        raise DataError("bad_time", f"expected t in Unix milliseconds, was {one_line(str(bar.t))}")
    return bar


def _wait_s(answer: httpx.Response) -> float:
    after = answer.headers.get("Retry-After", "")
    return min(max(float(after), 0.05), LONGEST_WAIT_S) if after.isdecimal() else 1.0  # no part of ours says a date


def _detail(answer: httpx.Response) -> str:
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = answer.text or answer.reason_phrase
    return "".join(c if c.isprintable() else "?" for c in said[:300])


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
    return text[:1].lower() + text[1:]
