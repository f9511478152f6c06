"""Say what happens in lines for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import msgspec

from ray_apps.sinks.base import DELIVERED, Message, Outcome, Verdict, row_of
from ray_apps.store.rows import AnomalyRow, EpisodeRow

NS_PER_S = 1_000_000_000


def anomaly_line(row: AnomalyRow, tz: tzinfo | None = None) -> str:
    """Give an anomaly as one line; with a time zone, the end of its bar too.

    >>> from ray_apps.store.rows import AnomalyRow
    >>> row = AnomalyRow("0a", "stocks", "AAPL", 0, 60, 0, 0, "burst_up", "burst_up", 5.0, 2e-6, .001, "high",
    ...                  "provisional", 1, "+1.8 % on 9.46x normal volume", {}, [], {}, {})
    >>> print(anomaly_line(row))
    ANOMALY burst_up AAPL  +1.8 % on 9.46x normal volume  p=2e-6  rate 0.001/day  severity high
    """
    head = "RETRACTED" if row.state == "retracted" else "LATE ANOMALY" if row.is_late else "ANOMALY"
    return _line(f"{head} {row.kind} {row.symbol}", row.reading, row, row.available_at if tz else None, tz)


def episode_line(row: EpisodeRow, tz: tzinfo | None = None) -> str:
    """Give an episode as one line; a market-wide one shows its class, breadth and leaders."""
    what = f"{row.n_anomalies} anomal{'y' if row.n_anomalies == 1 else 'ies'}"
    if row.breadth is not None:
        what += f", breadth {row.breadth:.0%}"
    if row.leaders:
        what += f", led by {', '.join(_leader(x) for x in list(row.leaders)[:3])}"
    who = row.symbol or f"{row.asset_class} market"
    return _line(f"EPISODE {row.kind} {who}", what, row, row.last_at if tz else None, tz)


def tape_line(symbol: str, close: float, volume: float, ts_ns: int, tz: tzinfo = UTC) -> str:
    """Give a bar as one line of the tape.

    >>> tape_line("AAPL", 245.09, 1097, 52335 * 10**9)
    'AAPL   245.09  vol      1,097  14:32:15'
    >>> tape_line("PEPE-USD", 0.00001234, 0.5, 0)
    'PEPE-USD 0.00001234  vol     0.5000  00:00:00'
    """
    return f"{symbol:<6} {price(close):>6}  vol {_amount(volume):>10}  {_time(ts_ns, tz)}"


@dataclass(frozen=True, slots=True)
class Said:
    """A line for a person, and what it is about, for a program that keeps logs."""

    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


def about(row: AnomalyRow | EpisodeRow, versions: Mapping[str, str]) -> dict[str, str]:
    """Give what a line is about; `trace` is the id that HTTP API, sinks and database know it by.

    >>> row = EpisodeRow("e1", "stocks", None, "market_shock", 0, 0, None, 9, "high", None, None, None)
    >>> about(row, {"tapewatch": "0.1.0", "features": "3f"})
    {'asset_class': 'stocks', 'kind': 'market_shock', 'model': 'tapewatch 0.1.0, features 3f', 'trace': 'e1'}
    """
    said = row.versions if isinstance(row, AnomalyRow) and isinstance(row.versions, Mapping) else versions
    model = ", ".join(f"{name} {version}" for name, version in said.items())
    found = {"symbol": row.symbol, "asset_class": row.asset_class, "kind": row.kind, "model": model, "trace": row.id}
    return {name: value for name, value in found.items() if value}


class Console:
    """The sink `console`: a line per message to `write` (print by default at the caller).

    `versions` are those of what judges here, for messages that carry none.
    """

    name = "console"

    def __init__(
        self, write: Callable[[Said], None], tz: tzinfo | None = None, versions: Mapping[str, str] | None = None
    ) -> None:
        self._write = write
        self._tz = tz
        self._versions = versions or {}

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Write the lines."""
        return [self._say(m) for m in messages]

    async def close(self) -> None:
        """Do nothing: the terminal is not ours."""

    def _say(self, message: Message) -> Outcome:
        row: AnomalyRow | EpisodeRow
        try:
            if message.topic == "episode":
                row = row_of(message.payload, EpisodeRow)
                line = episode_line(row, self._tz)
            else:
                row = row_of(message.payload, AnomalyRow)
                line = anomaly_line(row, self._tz)
        except (ValueError, TypeError, msgspec.DecodeError) as e:
            return Outcome(Verdict.DEAD, f"expected an anomaly or episode, was {e}")
        self._write(Said(line, about(row, self._versions)))
        return DELIVERED


def price(value: float) -> str:
    """Give a price with the digits it needs: cents, or four figures below 1.

    >>> price(61234.5), price(0.5), price(0.00001234), price(0)
    ('61234.50', '0.5000', '0.00001234', '0.00')
    """
    if value >= 1 or value <= 0:
        return f"{value:.2f}"
    places = 4
    while places < 12 and value * 10**places < 1000:
        places += 1
    return f"{value:.{places}f}"


def short(value: float) -> str:
    """Give one figure, without the exponent's padding.

    >>> short(2e-6), short(0.0012), short(0.5), short(3.2)
    ('2e-6', '0.001', '0.5', '3')
    """
    text = f"{value:.1g}"
    if "e" not in text:
        return text
    figure, exponent = text.split("e")
    return f"{figure}e{int(exponent)}"


def _line(head: str, what: str, row: AnomalyRow | EpisodeRow, at: int | None, tz: tzinfo | None) -> str:
    parts = [head, what]
    if row.p_value is not None:
        parts.append(f"p={short(row.p_value)}")
    if row.rate is not None:
        parts.append(f"rate {short(row.rate)}/day")
    parts.append(f"severity {row.severity}")
    if at is not None and tz is not None:
        parts.append(_time(at, tz))
    return "  ".join(parts)


def _amount(volume: float) -> str:
    return "" if volume != volume else f"{volume:,.4f}" if volume < 10 and volume % 1 else f"{volume:,.0f}"


def _time(ts_ns: int, tz: tzinfo) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, tz).strftime("%H:%M:%S")


def _leader(value: object) -> str:
    return str(value.get("symbol", value)) if isinstance(value, dict) else str(value)
