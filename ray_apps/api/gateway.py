"""Make the gateway's application inside its replica."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI

from ray_apps.api.deps import Push
from ray_apps.api.http import create_app
from ray_apps.api.live import live_deps
from ray_apps.plans import GatewayPlan
from ray_apps.sinks.redis_sink import RedisCache
from ray_apps.store.reader import Reader


def application(plan: GatewayPlan, metrics: Callable[[], Awaitable[str]], push: Push) -> FastAPI:
    """Give the application; `metrics` gives the hub's text, `push` reaches the feeds."""
    cache = RedisCache(plan.redis_url)
    return create_app(live_deps(Reader(plan.dsn), cache, plan.redis_url, plan.http, metrics, push))
