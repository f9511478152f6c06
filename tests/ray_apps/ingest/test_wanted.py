"""Which span a backfill asks for, and whose fault it is where there is none."""

import re

import pytest

from ray_apps.errors import UsageError
from ray_apps.ingest.wanted import Asked, Kept, since
from tests.ray_apps.simulator.client import instant

NOW = instant("2026-09-15T15:00")
DAY = 86_400 * 10**9


def test_the_option_that_was_given_is_blamed() -> None:
    kept = Kept(2, NOW)
    assert since(Asked(), kept, NOW) == instant("2026-09-14T00:00")
    said = "--to: expected after 2026-09-14 00:00 UTC, the oldest the store keeps, was 2026-09-12 15:00 UTC"
    with pytest.raises(UsageError, match=re.escape(said)):
        since(Asked(to_ns=NOW - 3 * DAY), kept, NOW - 3 * DAY)
    with pytest.raises(UsageError, match="--from: expected before 2026-09-14 15:00 UTC"):
        since(Asked(NOW, NOW - DAY), kept, NOW - DAY)
