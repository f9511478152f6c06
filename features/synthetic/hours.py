"""Say when each class trades: the minutes of a day, their share of its variance, their level of activity."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.families.profile import profile
from features.market.calendar import ny_offset, ny_seconds
from features.market.types import NS_PER_S, AssetClass, Bool
from features.synthetic.holidays import is_half_day, is_holiday
from features.synthetic.shape import TapeShape

F32 = NDArray[np.float32]

MINUTE_NS = 60 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
# Sessions on New York time, minutes after midnight: first, regular open, regular close, last.
_STOCKS = (240, 570, 960, 1200)
_REGULAR = (570, 570, 960, 960)
EARLY_CLOSE = 780
_ANY_SHAPE = TapeShape()
NEW_YORK = {AssetClass.STOCKS: _STOCKS, AssetClass.INDICES: _REGULAR, AssetClass.OPTIONS: _REGULAR}


@dataclass(frozen=True, slots=True)
class Hours:
    """The minutes of one day, one row each.

    Attributes
    ----------
    start_ns
        Start of row 0, UTC ns.
    vol
        [T] sd of a minute's move in units of a full day's sd: squares sum to 1 over a full day; 0 = closed.
    activity
        [T] log activity relative to the day's middle.
    spread
        [T] factor on the spread of log activity.
    is_open
        [T] whether the market trades.
    """

    start_ns: int
    vol: F32
    activity: F32
    spread: F32
    is_open: Bool


def weekday(day: int) -> int:
    """Give the weekday of a day since 1970, Monday 0.

    >>> weekday(0)
    3
    """
    return (day + 3) % 7


def day_of(asset_class: AssetClass, ts_ns: int) -> int:
    """Give the trading day (days since 1970) a time belongs to: New York's date for classes with sessions.

    Five hours are taken off in summer too: within 04:00-20:00 that gives the same date.
    """
    shift_ns = 5 * 3_600 * NS_PER_S if asset_class in NEW_YORK else 0
    return (ts_ns - shift_ns) // DAY_NS


def rows_of(asset_class: AssetClass) -> int:
    """Give the number of minutes of a day's rows.

    >>> rows_of(AssetClass.STOCKS), rows_of(AssetClass.CRYPTO)
    (960, 1440)
    """
    first, _, _, last = NEW_YORK.get(asset_class, (0, 0, 0, 1440))
    return last - first


def hours(asset_class: AssetClass, day: int, shape: TapeShape) -> Hours | None:
    """Give the minutes of a day, None where the market is closed all day."""
    # At noon UTC the clock of a day of change has changed.
    offset_s = ny_offset(day * DAY_NS + DAY_NS // 2)
    if asset_class in NEW_YORK:
        if weekday(day) >= 5 or is_holiday(day):
            return None
        start_ns = day * DAY_NS + (NEW_YORK[asset_class][0] * 60 - offset_s) * NS_PER_S
        vol, activity, spread, is_open = _session(asset_class, is_half_day(day))
        return Hours(start_ns, vol, activity, spread, is_open)
    vol, activity, is_open = _round_the_clock(asset_class, shape, weekday(day), offset_s)
    return Hours(day * DAY_NS, vol, activity, np.ones_like(vol), is_open) if is_open.any() else None


def is_regular(asset_class: AssetClass, ts_ns: int) -> bool:
    """Say whether a minute that begins here lies in the regular session, or the open week.

    >>> is_regular(AssetClass.STOCKS, 1_789_738_200 * NS_PER_S), is_regular(AssetClass.STOCKS, 0)
    (True, False)
    """
    if asset_class not in NEW_YORK:
        offset_s, day = ny_offset(ts_ns), ts_ns // DAY_NS
        _, _, is_open = _round_the_clock(asset_class, _ANY_SHAPE, weekday(day), offset_s)
        return bool(is_open[ts_ns % DAY_NS // MINUTE_NS])
    day, second = ny_seconds(ts_ns)
    closes = EARLY_CLOSE if is_half_day(day) else _STOCKS[2]
    return weekday(day) < 5 and not is_holiday(day) and _STOCKS[1] <= second // 60 < closes


@lru_cache(maxsize=64)
def _session(asset_class: AssetClass, early: bool) -> tuple[F32, F32, F32, Bool]:
    """Give a session's time of day: that of real stocks, which the detectors know too."""
    first, _, closes, last = NEW_YORK[asset_class]
    usual = profile(AssetClass.STOCKS, 60)
    vol, activity, spread = (column[first:last].astype(np.float32) for column in (usual.vol, usual.level, usual.spread))
    is_open = np.ones(last - first, dtype=np.bool_)
    if early:
        is_open[(EARLY_CLOSE + 240 if last > closes else EARLY_CLOSE) - first :] = False
    return _normal(vol, is_open, full=vol), activity, spread, is_open


@lru_cache(maxsize=64)
def _round_the_clock(
    asset_class: AssetClass, shape: TapeShape, day_of_week: int, offset_s: int
) -> tuple[F32, F32, Bool]:
    """Give a UTC day: a daily wave with its crest at 14:30 UTC, and the weekend of forex and futures."""
    minute = np.arange(1440)
    wave = np.cos((minute - 870) * (2 * np.pi / 1440))
    vol = np.exp(shape.cycle_vol * wave)
    is_open = np.ones(1440, dtype=np.bool_)
    if asset_class is not AssetClass.CRYPTO:
        local = minute + offset_s // 60
        local_day = (day_of_week + local // 1440) % 7
        local = local % 1440
        reopens = 1020 if asset_class is AssetClass.FOREX else 1080
        is_open = local_day < 4
        is_open |= (local_day == 4) & (local < 1020)
        is_open |= (local_day == 6) & (local >= reopens)
        if asset_class is AssetClass.FUTURES:
            is_open &= ~((local >= 1020) & (local < 1080))
    return _normal(vol, is_open, full=vol), (shape.cycle_activity * wave).astype(np.float32), is_open


def _normal(vol: NDArray[np.floating], is_open: Bool, full: NDArray[np.floating]) -> F32:
    scaled: F32 = np.where(is_open, vol / np.sqrt(np.sum(full * full)), 0.0).astype(np.float32)
    return scaled
