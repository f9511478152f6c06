"""The plans are those of section 7 of the protocol page."""

import itertools

import pytest

from features.market.polygon import topics
from features.market.types import AssetClass
from ray_apps.ingest.tiers import Tier, describe, entitlement

S, C, F = AssetClass.STOCKS, AssetClass.CRYPTO, AssetClass.FUTURES
O, X, I = AssetClass.OPTIONS, AssetClass.FOREX, AssetClass.INDICES  # noqa: E741


@pytest.mark.parametrize(
    ("asset_class", "tier", "sold", "host", "delay_s", "years", "calls"),
    [
        (S, Tier.BASIC, Tier.BASIC, None, None, 2, 5),
        (S, Tier.STARTER, Tier.STARTER, "delayed", 900, 5, None),
        (S, Tier.DEVELOPER, Tier.DEVELOPER, "delayed", 900, 10, None),
        (S, Tier.ADVANCED, Tier.ADVANCED, "socket", 0, 23, None),
        (O, Tier.DEVELOPER, Tier.DEVELOPER, "delayed", 900, 4, None),
        (O, Tier.ADVANCED, Tier.ADVANCED, "socket", 0, 5, None),
        (I, Tier.BASIC, Tier.BASIC, None, None, 1, 5),
        (I, Tier.DEVELOPER, Tier.STARTER, "delayed", 900, None, None),
        (I, Tier.ADVANCED, Tier.ADVANCED, "socket", 0, None, None),
        (C, Tier.BASIC, Tier.BASIC, None, None, 2, 5),
        (C, Tier.ADVANCED, Tier.STARTER, "socket", 0, None, None),
        (X, Tier.DEVELOPER, Tier.STARTER, "socket", 0, None, None),
        (F, Tier.STARTER, Tier.STARTER, "delayed", 600, 2, None),
        (F, Tier.ADVANCED, Tier.ADVANCED, "socket", 0, 7, None),
    ],
)
def test_entitlement(
    asset_class: AssetClass,
    tier: Tier,
    sold: Tier,
    host: str | None,
    delay_s: int | None,
    years: int | None,
    calls: int | None,
) -> None:
    found = entitlement(asset_class, tier)
    assert (found.tier, found.feed_host, found.delay_s) == (sold, host, delay_s)
    assert (found.history_years, found.calls_per_minute) == (years, calls)


@pytest.mark.parametrize("asset_class", AssetClass)
@pytest.mark.parametrize("tier", Tier)
def test_whoever_has_a_stream_has_its_bars(asset_class: AssetClass, tier: Tier) -> None:
    found = entitlement(asset_class, tier)
    bars = {topics(asset_class, 60), topics(asset_class, 1)}
    assert (bars <= found.topics) == (found.feed_host is not None)
    assert (found.delay_s is None) == (found.feed_host is None)
    line = describe(asset_class, tier)
    assert "\n" not in line
    assert line.startswith(asset_class.value)


def test_a_higher_tier_never_allows_less() -> None:
    for asset_class in AssetClass:
        plans = [entitlement(asset_class, tier) for tier in Tier]
        for lower, higher in itertools.pairwise(plans):
            assert lower.topics <= higher.topics
            assert (higher.delay_s is not None) >= (lower.delay_s is not None)
