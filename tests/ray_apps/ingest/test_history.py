"""The vendor's past over its own client: pages, refusals, and everything that goes wrong on the way."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.market.bars import COLUMN_NAMES, BarColumns, aggregate
from features.market.types import AssetClass
from features.synthetic.tape import Tape, TapeConfig
from ray_apps.ingest.history import History, Page
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.tiers import Tier
from ray_apps.ingest.verdict import (
    CallRefusedError,
    HistoryError,
    KeyRefusedError,
    NotInPlanError,
    OutsidePlanError,
    VendorAwayError,
)
from tests.ray_apps.simulator.client import START, Running, instant, running
from tests.support.eventually import eventually
from tests.support.http_server import ScriptedHttp, answer
from tests.support.past import plan, walk, write_folder

pytestmark = pytest.mark.integration

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
ONE = b'{"status":"OK","adjusted":false,"results":[{"t":1789484340000,"o":2,"h":3,"l":1,"c":2,"v":5}]}'
REFUSED_AT_ONCE = [
    (400, {"error": "Could not parse the time parameter"}, CallRefusedError),
    (401, {"error": "Unknown API Key"}, KeyRefusedError),
    (403, {"message": "Your plan doesn't include this data timeframe."}, OutsidePlanError),
    (403, {"message": "You are not entitled to this data."}, NotInPlanError),
    (404, {"message": "Ticker not found."}, CallRefusedError),
    (302, {}, CallRefusedError),
]


@asynccontextmanager
async def open_history(made: HistoryPlan) -> AsyncIterator[History]:
    history = History(made)
    try:
        async with asyncio.timeout(50):
            yield history
    finally:
        await history.close()


def play(test: Callable[[Running, History], Awaitable[None]], made: dict[str, Any] | None = None, **how: Any) -> None:
    async def main() -> None:
        async with running(**how) as sim, open_history(plan(sim.rest, **made or {})) as history:
            await test(sim, history)

    asyncio.run(main())


def script(
    test: Callable[[ScriptedHttp, History], Awaitable[None]], said: Callable[[str, int], Any], **made: Any
) -> None:
    async def main() -> None:
        async with ScriptedHttp(said) as server, open_history(plan(server.url, **made)) as history:
            await test(server, history)

    asyncio.run(main())


async def collect(history: History, symbol: str, bar_s: int, from_ns: int, to_ns: int) -> list[Page]:
    return [page async for page in history.bars(symbol, bar_s, from_ns, to_ns)]


async def last_hour(history: History) -> int:
    """Give the number of bars of the last hour of one symbol."""
    return sum(len(page.bars) for page in await collect(history, "BTC-USD", 60, START - HOUR, START))


def assert_same(found: list[Page], expected: BarColumns) -> None:
    for name in COLUMN_NAMES:
        column = np.concatenate([getattr(page.bars, name) for page in found])
        np.testing.assert_array_equal(column, getattr(expected, name), err_msg=name)


@pytest.fixture(scope="module")
def past() -> BarColumns:
    return walk(1, START - 110_000 * MINUTE, 110_000)


@pytest.fixture(scope="module")
def folder(past: BarColumns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("past"), {"BTC-USD": past})


def test_three_pages_give_every_bar_once(past: BarColumns, folder: Path) -> None:
    async def test(sim: Running, history: History) -> None:
        start = START - 110_000 * MINUTE
        pages = await collect(history, "BTC-USD", 60, start, START)
        assert [page.span.from_ns for page in pages[1:]] == [page.span.to_ns for page in pages[:-1]]
        assert (pages[0].span.from_ns, pages[-1].span.to_ns) == (start, START)
        assert len(pages) == history.calls.n_calls == 3
        assert_same(pages, past)
        # hours count their minutes: as many pages, and the hour that a page cuts comes whole
        hours = await collect(history, "BTC-USD", 3_600, start, START)
        assert len(hours) == 3
        expected = aggregate(past, 60, 3_600).take(slice(1, None))  # it began before the span
        assert np.concatenate([p.bars.ts for p in hours]).tolist() == expected.ts.tolist()
        assert np.concatenate([p.bars.high for p in hours]).tolist() == expected.high.tolist()
        days = await collect(history, "BTC-USD", 86_400, start, START)
        assert [len(p.bars) for p in days] == [len(np.unique(past.ts // (24 * HOUR))) - 1]

    # whatever the pages say of the next one: another host, the same page again, split-adjusted
    faults = {"next_url_foreign_host": True, "next_url_cycle": True, "cursor_drops_adjusted": True}
    play(test, faults=faults, source=str(folder))


def test_a_span_is_half_open_and_need_not_lie_on_windows() -> None:
    async def test(sim: Running, history: History) -> None:
        (page,) = await collect(history, "BTC-USD", 300, START - HOUR + 1, START - 5 * MINUTE)
        assert page.bars.ts.tolist() == list(range(START - 55 * MINUTE, START - 5 * MINUTE, 5 * MINUTE))
        assert await collect(history, "BTC-USD", 60, START, START) == []
        (seconds,) = await collect(history, "BTC-USD", 1, START - 2 * MINUTE, START - MINUTE)
        assert np.all(seconds.bars.ts // MINUTE == (START - 2 * MINUTE) // MINUTE)
        assert len(seconds.bars) > 5

    play(test)


def test_days_begin_at_the_markets_midnight() -> None:
    async def test(sim: Running, history: History) -> None:
        pages = await collect(history, "AAPL", 86_400, instant("2026-10-26T00:00"), instant("2026-11-07T05:00"))
        days = [instant(f"2026-10-{d}T04:00") for d in range(26, 31)]
        days += [instant(f"2026-11-0{d}T05:00") for d in range(2, 7)]
        assert [int(t) for page in pages for t in page.bars.ts] == days

    start = instant("2026-11-10T15:00")
    play(test, {"asset_class": AssetClass.STOCKS}, assets=(AssetClass.STOCKS,), start_ns=start)


def test_an_unknown_symbol_has_no_bars() -> None:
    async def test(sim: Running, history: History) -> None:
        (page,) = await collect(history, "NOPE-USD", 60, START - HOUR, START)
        assert (len(page.bars), page.errors, page.failure) == (0, {}, None)
        with pytest.raises(CallRefusedError, match="expected a symbol of crypto such as BTC-USD, was 'BTCUSD'"):
            await collect(history, "BTCUSD", 60, START - HOUR, START)
        with pytest.raises(CallRefusedError, match="expected bars of 1, 60, 300, 3600, 86400 s, was 7 s"):
            await collect(history, "BTC-USD", 7, START - HOUR, START)

    play(test)


def test_many_symbols_come_side_by_side_and_one_that_fails_says_so() -> None:
    async def test(sim: Running, history: History) -> None:
        names = [name async for page in history.names() for name in page]
        assert names == sorted(names)
        assert len(names) == 12
        found: dict[str, list[Page]] = {}
        async with aclosing(history.many(["no-such-name", *names], 60, START - HOUR, START)) as pages:
            async for page in pages:
                found.setdefault(page.symbol, []).append(page)
        assert set(found) == {"no-such-name", *names}
        (failed,) = found.pop("no-such-name")
        assert isinstance(failed.failure, CallRefusedError)
        assert all(page.failure is None for pages in found.values() for page in pages)
        assert all(sum(len(page.bars) for page in pages) > 30 for pages in found.values())
        async with aclosing(history.many(names, 60, START - HOUR, START)) as pages:
            async for _ in pages:
                break  # whoever has enough stops: nothing stays behind
        assert len(asyncio.all_tasks()) <= 3 + n_before

    n_before = 0

    async def main() -> None:
        nonlocal n_before
        async with running(symbols=12) as sim, open_history(plan(sim.rest)) as history:
            n_before = len(asyncio.all_tasks())
            await test(sim, history)

    asyncio.run(main())


def test_names_come_in_pages_without_the_vendors_links() -> None:
    async def test(sim: Running, history: History) -> None:
        pages = [page async for page in history.names()]
        assert [len(page) for page in pages] == [1_000, 200]
        names = [name for page in pages for name in page]
        assert len(set(names)) == 1_200
        assert {"AAPL", "BRK.B"} <= set(names)

    play(
        test, {"asset_class": AssetClass.STOCKS}, assets=(AssetClass.STOCKS,), symbols=1_200,
        faults={"next_url_foreign_host": True},
    )  # fmt: skip


@pytest.mark.parametrize(("code", "body"), [(500, "empty"), (502, "html"), (429, "json"), (429, "empty")])
def test_a_bad_moment_is_waited_for(code: int, body: str) -> None:
    async def test(sim: Running, history: History) -> None:
        asking = asyncio.create_task(last_hour(history))
        await eventually(lambda: history.calls.n_again >= 1)
        await sim.admin("faults", reset=True)
        assert await asking == 60
        assert history.calls.n_calls == history.calls.n_again + 1

    play(test, {"tries": 50, "rate_tries": 50}, faults={"rest_error": code, "rest_error_body": body})


@pytest.mark.parametrize(("code", "tries"), [(500, 3), (429, 4)])
def test_tries_come_to_an_end(code: int, tries: int) -> None:
    async def test(sim: Running, history: History) -> None:
        with pytest.raises(VendorAwayError, match=f"in {tries} tries: {code}"):
            await last_hour(history)
        assert history.calls.n_calls == tries

    play(test, {"tries": 3, "rate_tries": 4}, faults={"rest_error": code})


def test_a_retry_after_is_obeyed() -> None:
    async def test(sim: Running, history: History) -> None:
        started = time.monotonic()
        asking = asyncio.create_task(last_hour(history))
        await eventually(lambda: history.calls.n_again >= 1)
        await sim.admin("faults", reset=True)
        assert await asking == 60
        assert time.monotonic() - started >= 1.0
        assert history.calls.n_calls == 2

    play(test, faults={"rest_error": 503, "retry_after_s": 1})


def test_a_retry_after_may_be_a_date_and_too_far_away() -> None:
    def said(_: str, n: int) -> bytes:
        waits_s = 2 if n == 0 else 3_600
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=waits_s), usegmt=True)
        return answer(b"", 429, Retry_After=at)

    async def test(server: ScriptedHttp, history: History) -> None:
        started = time.monotonic()
        with pytest.raises(VendorAwayError, match="in 2 tries: 429"):
            await last_hour(history)
        assert time.monotonic() - started >= 0.9  # a date has no fractions
        assert len(server.requests) == 2

    script(test, said)


@pytest.mark.parametrize(("code", "body", "error"), REFUSED_AT_ONCE)
def test_a_refusal_that_stays_is_not_asked_twice(code: int, body: dict[str, str], error: type[HistoryError]) -> None:
    async def test(server: ScriptedHttp, history: History) -> None:
        with pytest.raises(error, match=f"was refused: {code}"):
            await last_hour(history)
        assert len(server.requests) == 1

    script(test, lambda *_: answer(json.dumps(body).encode(), code, Location="http://127.0.0.1:9/"))


def test_the_key_is_sent_in_its_header_alone_and_never_shown() -> None:
    def said(path: str, _: int) -> bytes:
        return answer(b'{"error":"Unknown API Key hunter22"}', 401 if "range" in path else 500)

    async def test(server: ScriptedHttp, history: History) -> None:
        with pytest.raises(KeyRefusedError, match=r"Unknown API Key \[key\]") as refused:
            await last_hour(history)
        with pytest.raises(VendorAwayError) as away:
            async for _ in history.names():
                pass
        assert "hunter22" not in repr(refused.value) + repr(away.value) + repr(history.plan)
        assert all("Authorization: Bearer hunter22" in head for head in server.requests)
        assert all("hunter22" not in head.split(" ")[1] for head in server.requests)

    script(test, said, api_key="hunter22", tries=2)


CUT = [
    answer(ONE[: len(ONE) // 2]),  # half a body that claims to be whole
    answer(ONE[:30], length=len(ONE)),  # a connection that ends too early
    answer(gzip.compress(ONE)[:-30], Content_Encoding="gzip"),
    answer(b"<html>maintenance</html>"),
    answer(b'{"results":[{"t":"never"}]}'),
    answer(b"[1,2]"),
    b"HTTP/1.1 200 OK\r\n",
    b"garbage\r\n\r\n",
    b"",
]


@pytest.mark.parametrize("cut", CUT, ids=range(len(CUT)))
def test_a_broken_answer_is_asked_for_again(cut: bytes) -> None:
    async def test(server: ScriptedHttp, history: History) -> None:
        assert await last_hour(history) == 1
        assert len(server.requests) == 2

    script(test, lambda _, n: cut if n == 0 else answer(ONE))


def test_a_body_cut_by_the_simulator_is_asked_for_again() -> None:
    async def test(sim: Running, history: History) -> None:
        asking = asyncio.create_task(last_hour(history))
        await eventually(lambda: history.calls.n_again >= 1)
        await sim.admin("faults", reset=True)
        assert await asking == 60

    play(test, {"tries": 50}, faults={"rest_truncate": True})


def test_a_server_that_hangs_or_trickles_is_given_up() -> None:
    async def hang() -> bytes:
        await asyncio.sleep(3)
        return b""

    def said(_: str, n: int) -> Any:
        if n == 0:
            return hang()
        return answer(ONE) if n == 2 else [answer(b"", length=1_000), *[b" "] * 60]

    async def test(server: ScriptedHttp, history: History) -> None:
        started = time.monotonic()
        assert await last_hour(history) == 1
        assert len(server.requests) == 3
        assert 0.8 < time.monotonic() - started < 2.5

    script(test, said, read_timeout_s=0.4, call_timeout_s=0.6)


def test_a_vendor_that_is_slow_is_waited_for() -> None:
    async def test(sim: Running, history: History) -> None:
        async with aclosing(history.many(["BTC-USD", "ETH-USD", "SOL-USD"], 60, START - HOUR, START)) as pages:
            assert sum([len(page.bars) async for page in pages]) == 180
        assert history.calls.n_again == 0

    play(test, faults={"rest_latency_s": 0.5})


def test_nobody_there_is_said() -> None:
    async def main() -> None:
        async with open_history(plan("http://127.0.0.1:1", tries=2)) as history:
            with pytest.raises(VendorAwayError, match="in 2 tries: NewConnectionError"):
                await last_hour(history)

    asyncio.run(main())


def test_bad_bars_are_counted_and_the_others_kept() -> None:
    rows = [
        {"t": (START - k * MINUTE) // 10**6, "o": 2, "h": 3, "l": 1, "c": close, "v": 5}
        for k, close in ((4, 2), (3, 9), (2, 2), (2, 1.5), (1, -1))
    ]

    async def test(server: ScriptedHttp, history: History) -> None:
        (page,) = await collect(history, "BTC-USD", 60, START - HOUR, START)
        assert page.bars.close.tolist() == [2, 1.5]
        assert page.errors == {"high_below_low": 1, "bad_price": 1, "duplicate": 1}

    script(test, lambda *_: answer(json.dumps({"results": rows}).encode()))


def test_bars_adjusted_for_splits_are_refused() -> None:
    async def test(server: ScriptedHttp, history: History) -> None:
        with pytest.raises(CallRefusedError, match="as traded, was adjusted for splits"):
            await last_hour(history)
        assert "adjusted=false" in server.requests[0]

    script(test, lambda *_: answer(ONE.replace(b"false", b"true")))


def test_a_page_that_does_not_get_on_ends_the_asking() -> None:
    async def test(server: ScriptedHttp, history: History) -> None:
        with pytest.raises(VendorAwayError, match="as more pages follow, was none"):
            await last_hour(history)
        assert len(server.requests) == 1

    script(test, lambda *_: answer(b'{"results":[],"next_url":"http://127.0.0.1:9/more"}'))


def test_futures_are_asked_in_their_own_way() -> None:
    start = START // 10**9
    rows = [
        {"window_start": (start - s) * 10**9, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5, "volume": 7}
        for s in (120, 60)
    ]
    rows[1]["transactions"] = 3

    def said(_: str, n: int) -> bytes:
        more = {"next_url": "https://127.0.0.2/futures"} if n == 0 else {}
        return answer(json.dumps({"status": "OK", "results": rows[n : n + 1], **more}).encode())

    async def test(server: ScriptedHttp, history: History) -> None:
        pages = await collect(history, "ESZ26", 60, START - 2 * MINUTE, START)
        assert [page.bars.ts.tolist() for page in pages] == [[START - 2 * MINUTE], [START - MINUTE]]
        assert np.isnan(pages[0].bars.trades[0])
        assert pages[1].bars.trades[0] == 3
        assert all(head.startswith("GET /futures/v1/aggs/ESZ26?resolution=1min&") for head in server.requests)
        assert f"window_start.gte={START - MINUTE}" in server.requests[1]

    script(test, said, asset_class=AssetClass.FUTURES)


def test_calls_in_flight_are_bounded() -> None:
    flying, most = 0, 0

    async def slow() -> bytes:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.05)
        flying -= 1
        return answer(ONE)

    async def test(server: ScriptedHttp, history: History) -> None:
        names = [f"C{i}-USD" for i in range(20)]
        async with aclosing(history.many(names, 60, START - HOUR, START)) as pages:
            assert len([page async for page in pages]) == 20

    script(test, lambda *_: slow(), in_flight=3)
    assert most == 3


def test_an_unlimited_plan_is_asked_evenly() -> None:
    times: list[float] = []

    def said(*_: object) -> bytes:
        times.append(time.monotonic())
        return answer(ONE)

    async def test(server: ScriptedHttp, history: History) -> None:
        names = [f"C{i}-USD" for i in range(30)]
        async with aclosing(history.many(names, 60, START - HOUR, START)) as pages:
            assert len([page async for page in pages]) == 30

    script(test, said, in_flight=8, calls_per_s=40.0)
    assert times[-1] - times[0] >= 29 / 40 - 0.05


def test_a_counted_plan_is_never_asked_too_often(dsn: str) -> None:
    """Two readers of one key against a server that counts as the vendor does, in a short minute."""

    async def main() -> list[float]:
        times: list[float] = []

        def said(*_: object) -> bytes:
            times.append(time.monotonic())
            return answer(ONE)

        async with ScriptedHttp(said) as server:
            made = plan(server.url, dsn, Tier.BASIC, window_s=1.1, api_key="two")
            async with open_history(made) as one, open_history(made) as two:
                await asyncio.gather(*(last_hour(h) for h in [one, two] * 6))
        return times

    times = asyncio.run(main())
    assert len(times) == 12
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[5:], strict=False))
    assert times[-1] - times[0] < 4.0


def test_the_sixth_call_of_a_basic_key_waits_its_minute(dsn: str) -> None:
    async def main() -> None:
        async with running() as sim:
            made = plan(sim.rest, dsn, Tier.BASIC)
            async with open_history(made) as one, open_history(made) as two:
                day = (START - 24 * HOUR, START - 23 * HOUR)
                for history in (one, two, one, two, one):
                    assert sum(len(p.bars) for p in await collect(history, "BTC-USD", 60, *day)) == 60
                sixth = asyncio.create_task(collect(two, "BTC-USD", 60, *day))
                done, _ = await asyncio.wait({sixth}, timeout=1.0)
                assert not done
                sixth.cancel()
                await asyncio.gather(sixth, return_exceptions=True)
                assert one.calls.n_again == two.calls.n_again == 0

    asyncio.run(main())


@pytest.mark.parametrize("asset_class", list(AssetClass))
def test_the_vendor_tells_whether_it_lists_a_symbol(asset_class: AssetClass) -> None:
    listed = Tape(TapeConfig(asset_class, 1)).symbols[0]
    absent = {
        AssetClass.CRYPTO: "NOPE-USD", AssetClass.FOREX: "NOP/USD", AssetClass.INDICES: "I:NOPE",
        AssetClass.OPTIONS: "O:NOPE261218C00650000", AssetClass.FUTURES: "NOPEZ6",
    }.get(asset_class, "NOPE")  # fmt: skip

    async def main() -> list[bool]:
        async with (
            running(assets=(asset_class,), symbols=3) as sim,
            open_history(plan(sim.rest, asset_class=asset_class)) as history,
        ):
            return [await history.knows(symbol) for symbol in (listed, absent)]

    assert asyncio.run(main()) == [True, False]
