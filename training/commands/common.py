"""What the offline commands share: how an option is read, and what the command line gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from ray_apps.errors import UsageError

if TYPE_CHECKING:
    from features.market.types import AssetClass
    from ray_apps.settings import Settings

BAR = re.compile(r"([1-9]\d{0,4})(s|m|h)")
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class World:
    """What `tapewatch` gives its offline commands, which may not reach for it: a database, a reader of instants."""

    database: Callable[[Settings], AbstractContextManager[str]]
    instant: Callable[[str | None, str, tzinfo], datetime | None]


def asset_class_of(name: str) -> AssetClass:
    """Read `--asset`."""
    from features.market.types import AssetClass

    if name not in list(AssetClass):
        raise UsageError(f"--asset: expected one of {', '.join(AssetClass)}, was {name!r}")
    return AssetClass(name)


def seconds_of(bar: str | None) -> int | None:
    """Read `--bar`.

    >>> seconds_of("5m"), seconds_of(None)
    (300, None)
    """
    if bar is None:
        return None
    found = BAR.fullmatch(bar)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= 86_400:
        raise UsageError(f"--bar: expected a length such as 5s, 1m, 5m or 1h, was {bar!r}")
    return seconds
