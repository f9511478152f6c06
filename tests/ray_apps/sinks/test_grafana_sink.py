"""Annotations over a real socket: one an episode however often it is told, corrected, old ones gone."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from ray_apps.sinks.base import DELIVERED, Message, Outcome, SinkUnavailableError, Verdict, payload_of
from ray_apps.sinks.grafana_sink import DAY_MS, PRUNE_S, GrafanaAnnotations
from ray_apps.store.rows import AnomalyRow, EpisodeRow
from tests.support.grafana_server import TOKEN, FakeGrafana, grafana_server
from tests.support.store import MINUTE, T0, anomaly, episode

pytestmark = pytest.mark.integration
GATEWAY = "http://gateway.example:8000"


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with grafana_server() as server:
        yield server


def message(row: AnomalyRow | EpisodeRow) -> Message:
    topic = "episode" if isinstance(row, EpisodeRow) else "anomaly"
    return Message(1, topic, row.id, msgspec.json.encode(payload_of(row)), 1)


def deliver(sink: GrafanaAnnotations, *rows: AnomalyRow | EpisodeRow) -> list[Outcome]:
    return list(asyncio.run(sink.deliver([message(r) for r in rows])))


def test_an_episode_told_twice_is_one_annotation_and_a_retraction_rewrites_it(grafana: FakeGrafana) -> None:
    row = anomaly(1, episode_id="e1")
    sink = GrafanaAnnotations(grafana.url, TOKEN, GATEWAY)
    assert deliver(sink, row, row) == [DELIVERED, DELIVERED]
    assert deliver(GrafanaAnnotations(grafana.url, TOKEN, GATEWAY), row) == [DELIVERED]
    (note,) = grafana.annotations.values()
    assert {"tapewatch", "tapewatch:e1", "stocks", "AAPL", "burst_up", "high"} == set(note["tags"])
    assert note["time"] == (T0 + 2 * MINUTE) // 1_000_000
    assert f"{GATEWAY}/v1/anomalies/{row.id}" in note["text"]
    assert grafana.writes == ["POST /api/annotations"]
    deliver(sink, anomaly(1, episode_id="e1", state="retracted"))
    (note,) = grafana.annotations.values()
    assert "retracted" in note["tags"]
    assert note["text"].startswith("RETRACTED")


def test_the_markets_episode_links_to_its_anomalies(grafana: FakeGrafana) -> None:
    shock = episode(2, symbol=None, kind="market_shock", breadth=0.5)
    assert deliver(GrafanaAnnotations(grafana.url, TOKEN, GATEWAY), shock) == [DELIVERED]
    (note,) = grafana.annotations.values()
    assert "market" in note["tags"]
    assert f"{GATEWAY}/v1/anomalies?episode_id={shock.id}" in note["text"]


def test_old_annotations_of_ours_go_and_others_stay(grafana: FakeGrafana) -> None:
    newest = T0 // 1_000_000
    for number, (age_days, tag) in enumerate(((11, "tapewatch"), (11, "deploy"), (9, "tapewatch")), start=1):
        at = newest - age_days * DAY_MS
        grafana.annotations[number] = {"id": number, "time": at, "tags": [tag], "text": ""}
    now = [0.0]
    sink = GrafanaAnnotations(grafana.url, TOKEN, keep_days=10, clock=lambda: now[0])
    deliver(sink, anomaly(0))
    assert sorted(grafana.annotations) == [2, 3, 4]
    grafana.annotations[5] = {"id": 5, "time": 1, "tags": ["tapewatch"], "text": ""}
    deliver(sink, anomaly(1))
    assert 5 in grafana.annotations
    now[0] = PRUNE_S + 1
    deliver(sink, anomaly(2))
    assert 5 not in grafana.annotations


@pytest.mark.parametrize("status", [401, 403, 502, 503])
def test_a_grafana_that_is_away_or_takes_no_token_blames_no_message(grafana: FakeGrafana, status: int) -> None:
    grafana.failing = status
    with pytest.raises(SinkUnavailableError, match=f"was {status}"):
        deliver(GrafanaAnnotations(grafana.url, TOKEN), anomaly(1))


@pytest.mark.parametrize(("status", "verdict"), [(500, Verdict.RETRY), (429, Verdict.RETRY), (400, Verdict.DEAD)])
def test_other_answers_are_of_the_message(grafana: FakeGrafana, status: int, verdict: Verdict) -> None:
    grafana.failing = status
    assert [o.verdict for o in deliver(GrafanaAnnotations(grafana.url, TOKEN), anomaly(1))] == [verdict]


def test_a_payload_that_is_no_anomaly_is_dead_and_nobody_listening_is_away(grafana: FakeGrafana) -> None:
    sink = GrafanaAnnotations(grafana.url, TOKEN)
    assert asyncio.run(sink.deliver([Message(1, "anomaly", "k", b"{}", 1)]))[0].verdict is Verdict.DEAD
    with pytest.raises(SinkUnavailableError):
        deliver(GrafanaAnnotations("http://127.0.0.1:1", TOKEN), anomaly(1))
    asyncio.run(sink.close())
