"""Give what every sink speaks: messages in, one outcome each out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec

from ray_apps.store.rows import AnomalyRow, EpisodeRow

NS_PER_MS = 1_000_000
TIMES = ("ts", "available_at", "opened_at", "last_at", "closed_at", "notified_at")
TOPICS: dict[str, type[AnomalyRow] | type[EpisodeRow]] = {"anomaly": AnomalyRow, "episode": EpisodeRow}
Row = TypeVar("Row", AnomalyRow, EpisodeRow)


class SinkUnavailableError(Exception):
    """The other side is away as a whole: nothing was delivered, no message is to blame."""


class Verdict(StrEnum):
    """What became of a message: `retry` may work later, `dead` never will."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Message:
    """A row of the outbox on its way; `payload` is JSON, `key` the same at every try."""

    id: int
    topic: str
    key: str
    payload: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message; `retry_after_s` is what the other side asked for."""

    verdict: Verdict
    error: str = ""
    retry_after_s: float | None = None


DELIVERED = Outcome(Verdict.DELIVERED)


class Sink(Protocol):
    """A way out. Delivering twice must be harmless: the outbox delivers at least once."""

    @property
    def name(self) -> str:
        """Give the name the outbox knows the sink by."""

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Send messages; one outcome each, in order.

        Raises
        ------
        SinkUnavailableError
            When the other side is away: the messages are tried again without end.
        """

    async def close(self) -> None:
        """Let connections go."""


def payload_of(row: AnomalyRow | EpisodeRow) -> dict[str, Any]:
    """Give a row as a notification's JSON: its fields, times in Unix ms, and its type.

    `row_of` reads it back.
    """
    topic = next(name for name, kind in TOPICS.items() if isinstance(row, kind))
    made: dict[str, Any] = {"type": topic}
    for f in fields(row):
        value = getattr(row, f.name)
        made[f.name] = value // NS_PER_MS if f.name in TIMES and value is not None else value
    return made


def row_of(payload: bytes | Mapping[str, Any], kind: type[Row]) -> Row:
    """Read a notification's JSON back.

    Raises
    ------
    ValueError
        When it is not a row of that kind.
    """
    found = msgspec.json.decode(payload) if isinstance(payload, bytes) else dict(payload)
    try:
        values = {f.name: found[f.name] for f in fields(kind)}
    except (KeyError, TypeError) as e:
        raise ValueError(f"expected the fields of {kind.__name__}, was without {e}") from e
    for name in TIMES:
        if values.get(name) is not None:
            values[name] *= NS_PER_MS
    return kind(**values)
