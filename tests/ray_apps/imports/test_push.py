"""Lines of bars to a real gateway: all that are good arrive, each other one is named, whatever the gateway does."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fastapi import FastAPI, Response
from hypothesis import given
from hypothesis import strategies as st

from features.market.polygon import Limits
from features.market.pushed import MOST_BARS
from features.market.types import AssetClass
from ray_apps.api.http import create_app
from ray_apps.imports.errors import PlaceError
from ray_apps.imports.lines import CHUNK_BYTES, LONGEST_LINE, Line, batches
from ray_apps.imports.push import Push, PushError, Refusal
from ray_apps.imports.told import Told
from ray_apps.ingest.events import Admission
from tests.ray_apps.api.fakes import START, World
from tests.ray_apps.api.gateway import serving
from tests.support.eventually import eventually_sync

T = START // 1_000_000
GOOD: dict[str, Any] = {"symbol": "BTC-USD", "t": T, "o": 2, "h": 3, "l": 1, "c": 2, "v": 5}
TOKEN = "0123456789abcdef"
CRYPTO = AssetClass.CRYPTO


def source(*lines: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)


@contextmanager
def readable(text: bytes) -> Iterator[int]:
    """Give the descriptor of a file of some text."""
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        yield file.fileno()


def send(
    url: str | None, lines: bytes, token: str | None = None, patience_s: float = 20.0,
    clock: Callable[[], int] = time.time_ns, **told: Any,
) -> tuple[Push, list[Refusal]]:  # fmt: skip
    said: list[Refusal] = []
    push = Push(url, token, Told(told.pop("asset_class", CRYPTO), **told), said.append, patience_s, clock)
    with readable(lines) as descriptor:
        push.run(descriptor)
    assert said == push.sent.refusals
    assert len(said) == push.sent.refused
    return push, said


@contextmanager
def gateway(world: World, port: int = 0, **http: Any) -> Iterator[str]:
    with serving(create_app(world.deps(**http)), port) as url:
        yield url


def arrived(world: World) -> list[dict[str, Any]]:
    return [bar for _, body in world.pushed for bar in json.loads(body)["bars"]]


def judging(**changes: Any) -> World:
    return World(admission=Admission(now_ns=START + 120 * 10**9, limits=Limits(), **changes))


BAD = [
    (b"hello", "malformed", "expected a JSON object, was: JSON is malformed"),
    (b"\xff\xfe", "malformed", "expected a JSON object"),
    (b'{"x":' + b"[" * 5_000, "malformed", "expected a JSON object"),
    (b"[1,2]", "wrong_type", "expected object, was array"),
    (b'{"symbol":"BTC-USD","t":1}', "missing_field", "expected a field o, was none"),
    (json.dumps({**GOOD, "h": "3"}).encode(), "wrong_type", "expected float, was str at h"),
    (json.dumps({**GOOD, "t": T // 1000}).encode(), "bad_time", f"expected t in Unix milliseconds, was {T // 1000}"),
    (json.dumps({**GOOD, "t": 10**30}).encode(), "bad_time", "expected t in Unix milliseconds"),
    (json.dumps({**GOOD, "bar_s": 10**30}).encode(), "wrong_type", "at bar_s"),
    (json.dumps({**GOOD, "symbol": "BTCUSD"}).encode(), "bad_symbol", "expected a symbol of crypto, was 'BTCUSD'"),
    (json.dumps({**GOOD, "symbol": ""}).encode(), "bad_symbol", "expected a symbol, was none: --symbol says it"),
    (json.dumps({**GOOD, "x": "y" * LONGEST_LINE}).encode(), "oversize", "expected a line of less than 8,192 bytes"),
    (json.dumps({**GOOD, "h": 1.5}).encode(), "high_below_low", "expected l <= o, c <= h, was"),
    (json.dumps({**GOOD, "t": T + 600_000}).encode(), "future", "expected a window that is over by the feed's clock"),
    (json.dumps({**GOOD, "t": T + 1}).encode(), "bad_window", "expected a start that is a multiple of the bar length"),
    (json.dumps({**GOOD, "v": None}).encode(), "missing_field", "expected a volume"),
    (json.dumps({**GOOD, "bar_s": 7}).encode(), "bad_window", "expected bar_s of 1, 5"),
]


@pytest.mark.integration
def test_each_bad_line_is_named_and_every_good_one_arrives() -> None:
    good = {**GOOD, "vw": None, "n": 4, "more": [1], "bar_s": 60}
    lines: list[Any] = [GOOD, b"", b"  "]
    for bad, _, _ in BAD:
        lines += [bad, good, b""]
    world = judging()
    with gateway(world) as url:
        push, said = send(url, source(*lines))
    assert [(r.line, r.reason) for r in sorted(said, key=lambda r: r.line)] == [
        (4 + 3 * k, reason) for k, (_, reason, _) in enumerate(BAD)
    ]
    for refusal, (_, _, message) in zip(sorted(said, key=lambda r: r.line), BAD, strict=True):
        assert message in refusal.message
        assert refusal.message.isprintable()
    sent = push.sent
    assert (sent.accepted, sent.refused, sent.requests) == (1 + len(BAD), len(BAD), 1)
    assert sent.last_line == len(lines) - 1  # the last is blank
    assert arrived(world)[0] == GOOD
    assert arrived(world).count({**GOOD, "n": 4, "bar_s": 60}) == len(BAD)
    assert {a for a, _ in world.pushed} == {CRYPTO}
    dry, seen = send(None, source(*lines), clock=lambda: START + 120 * 10**9)  # the same without a system
    assert (dry.sent.accepted, sorted(r.line for r in seen)) == (sent.accepted, sorted(r.line for r in said))
    late, _ = send(None, source(GOOD), clock=lambda: START + 2 * 3_600 * 10**9)
    assert [r.reason for r in late.sent.refusals] == ["too_old"]


@pytest.mark.integration
def test_what_lines_do_not_say_is_told_and_others_are_skipped() -> None:
    world = judging()
    bare = {k: v for k, v in GOOD.items() if k != "symbol"}
    vendors = {**GOOD, "symbol": "X:ETH-USD"}
    with gateway(world) as url:
        push, _ = send(url, source(bare, vendors, {**GOOD, "bar_s": 1}), symbol="BTC-USD", bar_s=5)
    assert [(b["symbol"], b["bar_s"]) for b in arrived(world)] == [("BTC-USD", 5), ("BTC-USD", 1)]
    assert (push.sent.accepted, push.sent.skipped, push.sent.refused) == (2, 1, 0)
    with gateway(world) as url:
        push, _ = send(url, source({**bare, "v": None, "symbol": "I:SPX"}), asset_class=AssetClass.INDICES)
    assert (push.sent.accepted, "v" in arrived(world)[-1]) == (1, False)


@pytest.mark.integration
def test_many_lines_go_in_batches_the_gateway_takes() -> None:
    world = judging()
    n = 2 * MOST_BARS + 7
    bars = [{**GOOD, "t": T - k % 50 * 60_000, "c": 1 + k / n} for k in range(n)]
    with gateway(world) as url:
        push, _ = send(url, source(*bars))
    assert arrived(world) == bars
    assert (push.sent.accepted, push.sent.last_line) == (n, n)
    assert max(len(json.loads(body)["bars"]) for _, body in world.pushed) <= MOST_BARS
    assert push.sent.requests == len(world.pushed) < 10


@contextmanager
def pipe(push: Push) -> Iterator[tuple[BinaryIO, threading.Thread]]:
    """Run a push whose lines the block writes."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as lines, os.fdopen(write, "wb", buffering=0) as end:
        thread = threading.Thread(target=push.run, args=(lines.fileno(),), daemon=True)
        thread.start()
        yield end, thread
        end.close()
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.integration
def test_a_slow_pipes_bars_arrive_while_it_is_open_and_a_restart_is_waited_for() -> None:
    world = judging()
    app = create_app(world.deps())
    with serving(app) as url:
        push = Push(url, None, Told(CRYPTO), lambda _: None, 20.0)
        port = int(url.rpartition(":")[2])
        with pipe(push) as (end, _):
            end.write(json.dumps(GOOD).encode() + b"\n")
            eventually_sync(lambda: push.sent.accepted == 1)
            end.write(json.dumps(GOOD).encode()[:20])  # half a line waits for its rest
            end.write(json.dumps({**GOOD, "c": 3}).encode()[20:] + b"\n")
            eventually_sync(lambda: push.sent.accepted == 2)
    with pipe(push) as (end, thread):
        end.write(json.dumps({**GOOD, "c": 1}).encode())
        end.close()
        thread.join(1.5)
        assert thread.is_alive()
        with serving(create_app(world.deps()), port):
            eventually_sync(lambda: push.sent.accepted == 3)
    assert [b["c"] for b in arrived(world)] == [2, 3, 1]


