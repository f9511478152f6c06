"""What actors are told of the past: plain data, without a secret that could be printed."""

import pickle

import pytest

from features.market.types import AssetClass
from ray_apps.errors import UsageError
from ray_apps.ingest.tiers import Tier
from ray_apps.plans import SIMULATOR_KEY, feed_plan, feeds, history_plan, pushed_feed, vendor_feed, why_not_watched
from ray_apps.settings import load_settings

DSN = "postgresql://me:hidden@127.0.0.1/x"


def test_the_vendors_past_is_asked_with_the_users_key():
    environ = {"POLYGON_API_KEY": "hunter22", "POLYGON_TIER_STOCKS": "starter", "POLYGON_REST_URL": "https://x.test"}
    plan = history_plan(load_settings(environ=environ), AssetClass.STOCKS, DSN)
    assert plan is not None
    assert (plan.base_url, plan.api_key, plan.entitlement.tier) == ("https://x.test", "hunter22", Tier.STARTER)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert "hunter22" not in repr(plan)
    assert "hidden" not in repr(plan)


def test_the_simulators_past_is_asked_with_its_own_key():
    environ = {"POLYGON_API_KEY": "hunter22"}
    plan = history_plan(load_settings(environ=environ), AssetClass.CRYPTO, DSN, "127.0.0.1:8080")
    assert plan is not None
    assert (plan.base_url, plan.api_key) == ("http://127.0.0.1:8080", SIMULATOR_KEY)
    assert plan.entitlement.calls_per_minute is None


def test_without_a_key_there_is_no_past():
    assert history_plan(load_settings(environ={}), AssetClass.CRYPTO, DSN) is None


def test_a_plan_without_a_stream_reads_listed_symbols_a_day_late():
    environ = {"POLYGON_API_KEY": "hunter22", "TAPEWATCH_UNIVERSE__SYMBOLS__STOCKS": "[AAPL, MSFT]"}
    settings = load_settings(environ=environ)
    feed = vendor_feed(settings, AssetClass.STOCKS)
    assert feed is not None
    assert feed.is_daily
    assert (feed.names, feed.form, feed.is_live) == (("AAPL", "MSFT"), "rows", False)
    assert vendor_feed(settings, AssetClass.CRYPTO) is None  # all of it, at five calls a minute
    assert "universe.symbols.crypto" in why_not_watched(AssetClass.CRYPTO)
    plan = feed_plan(settings, feed, DSN, None, "trades")
    assert (plan.tier, plan.host) == ("basic", "api.polygon.io")
    assert plan.history is not None


def test_pushed_bars_are_live_and_have_no_past():
    feed = pushed_feed(load_settings(environ={"POLYGON_API_KEY": "hunter22"}), AssetClass.CRYPTO)
    assert (feed.form, feed.is_live, feed.is_daily) == ("rows", True, False)
    plan = feed_plan(load_settings(environ={"POLYGON_API_KEY": "hunter22"}), feed, DSN, None, "volume")
    assert (plan.tier, plan.host, plan.history) == ("pushed", "", None)


@pytest.mark.parametrize("source", ["polygn", "Polygon", "/data/folder"])
def test_another_source_is_not_taken_for_the_simulator(source):
    settings = load_settings(environ={"TAPEWATCH_SIMULATOR__WS": "sim:8765"})
    assert feeds(settings, "synthetic", 1.0)[0][AssetClass.STOCKS].url == "ws://sim:8765/stocks"
    with pytest.raises(UsageError, match=f"source: expected polygon, synthetic or push here .*, was '{source}'"):
        feeds(settings, source, 1.0)
