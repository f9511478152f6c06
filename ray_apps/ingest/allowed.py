"""Ask the vendor what the key's plan allows of a market's past: how new, how old, how often."""

from collections.abc import Callable
from dataclasses import dataclass

from polygon import RESTClient

from features.market.calendar import ny_offset
from features.market.types import NS_PER_MS, NS_PER_S, AssetClass
from ray_apps.ingest import verdict
from ray_apps.ingest.calls import Calls, Question, Reply
from ray_apps.ingest.tiers import MAX_CALLS_BASIC
from ray_apps.ingest.verdict import HistoryError, KeyRefusedError, OutsidePlanError, VendorAwayError

DAY_NS = 86_400 * NS_PER_S
SETTLED_NS = 1_200 * NS_PER_S
"""Bars are corrected for 15 minutes after their window; five more for what is under way."""
SURE_NS = 360 * DAY_NS
"""No plan goes back less than a year: within that nobody need be asked."""
YEARS = (23, 20, 15, 10, 7, 5, 4, 3, 2, 1)
"""What plans are sold with, and rounder figures between."""
_NEWEST_MS = 600_000
_RESOLUTIONS = {"minute": "1min", "day": "1session"}
_DELAY_S = {AssetClass.FUTURES: 600}
_DELAYED_S = 900


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be asked of a market.

    Attributes
    ----------
    answer
        What the vendor said about the newest bars.
    now_ns
        The vendor's clock.
    newest_ns
        First instant REST does not give yet.
    settled_ns
        Windows that ended before it change no more.
    calls_per_minute
        None where there is no limit.
    """

    asset_class: AssetClass
    answer: verdict.Answer
    now_ns: int
    newest_ns: int
    settled_ns: int
    calls_per_minute: int | None


async def ask(calls: Calls, now_ns: int) -> Allowed:
    """Ask what the plan allows, in two calls, and call at its rate from then on.

    Where the vendor does not answer the question itself, the configured plan counts. `now_ns` is taken where it
    does not say what time it has.

    Raises
    ------
    KeyRefusedError, NotInPlanError
        When nothing may be asked at all.
    VendorAwayError
        When neither call is answered.
    """
    asset_class, configured = calls.plan.asset_class, calls.plan.entitlement
    is_away = False
    try:
        now_ns = await _now(calls) or now_ns
    except VendorAwayError:
        is_away = True
    answer: verdict.Answer = "not answered"
    try:
        answer = await _newest(calls, now_ns // NS_PER_MS)
    except VendorAwayError:
        if is_away:
            raise
    is_end_of_day = answer == "end of day" or (answer == "not answered" and configured.delay_s is None)
    calls_per_minute = MAX_CALLS_BASIC if is_end_of_day else None
    calls.rate.calls_per_minute = calls_per_minute
    if is_end_of_day:
        newest = day_start(asset_class, now_ns)
        return Allowed(asset_class, answer, now_ns, newest, min(newest, now_ns - SETTLED_NS), calls_per_minute)
    is_delayed = answer == "delayed" or (answer == "not answered" and bool(configured.delay_s))
    newest = now_ns - (_DELAY_S.get(asset_class, _DELAYED_S) * NS_PER_S if is_delayed else 0)
    return Allowed(asset_class, answer, now_ns, newest, newest - SETTLED_NS, calls_per_minute)


async def oldest(calls: Calls, wanted_ns: int, now_ns: int) -> int:
    """Give the oldest instant from `wanted_ns` on that the plan includes: one call where it is, else a few."""
    if wanted_ns >= now_ns - SURE_NS:
        return wanted_ns
    tried = [now_ns - years * 365 * DAY_NS + DAY_NS for years in YEARS]
    for from_ns in [wanted_ns, *(t for t in tried if t > wanted_ns)]:
        try:
            one = _one(calls.plan.asset_class, "day", from_ns // NS_PER_MS, (from_ns + DAY_NS) // NS_PER_MS)
            await calls.ask(Question(one, verdict.status))
        except OutsidePlanError:
            continue
        return from_ns
    raise OutsidePlanError("expected a plan with some history, was refused for each of the last years")


def day_start(asset_class: AssetClass, now_ns: int) -> int:
    """Give the start of the market's current day: New York's where it has sessions, else UTC's.

    >>> day_start(AssetClass.STOCKS, 1_789_738_200_000_000_000) // NS_PER_S  # 13:30 UTC in September
    1789704000
    """
    if not asset_class.has_sessions:
        return now_ns // DAY_NS * DAY_NS
    midnight = (now_ns + ny_offset(now_ns) * NS_PER_S) // DAY_NS * DAY_NS
    # 04:30 UTC is about midnight in New York, and before its clocks change at 06:00 or 07:00 UTC.
    return midnight - ny_offset(midnight + DAY_NS * 3 // 16) * NS_PER_S


async def _now(calls: Calls) -> int:
    """Give the vendor's clock, UTC ns; 0 where it does not say."""

    def call(rest: RESTClient) -> Reply:
        answer: Reply = rest.get_market_status(raw=True)
        return answer

    try:
        return await calls.ask(Question(call, verdict.server_time_ms), AssetClass.STOCKS) * NS_PER_MS
    except (KeyRefusedError, VendorAwayError):
        raise
    except HistoryError:
        return 0


async def _newest(calls: Calls, now_ms: int) -> verdict.Answer:
    """Ask for the minute bars of the last ten minutes: only a plan with today's data may."""
    try:
        asked = Question(_one(calls.plan.asset_class, "minute", now_ms - _NEWEST_MS, now_ms), verdict.status)
        return verdict.judge(200, await calls.ask(asked))
    except OutsidePlanError:
        return "end of day"


def _one(asset_class: AssetClass, timespan: str, from_ms: int, to_ms: int) -> Callable[[RESTClient], Reply]:
    """Ask for one bar of a name every market has had for years."""
    ticker = verdict.WELL_KNOWN[asset_class]

    def call(rest: RESTClient) -> Reply:
        if asset_class is AssetClass.FUTURES:
            since = {"resolution": _RESOLUTIONS[timespan], "window_start.gte": from_ms * NS_PER_MS, "limit": 1}
            answer: Reply = rest._get(f"/futures/v1/aggs/{ticker}", params=since, raw=True)
        else:
            answer = rest.get_aggs(ticker, 1, timespan, from_ms, to_ms, limit=1, raw=True)
        return answer

    return call
