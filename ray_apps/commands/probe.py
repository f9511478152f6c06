"""`tapewatch probe`: put one bar through a running system and see what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ray_apps import words
from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load
from ray_apps.errors import UserError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
NAMES = {"crypto": "PROBE-USD", "forex": "PROBE-USD", "indices": "I:PROBE", "options": "O:PROBE"}
NAME = "PROBE"
PUSHED = "pushed"
"""The tier of a feed whose bars are pushed: it has no bar and no history of its own."""
OLDEST_S = 3_000
"""A pushed feed takes bars of the last hour."""
LOOK_S = 1.0
CALL_S = 20.0
MOST_ASKED = 20
"""Symbols asked for their score each time."""
BUSY = (429, 503)


def probe(
    url: Annotated[str | None, typer.Option(help="Address of the gateway; by default that of the data folder.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Address of the metrics; by default the gateway's.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds it may take in all.")] = 60.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Push a bar of the symbol PROBE, and expect it stored, another one scored and all of it counted; exit 1 if not.

    Where bars are pushed and history is not there yet, no score is expected, and the line says so.

    Example: tapewatch probe --url http://127.0.0.1:8000
    """
    import httpx

    from ray_apps.local import gateway

    settings = load(config, data_dir)
    token, url = settings.http.token, url or gateway.find(settings)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, timeout=CALL_S, trust_env=False) as client:
        probing = _Probing(client, time.monotonic() + timeout)
        feed = probing.wait("a live feed with bars", probing.feed)
        bar = probing.wait("the bar taken", lambda: probing.push(feed))
        asset_class, name = feed["asset_class"], bar["symbol"]
        probing.wait(f"the bar of {name}", lambda: probing.stored(asset_class, bar))
        score = probing.wait("a symbol with a score", lambda: probing.scored(feed, name))
        counted = probing.wait("bars counted in the metrics", lambda: probing.counted(metrics or "/metrics"))
    if json:
        told = {"scored": score.symbol, "windows_to_score": score.n_windows, "bars_counted": counted}
        echo_json({"feed": asset_class, "bar": bar, **told})
    else:
        typer.echo(f"bar of {name} stored, {score}, {words.counted(counted, 'bar')} counted")


@dataclass(frozen=True, slots=True)
class _Score:
    """The symbol that has one; else none can be expected before so many more windows."""

    symbol: str | None
    n_windows: int = 0

    def __str__(self) -> str:
        if self.symbol is not None:
            return f"{self.symbol} scored"
        more = words.counted(self.n_windows, "more bar")
        return f"no score seen and none expected before history is there ({more} of a symbol at least)"


