"""What actors are told of the past: plain data, without a secret that could be printed."""

import pickle

from features.market.types import AssetClass
from ray_apps.ingest.tiers import Tier
from ray_apps.plans import SIMULATOR_KEY, history_plan
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
