"""The stream of server-sent events, over real sockets: order, filters, places, signs of life."""

import asyncio
import contextlib
import json
from dataclasses import asdict

import httpx
import pytest

from ray_apps.api.http import create_app
from ray_apps.api.stream import Event, frames
from tests.ray_apps.api.fakes import World, anomaly
from tests.ray_apps.api.gateway import serving
from tests.support.eventually import eventually_sync


def events(*severities: str) -> list[Event]:
    return [Event(f"{i}-0", "anomaly", asdict(anomaly(i, severity=s))) for i, s in enumerate(severities, 1)]


def test_a_silent_market_still_gives_signs_of_life():
    async def main():
        async def silent():
            await asyncio.Event().wait()
            yield Event("1-0", "anomaly", {})

        body = frames(silent(), lambda _: True, 0.001)
        got = [await anext(body) for _ in range(4)]
        await body.aclose()
        return got

    assert asyncio.run(main()) == [b"retry: 2000\n\n", *[b": heartbeat\n\n"] * 3]


def test_the_end_of_the_events_ends_the_stream():
    async def main():
        async def short():
            for event in events("low", "high"):
                yield event

        return [f async for f in frames(short(), lambda a: a["severity"] == "high", 5.0)]

    assert [f.splitlines()[0] for f in asyncio.run(main())] == [b"retry: 2000", b"id: 2-0"]


@contextlib.contextmanager
def listening(url, headers=None, **params):
    with httpx.stream("GET", f"{url}/v1/stream", params=params, headers=headers, timeout=10) as response:
        yield response


def take(response, n):
    found = []
    for line in response.iter_lines():
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
        if len(found) == n:
            return found
    return found


@pytest.mark.integration
def test_events_arrive_filtered_and_go_on_after_the_last_one_seen():
    world = World(events=events("low", "high", "medium", "critical"))
    with serving(create_app(world.deps())) as url:
        with listening(url, min_severity="high") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert [a["severity"] for a in take(response, 2)] == ["high", "critical"]
        with listening(url, headers={"Last-Event-ID": "3-0"}) as response:
            assert [a["severity"] for a in take(response, 1)] == ["critical"]
        assert httpx.get(f"{url}/v1/stream", headers={"Last-Event-ID": "x"}).status_code == 422


@pytest.mark.integration
def test_streams_are_capped_and_health_still_answers():
    app = create_app(World().deps(max_streams=2, heartbeat_s=0.05))
    with serving(app) as url:
        with listening(url) as first, listening(url) as second:
            lines = [first.iter_lines(), second.iter_lines()]  # dropping one closes its connection
            assert [next(line) for line in lines] == ["retry: 2000"] * 2
            refused = httpx.get(f"{url}/v1/stream")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.headers["content-type"] == "application/problem+json"
            assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        eventually_sync(lambda: app.state.streams.n_open == 0)
        with listening(url) as response:
            assert next(response.iter_lines()) == "retry: 2000"
