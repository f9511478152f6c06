"""Annotations over a real socket: one an episode however often it is told, corrected, old ones gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest

from ray_apps.grafana.client import api
from ray_apps.sinks.base import DELIVERED, Message, Outcome, SinkUnavailableError, Verdict, payload_of
from ray_apps.sinks.grafana_sink import DAY_MS, PRUNE_S, GrafanaAnnotations
from ray_apps.store.rows import AnomalyRow, EpisodeRow
from tests.grafana.board_files import DASHBOARDS, load
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
    assert {"tapewatch", "tapewatch-episode:e1", "stocks", "AAPL", "burst_up", "high"} == set(note["tags"])
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


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_a_boards_layer_of_episodes_finds_what_was_written(grafana: FakeGrafana, path: Path) -> None:
    deliver(GrafanaAnnotations(grafana.url, TOKEN), anomaly(1, episode_id="e1"), episode(2, symbol=None))
    grafana.annotations[9] = {"id": 9, "time": T0 // 1_000_000, "tags": ["deploy"], "text": ""}
    (layer,) = [a["target"] for a in load(path)["annotations"]["list"] if a["name"] == "Episodes"]
    asked = {"limit": layer["limit"], "tags": layer["tags"], "matchAny": str(layer["matchAny"]).lower()}
    found = api(grafana.url, TOKEN).client.GET(f"/annotations?{urlencode(asked, doseq=True)}")
    assert sorted(note["id"] for note in found) == [1, 2]


def test_old_annotations_of_ours_go_and_others_stay(grafana: FakeGrafana) -> None:
    now, day = [0.0], DAY_MS * 1_000_000
    sink = GrafanaAnnotations(grafana.url, TOKEN, keep_days=10, clock=lambda: now[0])
    deliver(sink, anomaly(1, available_at=T0 - 11 * day), anomaly(2, available_at=T0 - 9 * day))
    grafana.annotations[3] = {"id": 3, "time": (T0 - 11 * day) // 1_000_000, "tags": ["deploy"], "text": ""}
    deliver(sink, anomaly(3, available_at=T0))
    assert sorted(grafana.annotations) == [1, 2, 3, 4]
    now[0] = PRUNE_S + 1
    deliver(sink, anomaly(4, available_at=T0))
    assert sorted(grafana.annotations) == [2, 3, 4, 5]


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
