"""Read the exchange's calendar into session arrays: regular hours, half days and holidays."""

from datetime import date
from functools import lru_cache

import exchange_calendars
import numpy as np

from features.market.calendar import Sessions, ny_day
from features.market.types import AssetClass

_EXCHANGE = "XNYS"  # stocks, options and indices keep New York's days; other classes have none here


def sessions(asset_class: AssetClass, first: date, last: date) -> Sessions:
    """Give the sessions of a class from `first` to `last`, both inclusive (about 0.3 s for years not asked for yet).

    Classes that trade around the clock, and futures, whose week is a rule rather than a list, have none.
    """
    if not asset_class.has_sessions or asset_class is AssetClass.FUTURES:
        return Sessions(np.empty(0, np.int64), np.empty(0, np.int64))
    if last < first:
        raise ValueError(f"expected a last day from {first} on, was {last}")
    whole = _of_years(first.year, last.year)
    epoch = date(1970, 1, 1)
    day = ny_day(whole.open_ns)
    wanted = (day >= (first - epoch).days) & (day <= (last - epoch).days)
    return Sessions(whole.open_ns[wanted], whole.close_ns[wanted])


@lru_cache(maxsize=8)
def _of_years(first: int, last: int) -> Sessions:
    """Give the exchange's sessions of whole years: making a calendar takes as long for a day as for a year."""
    calendar = exchange_calendars.get_calendar(_EXCHANGE, start=date(first, 1, 1), end=date(last, 12, 31))
    return Sessions(calendar.opens_nanos.astype(np.int64), calendar.closes_nanos.astype(np.int64))
