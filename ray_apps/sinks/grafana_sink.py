"""Write episodes into Grafana as annotations: one each, however often it is delivered; old ones are deleted."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaException

from features.market.types import NS_PER_MS
from ray_apps.grafana.client import api, away, is_passing
from ray_apps.sinks.base import DELIVERED, Message, Outcome, Verdict, row_of
from ray_apps.sinks.console import anomaly_line, episode_line
from ray_apps.store.rows import AnomalyRow, EpisodeRow

TAG = "tapewatch"
"""Every annotation of ours has it."""
EPISODE_KEY = "tapewatch-episode"
"""Before the id of an annotation's episode, by which it is found again; Grafana takes what is before a colon as a
tag's key, and finds no annotation of which two tags have the key that is asked for."""
DAY_MS = 86_400_000
PRUNE_S = 3_600.0
PRUNED_AT_ONCE = 200


class GrafanaAnnotations:
    """The sink `grafana`.

    Parameters
    ----------
    url, token
        Grafana, and a service account's token that may write annotations.
    gateway
        Where people reach the HTTP API; empty: an annotation links nowhere.
    keep_days
        Annotations older than the newest by more are deleted, once an hour.
    clock
        Gives seconds that only grow.
    """

    name = "grafana"

    def __init__(
        self, url: str, token: str, gateway: str = "", keep_days: int = 90, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api: GrafanaApi = api(url, token)
        self._gateway = gateway.rstrip("/")
        self._keep_ms = keep_days * DAY_MS
        self._clock = clock
        self._newest_ms = 0
        self._pruned_s: float | None = None

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Write or rewrite one annotation per message, one after the other."""
        return await asyncio.to_thread(lambda: [self._put(m) for m in messages])

    async def close(self) -> None:
        """Close the connections."""
        self._api.client.s.close()

    def _put(self, message: Message) -> Outcome:
        try:
            episode, note = self._note(message)
        except (ValueError, TypeError, msgspec.DecodeError) as e:
            return Outcome(Verdict.DEAD, f"expected an anomaly or episode, was {e}")
        try:
            with away():
                self._write(episode, note)
                self._prune()
        except GrafanaException as e:
            return Outcome(Verdict.RETRY if is_passing(e) else Verdict.DEAD, f"expected status 2xx, was {e.message}")
        return DELIVERED

    def _note(self, message: Message) -> tuple[str, dict[str, Any]]:
        """Give a message's episode and its annotation."""
        if message.topic == "episode":
            e = row_of(message.payload, EpisodeRow)
            tags = [e.asset_class, e.symbol or "market", e.kind, e.severity]
            return e.id, self._annotation(e.id, e.last_at, tags, episode_line(e), f"?episode_id={e.id}")
        a = row_of(message.payload, AnomalyRow)
        episode = a.episode_id or a.id
        tags = [a.asset_class, a.symbol, a.kind, a.severity, *(["retracted"] if a.state == "retracted" else [])]
        return episode, self._annotation(episode, a.available_at, tags, anomaly_line(a), f"/{a.id}")

    def _annotation(self, episode: str, at_ns: int, tags: list[str], line: str, entry: str) -> dict[str, Any]:
        href = f"{self._gateway}/v1/anomalies{entry}"
        text = f'{line}<br><a href="{href}">entry</a>' if self._gateway else line
        at_ms = at_ns // NS_PER_MS
        return {"time_from": at_ms, "time_to": at_ms, "tags": [TAG, f"{EPISODE_KEY}:{episode}", *tags], "text": text}

    def _write(self, episode: str, note: dict[str, Any]) -> None:
        self._newest_ms = max(self._newest_ms, note["time_from"])
        there = self._api.annotations.get_annotation(tags=[f"{EPISODE_KEY}:{episode}"], limit=1)
        if not there:
            self._api.annotations.add_annotation(**note)
        elif there[0]["text"] != note["text"] or set(there[0]["tags"]) != set(note["tags"]):
            self._api.annotations.update_annotation(there[0]["id"], **note)

    def _prune(self) -> None:
        """Delete what is too old, a part of it at a time."""
        if self._pruned_s is not None and self._clock() - self._pruned_s < PRUNE_S:
            return
        before_ms = self._newest_ms - self._keep_ms
        found = self._api.annotations.get_annotation(time_from=1, time_to=before_ms, tags=[TAG], limit=PRUNED_AT_ONCE)
        for note in found:
            self._api.annotations.delete_annotations_by_id(note["id"])
        if len(found) < PRUNED_AT_ONCE:
            self._pruned_s = self._clock()
