"""What a plan allows, by what the vendor answers; and which span is then asked for."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from features.market.types import NS_PER_S, AssetClass
from ray_apps.errors import UsageError
from ray_apps.ingest import wanted
from ray_apps.ingest.allowed import DAY_NS, SETTLED_NS, Allowed, ask, day_start, oldest
from ray_apps.ingest.calls import Calls
from ray_apps.ingest.plan import HistoryPlan
from ray_apps.ingest.tiers import Tier
from ray_apps.ingest.verdict import KeyRefusedError, NotInPlanError, VendorAwayError
from ray_apps.ingest.wanted import Asked, Kept
from tests.ray_apps.simulator.client import START, instant, running
from tests.support.http_server import ScriptedHttp, answer
from tests.support.past import plan

T = TypeVar("T")
STOCKS, CRYPTO = AssetClass.STOCKS, AssetClass.CRYPTO
DELAY_NS = 900 * NS_PER_S


async def using(made: HistoryPlan, body: Callable[[Calls], Awaitable[T]]) -> T:
    calls = Calls(made)
    try:
        async with asyncio.timeout(30):
            return await body(calls)
    finally:
        await calls.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("configured", "key", "asset_class", "answer", "newest", "per_minute"),
    [
        (Tier.BASIC, "sim-advanced", STOCKS, "real-time", START, None),
        (Tier.ADVANCED, "sim-starter", STOCKS, "delayed", START - DELAY_NS, None),
        (Tier.BASIC, "sim-starter", CRYPTO, "real-time", START, None),
        (Tier.ADVANCED, "sim-basic", STOCKS, "end of day", instant("2026-09-15T04:00"), 5),
        (Tier.BASIC, "sim-basic", CRYPTO, "end of day", instant("2026-09-15T00:00"), 5),
    ],
)
def test_the_vendors_answer_counts_not_the_configured_tier(
    dsn: str, configured: Tier, key: str, asset_class: AssetClass, answer: str, newest: int, per_minute: int | None
) -> None:
    async def main() -> tuple[Allowed, int | None, int]:
        async with running(assets=(STOCKS, CRYPTO)) as sim:
            made = plan(sim.rest, dsn, configured, api_key=f"{key}-{configured}-{asset_class}", asset_class=asset_class)

            async def body(calls: Calls) -> tuple[Allowed, int | None, int]:
                found = await ask(calls, now_ns=0)  # the simulator's clock is its own
                return found, calls.rate.calls_per_minute, calls.n_calls

            return await using(made, body)

    found, rate, n_calls = asyncio.run(main())
    assert (found.answer, found.now_ns, found.newest_ns) == (answer, START, newest)
    assert found.settled_ns == min(newest, START - SETTLED_NS) if per_minute else newest - SETTLED_NS
    assert found.calls_per_minute == rate == per_minute
    assert n_calls == 2


def only_its_clock(path: str, _: int) -> bytes:
    return answer(b'{"serverTime":"2026-09-15T15:00:00Z"}') if "marketstatus" in path else answer(code=500)


@pytest.mark.integration
def test_a_vendor_that_answers_nothing_is_away() -> None:
    async def main() -> None:
        async with ScriptedHttp(lambda *_: answer(code=500)) as server:
            with pytest.raises(VendorAwayError, match="was in 2 tries: 500"):
                await using(plan(server.url, tries=2), lambda calls: ask(calls, START))

    asyncio.run(main())


@pytest.mark.integration
@pytest.mark.parametrize(("tier", "answer", "newest"), [
    (Tier.ADVANCED, "not answered", START), (Tier.STARTER, "not answered", START - DELAY_NS),
    (Tier.BASIC, "not answered", instant("2026-09-15T04:00")),
])  # fmt: skip
def test_without_an_answer_the_configured_tier_counts(dsn: str, tier: Tier, answer: str, newest: int) -> None:
    async def main() -> Allowed:
        async with ScriptedHttp(only_its_clock) as server:
            made = plan(server.url, dsn, tier, asset_class=STOCKS, tries=1, api_key=f"sim-{tier}-silent")
            return await using(made, lambda calls: ask(calls, 0))

    found = asyncio.run(main())
    assert (found.answer, found.newest_ns) == (answer, newest)
    assert (found.calls_per_minute == 5) == (tier is Tier.BASIC)


@pytest.mark.integration
def test_the_age_limit_is_found_by_asking() -> None:
    async def main() -> list[tuple[int, int]]:
        async with running(assets=(STOCKS,)) as sim:

            async def body(calls: Calls) -> list[tuple[int, int]]:
                found = []
                for days in (30, 4 * 365, 12 * 365):
                    before = calls.n_calls
                    at = await oldest(calls, START - days * DAY_NS, START)
                    found.append(((START - at) // DAY_NS, calls.n_calls - before))
                return found

            return await using(plan(sim.rest, tier=Tier.STARTER, asset_class=STOCKS), body)

    (recent, none), (kept, one), (limit, some) = asyncio.run(main())
    assert (recent, none) == (30, 0)
    assert (kept, one) == (4 * 365, 1)
    assert limit == 5 * 365 - 1  # the plan's five years
    assert 2 <= some <= 5


@pytest.mark.integration
@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (401, b'{"error":"Unknown API Key"}', KeyRefusedError),
        (403, b'{"message":"You are not entitled to this data."}', NotInPlanError),
    ],
)
def test_a_key_or_market_that_is_refused_is_said(code: int, body: bytes, error: type[Exception]) -> None:
    async def main() -> None:
        async with ScriptedHttp(lambda *_: answer(body, code)) as server:
            with pytest.raises(error):
                await using(plan(server.url), lambda calls: ask(calls, START))

    asyncio.run(main())


def test_a_day_starts_at_the_markets_midnight() -> None:
    for at, start in [
        ("2026-09-15T03:59", "2026-09-14T04:00"), ("2026-09-15T04:00", "2026-09-15T04:00"),
        ("2026-11-01T12:00", "2026-11-01T04:00"), ("2026-11-02T04:59", "2026-11-01T04:00"),
        ("2026-11-02T05:00", "2026-11-02T05:00"), ("2026-03-08T23:00", "2026-03-08T05:00"),
    ]:  # fmt: skip
        assert day_start(STOCKS, instant(at)) == instant(start), at
    assert day_start(CRYPTO, instant("2026-09-15T03:59")) == instant("2026-09-15T00:00")


NOW = instant("2026-09-15T15:07") + 30 * NS_PER_S


def allowed(asset_class: AssetClass = CRYPTO, newest_ns: int = NOW) -> Allowed:
    return Allowed(asset_class, "real-time", NOW, newest_ns, newest_ns - SETTLED_NS, None)


@pytest.mark.parametrize(
    ("asset_class", "bar_s", "end"),
    [
        (CRYPTO, 1, "2026-09-15T15:07:30"), (CRYPTO, 60, "2026-09-15T15:07"), (CRYPTO, 300, "2026-09-15T15:05"),
        (CRYPTO, 3_600, "2026-09-15T15:00"), (CRYPTO, 86_400, "2026-09-15T00:00"),
        (STOCKS, 86_400, "2026-09-15T04:00"), (AssetClass.FUTURES, 86_400, "2026-09-14T04:00"),
    ],
)  # fmt: skip
def test_only_windows_that_are_over_are_asked_for(asset_class: AssetClass, bar_s: int, end: str) -> None:
    assert wanted.until(Asked(), allowed(asset_class), bar_s) == instant(end)


def test_the_end_may_be_earlier_and_not_in_the_future() -> None:
    assert wanted.until(Asked(to_ns=instant("2026-09-01T10:04")), allowed(), 300) == instant("2026-09-01T10:00")
    late = allowed(newest_ns=instant("2026-09-15T00:00"))  # the plan ends with yesterday
    assert wanted.until(Asked(to_ns=NOW), late, 60) == instant("2026-09-15T00:00")
    with pytest.raises(UsageError, match=r"--to: expected no later than now, 2026-09-15 15:07 UTC .* was 2026-09-16"):
        wanted.until(Asked(to_ns=instant("2026-09-16T00:00")), allowed(), 60)


def test_the_beginning_is_what_the_store_keeps() -> None:
    end = instant("2026-09-15T15:07")
    assert wanted.since(Asked(), Kept(30), end) == instant("2026-08-17T00:00")
    assert wanted.since(Asked(), Kept(30), instant("2026-09-15T00:00")) == instant("2026-08-16T00:00")
    newer = Kept(30, newest_ns=instant("2026-09-20T10:00"))  # retention counts from the newest bar there is
    assert wanted.since(Asked(), newer, end) == instant("2026-08-22T00:00")
    assert wanted.since(Asked(from_ns=end - 1), Kept(30), end) == end - 1
    with pytest.raises(UsageError, match=r"expected 2026-08-17 00:00 UTC or later.*30 days.*was 2026-08-16.*retention"):
        wanted.since(Asked(from_ns=instant("2026-08-16T23:59")), Kept(30), end)
    assert wanted.since(Asked(), Kept(36_500), end) == instant("2018-06-30T00:00")
    with pytest.raises(UsageError, match=r"expected 2018-06-30 00:00 UTC or later, for the store holds 3000 days, was"):
        wanted.since(Asked(from_ns=instant("2018-06-29T00:00")), Kept(36_500), end)
    with pytest.raises(UsageError, match="expected before 2026-09-15 15:07 UTC"):
        wanted.since(Asked(from_ns=end), Kept(30), end)


def test_the_option_that_was_given_is_blamed() -> None:
    kept = Kept(2, instant("2026-09-15T15:00"))
    end = instant("2026-09-12T15:00")
    said = "--to: expected after 2026-09-14 00:00 UTC, the oldest the store keeps, was 2026-09-12 15:00 UTC"
    with pytest.raises(UsageError, match=re.escape(said)):
        wanted.since(Asked(to_ns=end), kept, end)
    end = instant("2026-09-14T15:00")
    with pytest.raises(UsageError, match="expected before --to, 2026-09-14 15:00 UTC, was 2026-09-15 15:00 UTC"):
        wanted.since(Asked(instant("2026-09-15T15:00"), end), kept, end)
    day = instant("2026-09-15T00:00")  # where the plan ends
    with pytest.raises(UsageError, match="expected before 2026-09-15 00:00 UTC, the end of what can be had, was"):
        wanted.since(Asked(instant("2026-09-15T10:00"), instant("2026-09-15T15:00")), kept, day)
