"""The route that writes: who may, how much, what comes back."""

import asyncio
import json

import httpx
import pytest

from features.market.polygon import Limits
from features.market.pushed import MOST_BARS
from features.market.types import AssetClass
from ray_apps.api.http import create_app
from ray_apps.api.push import MOST_BYTES
from ray_apps.ingest.events import Admission
from tests.ray_apps.api.fakes import START, World

T = START // 1_000_000
GOOD = {"symbol": "BTC-USD", "t": T, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5}
TOKEN = "0123456789abcdef"


def body(*bars: dict, asset_class: str = "crypto") -> bytes:
    return json.dumps({"asset_class": asset_class, "bars": bars}).encode()


def push(world: World, content: bytes, http: dict | None = None, **headers: str) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(world.deps(**(http or {}))), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            given = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
            return await client.post("/v1/bars", content=content, headers=given)

    return asyncio.run(main())


def refused(answer: httpx.Response, status: int, *said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(part in answer.json()["detail"] for part in said), answer.text


def test_bars_go_to_the_feed_of_their_class_and_bad_rows_are_named() -> None:
    world = World(admission=Admission(now_ns=START + 120 * 10**9, limits=Limits()))
    content = body(GOOD, {**GOOD, "h": 1.5}, {"symbol": "X"}, GOOD | {"t": T + 600_000}, {**GOOD, "symbol": "no good"})
    answer = push(world, content)
    assert answer.status_code == 202
    told = answer.json()
    assert told["accepted"] == 1
    reasons = [(r["index"], r["reason"]) for r in told["refused"]]
    assert reasons == [(1, "high_below_low"), (2, "missing_field"), (3, "future"), (4, "bad_symbol")]
    assert told["refused"][0]["message"].startswith("expected l <= o, c <= h, was ")
    assert world.pushed == [(AssetClass.CRYPTO, content)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected JSON, was empty"),
        (b'{"a":', "expected JSON, was cut off after 5 bytes"),
        (b'{"a": x}', "expected JSON, was broken at byte 6 (invalid character)"),
        (b'{"asset_class": "\xff", "bars": []}', "expected JSON, was text that is not UTF-8"),
        (b'{"b":' + b"[" * 100_000, "expected JSON, was nested too deeply"),
        (b"[]", "expected an asset_class and bars"),
        (body(GOOD, asset_class="bonds"), "expected an asset_class and bars"),
        (body(*[GOOD] * (MOST_BARS + 1)), f"expected at most {MOST_BARS} bars, was {MOST_BARS + 1}"),
    ],
)
def test_what_is_no_request_reaches_no_feed(content: bytes, said: str) -> None:
    world = World()
    refused(push(world, content), 422, said)
    assert not world.pushed


def test_a_feed_that_is_full_away_or_absent_is_said() -> None:
    full = push(World(admission=Admission("expected room", is_full=True)), body(GOOD))
    refused(full, 429, "expected room")
    assert full.headers["retry-after"] == "1"
    away = push(World(admission=Admission("expected a feed that reads, was spare")), body(GOOD))
    refused(away, 503, "spare")
    assert away.headers["retry-after"] == "1"
    refused(push(World(admission=None), body(GOOD)), 404, "expected a class with a feed", "crypto")


def test_a_request_too_large_is_refused_before_it_is_read_whole() -> None:
    refused(push(World(), b" " * (MOST_BYTES + 1)), 413, str(MOST_BYTES))


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_page_in_a_browser_cannot_write(sent: str) -> None:
    refused(push(World(), body(GOOD), content_type=sent), 415, "expected application/json")
    assert push(World(), body(GOOD), content_type="application/json; charset=utf-8").status_code == 202


def test_writing_needs_the_token_where_one_is_set() -> None:
    world, http = World(), {"token": TOKEN, "host": "0.0.0.0"}
    none = push(world, body(GOOD), http)
    refused(none, 401, "Authorization: Bearer", "was none")
    assert none.headers["www-authenticate"] == "Bearer"
    refused(push(world, body(GOOD), http, authorization="Bearer 0123456789abcdeg"), 401, "was another")
    refused(push(world, body(GOOD), http, authorization="Bearer"), 401, "was another")
    assert not world.pushed
    assert push(world, body(GOOD), http, authorization=f"Bearer {TOKEN}").status_code == 202


def test_without_a_token_only_loopback_may_write() -> None:
    world = World()
    refused(push(world, body(GOOD), {"host": "0.0.0.0"}), 403, "http.token")
    assert not world.pushed
    assert push(world, body(GOOD), {"host": "::1"}).status_code == 202
