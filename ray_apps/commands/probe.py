"""`tapewatch probe`: put one bar through a running system and see what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ray_apps.commands.common import ConfigFile, DataDir, Json, echo_json, load
from ray_apps.errors import UserError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
NAMES = {"crypto": "PROBE-USD", "forex": "PROBE-USD", "indices": "I:PROBE", "options": "O:PROBE"}
NAME = "PROBE"
LOOK_S = 1.0
CALL_S = 20.0


def probe(
    url: Annotated[str | None, typer.Option(help="Address of the gateway; by default that of the data folder.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Address of the metrics; by default the gateway's.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds it may take in all.")] = 60.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Push a bar of the symbol PROBE, and expect it stored, another one scored and all of it counted; exit 1 if not.

    Example: tapewatch probe --url http://127.0.0.1:8000
    """
    import httpx

    from ray_apps.local import gateway

    settings = load(config, data_dir)
    token, url = settings.http.token, url or gateway.find(settings)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, timeout=CALL_S, trust_env=False) as client:
        probing = _Probing(client, time.monotonic() + timeout)
        feed = probing.wait("a feed with bars", probing.feed)
        bar = probing.push(feed)
        probing.wait(f"the bar of {bar['symbol']}", lambda: probing.stored(bar))
        scored = probing.wait("a symbol with a score", lambda: probing.scored(feed["asset_class"]))
        counted = probing.wait("bars counted in the metrics", lambda: probing.counted(metrics or "/metrics"))
    if json:
        echo_json({"feed": feed["asset_class"], "bar": bar, "scored": scored, "bars_counted": counted})
    else:
        typer.echo(f"bar of {bar['symbol']} stored, {scored} scored, {counted:,.0f} bars counted")


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
        """Give a live feed that has had bars."""
        body = self._get("/v1/feeds")
        feeds: list[dict[str, Any]] = body["items"] if body else []
        return next((f for f in feeds if f["status"] == "live" and f["newest_ts"]), None)

    def push(self, feed: dict[str, Any]) -> dict[str, Any]:
        """Push a bar of the newest window; give it."""
        ts_ms = round(datetime.fromisoformat(feed["newest_ts"]).timestamp()) // 60 * 60_000
        name = NAMES.get(feed["asset_class"], NAME)
        bar = {"symbol": name, "t": ts_ms, "o": 100.0, "h": 101.0, "l": 99.0, "c": 100.5, "v": 1000.0, "n": 10}
        answer = self.client.post("/v1/bars", json={"asset_class": feed["asset_class"], "bars": [bar]})
        if answer.status_code != 202 or answer.json()["accepted"] != 1:
            raise UserError(f"POST /v1/bars: expected 202 and one bar accepted, was {answer.status_code} {answer.text}")
        return bar

    def stored(self, bar: dict[str, Any]) -> bool | None:
        """Say whether the gateway has the bar."""
        body = self._get(f"/v1/symbols/{bar['symbol']}")
        if body is None:
            return None
        newest = datetime.fromisoformat(body["bar"]["ts"]).timestamp() * 1000
        return True if newest >= bar["t"] else None

    def scored(self, asset_class: str) -> str | None:
        """Give a symbol of the class that has a score."""
        page = self._get(f"/v1/symbols?asset_class={asset_class}&limit=20")
        for symbol in page["items"] if page else []:
            body = self._get(f"/v1/symbols/{symbol['symbol']}?asset_class={asset_class}")
            if body and any(v is not None for v in body["scores"].values()):
                return str(symbol["symbol"])
        return None

    def counted(self, metrics: str) -> float | None:
        """Give the bars the metrics hub counted."""
        answer = self._answer(metrics)
        if answer is None:
            return None
        lines = [x for x in answer.text.splitlines() if x.startswith("tapewatch_bars_received_total{")]
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines) or None

    def _get(self, path: str) -> Any:
        answer = self._answer(path)
        return None if answer is None else answer.json()

    def _answer(self, path: str) -> httpx.Response | None:
        import httpx

        try:
            answer = self.client.get(path)
        except httpx.TransportError as e:
            self.last = f"{path}: {e}"
            return None
        if answer.status_code != 200:
            self.last = f"{path}: {answer.status_code} {answer.text[:200]}"
            return None
        self.last = f"{path}: {answer.text[:200]}"
        return answer
