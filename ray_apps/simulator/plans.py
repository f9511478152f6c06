"""Say what a key may do: one plan per asset class, as the vendor sells them."""

from dataclasses import dataclass

from features.market.types import AssetClass
from features.market.wire import TOPICS

DELAY_S = dict.fromkeys(AssetClass, 900) | {AssetClass.FUTURES: 600}
PLANS = ("basic", "starter", "developer", "advanced", "business")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a key may do in one class.

    Attributes
    ----------
    hosts
        Stream hosts it may use: "socket", "delayed".
    topics
        Stream topics it may subscribe.
    calls_per_minute
        Limit of REST calls, None = none.
    rest_delay_s
        How old the newest bar of REST is; None = yesterday's are the newest.
    history_years
        How far REST goes back.
    connections
        Streams at a time.
    """

    hosts: tuple[str, ...]
    topics: tuple[str, ...]
    calls_per_minute: int | None
    rest_delay_s: int | None
    history_years: int
    connections: int = 1


_BOTH, _DELAYED = ("socket", "delayed"), ("delayed",)
_YEARS = {
    AssetClass.STOCKS: (2, 5, 10, 23),
    AssetClass.OPTIONS: (2, 2, 4, 5),
    AssetClass.INDICES: (1, 5, 5, 23),
    AssetClass.FUTURES: (2, 2, 5, 7),
    AssetClass.CRYPTO: (2, 10, 10, 10),
    AssetClass.FOREX: (2, 10, 10, 10),
}
_MORE = {
    AssetClass.STOCKS: ((), ("T",), ("T", "Q", "LULD")),
    AssetClass.OPTIONS: ((), ("T",), ("T", "Q")),
    AssetClass.INDICES: (("V",), ("V",), ("V",)),
    AssetClass.FUTURES: ((), ("T", "Q"), ("T", "Q")),
    AssetClass.CRYPTO: (("XT", "XQ", "XL2"),) * 3,
    AssetClass.FOREX: (("C",),) * 3,
}
_FAIR = {c: ("FMV",) if c not in (AssetClass.INDICES, AssetClass.FUTURES) else () for c in AssetClass}
KNOWN_TOPICS = {
    c: (*TOPICS[c].values(), *_MORE[c][2], *(("NOI",) if c is AssetClass.STOCKS else ()), *_FAIR[c]) for c in AssetClass
}


def plan_name(key: str, asset_class: AssetClass) -> str | None:
    """Give the plan a simulator's key stands for; anything after it tells keys of one plan apart.

    `+class.plan` gives a class a plan of its own.

    >>> stocks, indices = AssetClass.STOCKS, AssetClass.INDICES
    >>> plan_name("sim-starter", stocks), plan_name("sim-advanced-2", stocks), plan_name("secret", stocks)
    ('starter', 'advanced', None)
    >>> plan_name("sim-advanced+indices.basic", stocks), plan_name("sim-advanced+indices.basic", indices)
    ('advanced', 'basic')
    """
    whole, *own = key.split("+")
    parts = whole.split("-")
    if len(parts) < 2 or parts[0] != "sim" or parts[1] not in PLANS:
        return None
    return next((p for p in PLANS if f"{asset_class}.{p}" in own), parts[1])


def plan(name: str, asset_class: AssetClass) -> Plan:
    """Give a plan of a class; one the class does not sell counts as the next lower.

    >>> plan("starter", AssetClass.STOCKS).hosts, plan("advanced", AssetClass.CRYPTO).hosts
    (('delayed',), ('socket',))
    """
    if name == "basic":
        return Plan((), (), 5, None, _YEARS[asset_class][0])
    level = min(PLANS.index(name), 3)
    topics = (*TOPICS[asset_class].values(), *_MORE[asset_class][level - 1])
    years = _YEARS[asset_class][level]
    extra = _FAIR[asset_class] if name == "business" else ()
    connections = 3 if name == "business" else 1
    if asset_class in (AssetClass.CRYPTO, AssetClass.FOREX):
        return Plan(("socket",), topics + extra, None, 0, years, connections)
    if level < 3:
        return Plan(_DELAYED, topics, None, DELAY_S[asset_class], years, connections)
    return Plan(_BOTH, topics + extra, None, 0, years, connections)