class _Probing:
    def __init__(self, client: httpx.Client, deadline: float) -> None:
        self.client = client
        self.deadline = deadline
        self.last = "no answer"

    def wait(self, what: str, look: Callable[[], T | None]) -> T:
        """Look until there is something."""
        while (found := look()) is None:
            if time.monotonic() > self.deadline:
                raise UserError(f"expected {what}, was {self.last}")
            time.sleep(LOOK_S)
        return found

    def feed(self) -> dict[str, Any] | None:
        """Give a live feed that has had bars, else one they are pushed to."""
        ready = self._answer("/readyz", (200, 503))
        body = self._get("/v1/feeds") if ready else None
        if ready is None or body is None:
            return None
        parts, feeds = ready.json().get("parts", {}), body["items"]
        faults = {f["asset_class"]: parts.get(f"feed {f['asset_class']}", "not asked") for f in feeds}
        live: list[dict[str, Any]] = [f for f in feeds if not faults[f["asset_class"]]]
        found = [f for f in live if f["newest_ts"]] + [f for f in live if f["tier"] == PUSHED]
        if not found:
            self.last = _told(feeds, faults) or "no feed that ever ran"
        return next(iter(found), None)

    def push(self, feed: Mapping[str, Any]) -> dict[str, Any] | None:
        """Push a bar; give it, None where the feed is busy."""
        import httpx

        name, ts_ms = NAMES.get(feed["asset_class"], NAME), _start_s(feed, time.time()) * 1_000
        bar = {"symbol": name, "t": ts_ms, "o": 100.0, "h": 101.0, "l": 99.0, "c": 100.5, "v": 1000.0, "n": 10}
        try:
            answer = self.client.post("/v1/bars", json={"asset_class": feed["asset_class"], "bars": [bar]})
        except httpx.TransportError as e:
            self.last = f"POST /v1/bars: {e}"
            return None
        self.last = f"POST /v1/bars: {answer.status_code} {answer.text[:200]}"
        if answer.status_code in BUSY:
            return None
        if answer.status_code != 202 or answer.json()["accepted"] != 1:
            closed = _hours([feed])
            raise UserError(f"expected 202 and one bar accepted, was {self.last}{closed and f'; {closed}'}")
        return bar

    def stored(self, asset_class: str, bar: Mapping[str, Any]) -> bool | None:
        """Say whether the gateway has the bar."""
        body = self._get(f"/v1/symbols/{bar['symbol']}?asset_class={asset_class}")
        if body is None:
            return None
        newest = datetime.fromisoformat(body["bar"]["ts"]).timestamp() * 1000
        return True if newest >= bar["t"] else None

    def scored(self, feed: Mapping[str, Any], name: str) -> _Score | None:
        """Give a symbol of the feed's class that has a score; of pushed bars, what they wait for where none has."""
        asset_class = feed["asset_class"]
        page = self._get(f"/v1/symbols?asset_class={asset_class}&limit=1000")
        known = [s for s in page["items"] if s["waiting"] is not None] if page else []
        known.sort(key=lambda s: len(s["waiting"]))
        for symbol in known[:MOST_ASKED]:
            body = self._get(f"/v1/symbols/{symbol['symbol']}?asset_class={asset_class}")
            if body and any(v is not None for v in body["scores"].values()):
                return _Score(str(symbol["symbol"]))
        waits = [min(s["waiting"].values(), default=0) for s in known]
        if page:
            first = f"the first in {words.counted(min(waits), 'window')}" if waits else "as the cache has none"
            self.last = f"{words.counted(len(page['items']), 'symbol')} without one, {first}"
        has_own = any(s["symbol"] == name for s in known)
        return _Score(None, min(waits)) if feed["tier"] == PUSHED and has_own and min(waits) else None

    def counted(self, metrics: str) -> int | None:
        """Give the bars the metrics hub counted."""
        answer = self._answer(metrics)
        if answer is None:
            return None
        lines = [x for x in answer.text.splitlines() if x.startswith("tapewatch_bars_received_total{")]
        return round(sum(float(x.rsplit(" ", 1)[1]) for x in lines)) or None

    def _get(self, path: str) -> Any:
        answer = self._answer(path)
        return None if answer is None else answer.json()

    def _answer(self, path: str, taken: tuple[int, ...] = (200,)) -> httpx.Response | None:
        import httpx

        try:
            answer = self.client.get(path)
        except httpx.TransportError as e:
            self.last = f"{path}: {e}"
            return None
        self.last = f"{path}: {answer.status_code} {answer.text[:200]}"
        return answer if answer.status_code in taken else None


def _start_s(feed: Mapping[str, Any], now_s: float) -> int:
    """Give the start of the newest minute that is over; by the clock, where bars are pushed and none came of late.

    >>> _start_s({"tier": "simulated", "newest_ts": "1970-01-01T00:03:00Z"}, 9e9)
    120
    >>> _start_s({"tier": "pushed", "newest_ts": None}, 1_000_150.0)
    1000080
    """
    end_s = datetime.fromisoformat(feed["newest_ts"]).timestamp() if feed["newest_ts"] else 0.0
    if feed["tier"] == PUSHED and end_s < now_s - OLDEST_S:
        end_s = now_s
    return int(end_s) // 60 * 60 - 60


def _told(feeds: Sequence[Mapping[str, Any]], faults: Mapping[str, str]) -> str:
    """Say where each feed is, and the likely cause where that is the hour."""
    said = []
    for feed in feeds:
        fault, state = faults[feed["asset_class"]], f"{feed['asset_class']} {feed['status']}"
        if feed["detail"]:
            state += f" ({feed['detail']})"
        if fault and feed["status"] not in fault:
            state += f", {fault}"
        elif not fault and not feed["newest_ts"]:
            state += " without a bar so far"
        said.append(state)
    return "; ".join(filter(None, [*said, _hours(feeds)]))


def _hours(feeds: Sequence[Mapping[str, Any]]) -> str:
    """Say which feeds' markets are closed now, as the likely cause; a tape that runs is always open."""
    bound = [f["asset_class"] for f in feeds if f["tier"] != "simulated" or f["status"] == "stopped"]
    closed = [name for name in bound if not _is_trading(name, datetime.now(UTC))]
    if not closed:
        return ""
    return (
        f"likely cause: outside the market hours of {', '.join(closed)} no bars come, and workers that keep them "
        "(marketHours) are stopped"
    )


def _is_trading(name: str, now: datetime) -> bool:
    """Say whether an asset class should print at an instant.

    >>> [_is_trading("stocks", datetime(2026, 9, day, 15, tzinfo=UTC)) for day in (18, 19)]  # a Friday, a Saturday
    [True, False]
    """
    from features.market.calendar import is_trading
    from features.market.types import NS_PER_S, AssetClass
    from ray_apps.store.calendar import sessions  # brings pandas

    asset_class, near = AssetClass(name), timedelta(days=1)
    days = sessions(asset_class, now.date() - near, now.date() + near)
    return is_trading(asset_class, days, round(now.timestamp()) * NS_PER_S)
