"""Say which anomalies or episodes are wanted, and where a page ended."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from features.decisions.anomalies import SEVERITIES
from ray_apps.store.connect import Ns
from ray_apps.store.errors import StoreError


class CursorError(StoreError):
    """A cursor that no page of ours ever gave."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: the next page starts after it, whatever was added meanwhile."""

    ts: int
    id: str

    def encode(self) -> str:
        """Give a token for URLs.

        >>> Cursor.decode(Cursor(5, "ab").encode())
        Cursor(ts=5, id='ab')
        """
        return base64.urlsafe_b64encode(f"{self.ts}|{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> "Cursor":
        """Read a token back.

        Raises
        ------
        CursorError
            When the token is not one.
        """
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
            ts, id_ = raw.split("|", 1)
            if not -(2**63) < int(ts) < 2**63 or "\0" in id_:
                raise ValueError("out of range")
            return cls(int(ts), id_)
        except (ValueError, binascii.Error) as e:
            raise CursorError(f"expected a cursor of a former page, was {token[:40]!r}") from e


@dataclass(frozen=True, slots=True)
class AnomalyFilter:
    """Which anomalies; None asks for all. `kind` also finds anomalies a market shock took over (own_kind).

    `from_ts` <= ts < `to_ts`, UTC ns. `severity_min` is the least severity.
    """

    symbol: str | None = None
    asset_class: str | None = None
    kind: str | None = None
    severity_min: str | None = None
    state: str | None = None
    from_ts: int | None = None
    to_ts: int | None = None
    episode_id: str | None = None


@dataclass(frozen=True, slots=True)
class EpisodeFilter:
    """Which episodes, by the time they opened; `is_open` True asks for those still open."""

    symbol: str | None = None
    asset_class: str | None = None
    kind: str | None = None
    severity_min: str | None = None
    is_open: bool | None = None
    from_ts: int | None = None
    to_ts: int | None = None


@dataclass(slots=True)
class Where:
    """Collect the conditions of a query with their parameters."""

    sql: list[str]
    params: dict[str, Any]

    def add(self, condition: str, name: str, value: object) -> None:
        """Add a condition on one parameter, unless the value is None (all wanted)."""
        if value is not None:
            self.sql.append(condition)
            self.params[name] = value

    def __str__(self) -> str:
        return " AND ".join(self.sql) if self.sql else "true"


def where(wanted: AnomalyFilter | EpisodeFilter, time_column: str, after: Cursor | None) -> Where:
    """Give the conditions of a page: the filter's, and "older than the cursor"."""
    w = Where([], {})
    w.add("symbol = %(symbol)s", "symbol", wanted.symbol)
    w.add("asset_class = %(asset_class)s", "asset_class", wanted.asset_class)
    w.add("severity = ANY(%(severities)s)", "severities", at_least(wanted.severity_min))
    w.add(f"{time_column} >= %(from_ts)s", "from_ts", instant(wanted.from_ts))
    w.add(f"{time_column} < %(to_ts)s", "to_ts", instant(wanted.to_ts))
    if isinstance(wanted, AnomalyFilter):
        w.add("(kind = %(kind)s OR own_kind = %(kind)s)", "kind", wanted.kind)
        w.add("state = %(state)s", "state", wanted.state)
        w.add("episode_id = %(episode_id)s", "episode_id", wanted.episode_id)
    else:
        w.add("kind = %(kind)s", "kind", wanted.kind)
        w.add("(closed_at IS NULL) = %(is_open)s", "is_open", wanted.is_open)
    if after is not None:
        w.add(f"({time_column}, id) < (%(after_ts)s, %(after_id)s)", "after_ts", instant(after.ts))
        w.params["after_id"] = after.id
    return w


def at_least(severity: str | None) -> list[str] | None:
    """Give the severities from this one up.

    >>> at_least("high")
    ['high', 'critical']
    """
    if severity is None:
        return None
    if severity not in SEVERITIES:
        raise ValueError(f"expected a severity of {', '.join(SEVERITIES)}, was {severity!r}")
    return list(SEVERITIES[SEVERITIES.index(severity) :])


EARLIEST_NS = 0
LATEST_NS = 253_402_300_799 * 10**9  # the end of the year 9999


def instant(value: int | None) -> Ns | None:
    """Give an instant the database can hold, the nearest to the value."""
    return None if value is None else Ns(min(max(value, EARLIEST_NS), LATEST_NS))