class Busy(World):
    """Refuses the first requests."""

    def __init__(self, *refusals: Admission) -> None:
        super().__init__()
        self.refusals = list(refusals)

    async def _push(self, asset_class: AssetClass, body: bytes) -> Admission | None:
        if self.refusals:
            return self.refusals.pop(0)
        return await super()._push(asset_class, body)


@pytest.mark.integration
def test_a_feed_that_is_full_or_away_is_offered_the_same_again_for_a_while() -> None:
    full, away = Admission("expected room", is_full=True), Admission("expected a feed that reads, was warming")
    world = Busy(full, away)
    with gateway(world) as url:
        push, _ = send(url, source(GOOD))
        assert (push.sent.accepted, push.sent.requests, len(world.pushed)) == (1, 1, 1)
        world.refusals = [full] * 9
        with pytest.raises(PushError, match=rf"expected {url} to take bars within 0.5 s, was: 429 expected room"):
            send(url, source(GOOD), patience_s=0.5)
        assert len(world.refusals) == 8  # told to come back in a second, which is too late
        assert len(world.pushed) == 1


@pytest.mark.integration
def test_a_writer_shows_the_token() -> None:
    world = judging()
    with gateway(world, token=TOKEN) as url:
        assert send(url, source(GOOD), TOKEN)[0].sent.accepted == 1
        for token, was in ((None, "none"), ("fedcba9876543210", "another")):
            with pytest.raises(PushError, match=f"was 401: .*http.token, was {was}") as e:
                send(url, source(GOOD), token)
            assert "fedcba" not in str(e.value)
    assert len(world.pushed) == 1


