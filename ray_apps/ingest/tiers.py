"""Say what each plan of the vendor allows: which host, how late, how far back, how often.

Section 7 of the protocol page as a table. A class that does not sell a tier gives the next lower one it sells.
"""

from dataclasses import dataclass
from enum import StrEnum

from features.market.types import AssetClass

MAX_CALLS_BASIC = 5  # REST calls a minute without a paid plan
SOCKET, DELAYED = "socket", "delayed"
_MINUTE_S = 60


class Tier(StrEnum):
    """The vendor's plans, cheapest first."""

    BASIC = "basic"
    STARTER = "starter"
    DEVELOPER = "developer"
    ADVANCED = "advanced"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What one plan allows in one market.

    Attributes
    ----------
    asset_class, tier
        The market, and the plan it really is after the next-lower rule.
    feed_host
        Stem of the stream's host, None where the plan has no stream.
    delay_s
        How late stream and REST are; None where bars come only after the day's close.
    history_years
        How far back REST goes; None where the vendor does not say.
    calls_per_minute
        REST limit, None where there is none.
    topics
        Stream topics allowed.
    """

    asset_class: AssetClass
    tier: Tier
    feed_host: str | None
    delay_s: int | None
    history_years: int | None
    calls_per_minute: int | None
    topics: frozenset[str]


# tier: (delay in minutes, history in years, topics beyond the bars of seconds and minutes)
_Plan = tuple[int, int | None, frozenset[str]]
_NO_EXTRA: frozenset[str] = frozenset()
_BARS: dict[AssetClass, frozenset[str]] = {a: frozenset({"A", "AM"}) for a in AssetClass} | {
    AssetClass.CRYPTO: frozenset({"XA", "XAS"}),
    AssetClass.FOREX: frozenset({"CA", "CAS"}),
}
_PAID: dict[AssetClass, dict[Tier, _Plan]] = {
    AssetClass.STOCKS: {
        Tier.STARTER: (15, 5, _NO_EXTRA),
        Tier.DEVELOPER: (15, 10, frozenset({"T"})),
        Tier.ADVANCED: (0, 23, frozenset({"T", "Q", "LULD"})),
    },
    AssetClass.OPTIONS: {
        Tier.STARTER: (15, 2, _NO_EXTRA),
        Tier.DEVELOPER: (15, 4, frozenset({"T"})),
        Tier.ADVANCED: (0, 5, frozenset({"T", "Q"})),
    },
    AssetClass.INDICES: {
        Tier.STARTER: (15, None, frozenset({"V"})),
        Tier.ADVANCED: (0, None, frozenset({"V"})),
    },
    # One plan covers both currency classes.
    AssetClass.CRYPTO: {Tier.STARTER: (0, None, frozenset({"XT", "XQ", "XL2"}))},
    AssetClass.FOREX: {Tier.STARTER: (0, None, frozenset({"C"}))},
    AssetClass.FUTURES: {
        Tier.STARTER: (10, 2, _NO_EXTRA),
        Tier.DEVELOPER: (10, 5, frozenset({"T", "Q"})),
        Tier.ADVANCED: (0, 7, frozenset({"T", "Q"})),
    },
}
_BASIC_HISTORY_YEARS = dict.fromkeys(AssetClass, 2) | {AssetClass.INDICES: 1}


def entitlement(asset_class: AssetClass, tier: Tier) -> Entitlement:
    """Give what a plan allows in a market.

    >>> entitlement(AssetClass.STOCKS, Tier.STARTER).feed_host
    'delayed'
    >>> entitlement(AssetClass.CRYPTO, Tier.ADVANCED).tier  # not sold: the next lower one is
    <Tier.STARTER: 'starter'>
    """
    order = list(Tier)
    sold = [t for t in order[: order.index(tier) + 1] if t in _PAID[asset_class]]
    if not sold:
        years = _BASIC_HISTORY_YEARS[asset_class]
        return Entitlement(asset_class, Tier.BASIC, None, None, years, MAX_CALLS_BASIC, frozenset())
    delay_min, years_paid, extra = _PAID[asset_class][sold[-1]]
    return Entitlement(
        asset_class=asset_class,
        tier=sold[-1],
        feed_host=DELAYED if delay_min else SOCKET,
        delay_s=delay_min * _MINUTE_S,
        history_years=years_paid,
        calls_per_minute=None,
        topics=_BARS[asset_class] | extra,
    )


def describe(asset_class: AssetClass, tier: Tier) -> str:
    """Give one line for people about what a plan allows.

    >>> print(describe(AssetClass.STOCKS, Tier.BASIC))
    stocks basic: no live data, yesterday's bars by REST after the close; 2 years of history; 5 calls a minute
    >>> print(describe(AssetClass.CRYPTO, Tier.ADVANCED))
    crypto starter (advanced is not sold): real-time; history not stated; unlimited calls
    """
    allowed = entitlement(asset_class, tier)
    name = f"{asset_class} {allowed.tier}"
    if allowed.tier is not tier:
        name += f" ({tier} is not sold)"
    if allowed.delay_s is None:
        live = "no live data, yesterday's bars by REST after the close"
    elif allowed.delay_s:
        live = f"delayed {allowed.delay_s // _MINUTE_S} min"
    else:
        live = "real-time"
    years = allowed.history_years
    history = "history not stated" if years is None else f"{years} year{'s' * (years > 1)} of history"
    limit = allowed.calls_per_minute
    calls = "unlimited calls" if limit is None else f"{limit} calls a minute"
    return f"{name}: {live}; {history}; {calls}"
