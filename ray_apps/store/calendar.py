"""Read the exchange's calendar into session arrays: regular hours, half days and holidays."""

from datetime import date, timedelta
from functools import lru_cache

import exchange_calendars
import numpy as np

from features.market.calendar import Sessions, ny_day
from features.market.types import AssetClass

_EXCHANGE = "XNYS"  # stocks, options and indices keep New York's days; other classes have none here


@lru_cache(maxsize=8)
def sessions(asset_class: AssetClass, first: date, last: date) -> Sessions:
    """Give the sessions of a class from `first` to `last`, both inclusive (about 0.3 s for a year).

    Classes that trade around the clock, and futures, whose week is a rule rather than a list, have none.
    """
    if not asset_class.has_sessions or asset_class is AssetClass.FUTURES:
        return Sessions(np.empty(0, np.int64), np.empty(0, np.int64))
    if last < first:
        raise ValueError(f"expected a last day from {first} on, was {last}")
    # A span must hold a session for the library: a week more at each end always does.
    margin = timedelta(days=7)
    calendar = exchange_calendars.get_calendar(_EXCHANGE, start=first - margin, end=last + margin)
    opens, closes = calendar.opens_nanos.astype(np.int64), calendar.closes_nanos.astype(np.int64)
    epoch = date(1970, 1, 1)
    day = ny_day(opens)
    wanted = (day >= (first - epoch).days) & (day <= (last - epoch).days)
    return Sessions(opens[wanted], closes[wanted])