@pytest.mark.integration
def test_who_does_not_take_bars_is_told_apart() -> None:
    with gateway(World(admission=None)) as url, pytest.raises(PushError, match="was 404: expected a class with a feed"):
        send(url, source(GOOD))
    with pytest.raises(PushError, match=r"expected a running system at http://127.0.0.1:1 \(`tapewatch up`\)"):
        send("http://127.0.0.1:1", source(GOOD))
    other = FastAPI()

    @other.post("/v1/bars")
    async def post() -> Response:
        return Response(b"[5]", 202)

    with serving(other) as url:
        with pytest.raises(PushError, match="to say what it took, was: "):
            send(url, source(GOOD))
        with pytest.raises(PushError, match="was 404: "):
            send(f"{url}/other", source(GOOD))


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(PlaceError, match="expected lines that can be read, was Is a directory"):
            Push(None, None, Told(CRYPTO), lambda _: None).run(folder)
    finally:
        os.close(folder)


def cut(text: bytes, most: int) -> list[list[Line]]:
    with readable(text) as descriptor:
        return list(batches(descriptor, most))


def test_lines_are_cut_as_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_apps.imports.lines.LINGER_S", 60.0)  # byte by byte takes long on a busy machine
    text = b"a\r\n\n" + b"b" * (3 * LONGEST_LINE) + b"\nc\n" + b" " * (2 * LONGEST_LINE) + b"\nd"
    for size in (CHUNK_BYTES, 7, 1):
        monkeypatch.setattr("ray_apps.imports.lines.CHUNK_BYTES", size)
        found = cut(text, 2)
        assert [[(line.number, line.text[:2]) for line in batch] for batch in found] == [
            [(1, b"a\r"), (3, b"bb")], [(4, b"c"), (6, b"d")],
        ]  # fmt: skip
        assert len(found[0][1].text) == LONGEST_LINE
        assert cut(b"\n\n", 2) == cut(b"", 2) == []
        assert [len(batch) for batch in cut(b"x\n" * 5, 2)] == [2, 2, 1]


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just(T), st.just(5.0))
OBJECTS = st.dictionaries(st.sampled_from([*GOOD, "vw", "n", "bar_s"]), VALUES).map(
    lambda changed: json.dumps({**GOOD, **changed}).encode()
)


@pytest.mark.thorough
@given(st.lists(st.one_of(OBJECTS, st.binary(max_size=40)), max_size=8))
def test_any_lines_are_counted_once(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    push, said = send(None, text)
    filled = sum(bool(line.strip()) for line in text.split(b"\n"))
    assert push.sent.accepted + push.sent.refused == filled
    assert all(r.message.isprintable() for r in said)
