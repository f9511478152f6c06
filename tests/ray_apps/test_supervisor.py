"""When a feed waits for nothing of ours any more, whatever is told of it."""

import pytest

from features.market.types import AssetClass
from ray_apps.screen import Screen
from ray_apps.settings import Settings
from ray_apps.supervisor import Supervisor

STOCKS = AssetClass.STOCKS


@pytest.mark.parametrize(("status", "error", "is_over", "line"), [
    ("live", "", True, "live"),
    ("cooldown", "", True, "cooldown: why"),
    ("refused", "FatalFeedError: auth_failed", True, "FatalFeedError: auth_failed"),
    ("reconnecting", "", False, "reconnecting: why"),
    ("failed", "StoreError: no", False, "StoreError: no"),
])  # fmt: skip
def test_a_feed_that_cannot_go_on_by_itself_is_waited_for_no_more(
    status: str, error: str, is_over: bool, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(Settings(), Screen())
    supervisor._tell(STOCKS, {"status": status, "error": error, "detail": "why", "progress": ""})
    assert supervisor._waits_for_nothing(STOCKS) == is_over
    assert line in capsys.readouterr().out
