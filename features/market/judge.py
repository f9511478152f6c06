"""Judge the numbers of bars: which can be used, and why the others cannot."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.jit import kernel
from features.market.bars import BarColumns
from features.market.types import F64, FAULT_REASONS, I64, NS_PER_S, U8

_MS_BELOW = 10**14  # stamps below are ms, below 1e17 us, else ns (section 3.6 of the protocol)
_US_BELOW = 10**17
_LAST_NS = 2**63 - 1 - 86_400 * NS_PER_S  # leaves room for a window's length


@dataclass(frozen=True, slots=True)
class Limits:
    """What a frame and a bar may be.

    Attributes
    ----------
    max_frame_bytes
        A longer frame is refused unread; the vendor's stay under 1 MB, so 8 MiB is generous.
    future_s
        How far beyond the feed's clock a window may end; infinite for a tape without a clock.
    too_old_s
        How long ago a window may have ended. The vendor corrects for 15 minutes.
    """

    max_frame_bytes: int = 8 * 2**20
    future_s: float = 5.0
    too_old_s: float = 3_600.0

    def span_ns(self, now_ns: int) -> tuple[int, int]:
        """Give the earliest and latest window end accepted; everything while the clock is unknown (0).

        >>> Limits(future_s=5, too_old_s=10).span_ns(100 * NS_PER_S)
        (90000000000, 105000000000)
        """
        if now_ns <= 0:
            return 0, 2**63 - 1
        early = now_ns - int(self.too_old_s * NS_PER_S) if np.isfinite(self.too_old_s) else 0
        late = now_ns + int(self.future_s * NS_PER_S) if np.isfinite(self.future_s) else 2**63 - 1
        return max(early, 0), min(late, 2**63 - 1)


@kernel
def to_ns(stamp: int) -> int:
    """Give a stamp in ns whatever its unit; beyond the year 2262 it stays at its end.

    >>> to_ns(1_789_738_200_000) == to_ns(1_789_738_200_000_000) == to_ns(1_789_738_200_000_000_000)
    True
    """
    if stamp < _MS_BELOW:
        return min(stamp, _LAST_NS // 10**6) * 10**6
    if stamp < _US_BELOW:
        return min(stamp, _LAST_NS // 10**3) * 10**3
    return min(stamp, _LAST_NS)


@kernel
def settle(stamps: I64, volume: F64, vwap: F64, trades: F64, mean_size: F64) -> None:
    """Bring what the venue said into our terms, in place, ``[N]`` each.

    Stamps become ns. A vwap of 0 becomes absent: a window in which nothing counted has no mean price. Trades
    not said become volume by mean size where there is one (crypto always sends 0), to the next whole number: that is
    what REST says of the same window later.
    """
    for i in range(stamps.shape[0]):
        stamps[i] = to_ns(stamps[i])
        if vwap[i] == 0.0:
            vwap[i] = np.nan
        if np.isnan(trades[i]) and mean_size[i] > 0.0:
            trades[i] = max(1.0, np.rint(volume[i] / mean_size[i])) if volume[i] > 0.0 else 0.0


# Why a bar cannot be used, by the kernel's code; the first that applies is the one counted.
REASONS = ("", "missing_field", *FAULT_REASONS, "bad_volume", "future", "too_old", "bad_window")
_FIRST_FAULT = REASONS.index(FAULT_REASONS[0])
_NO_ROWS = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with bars.

    Attributes
    ----------
    reason
        [N] uint8, index into `REASONS` of the first thing wrong with each bar; 0 where it can be used.
    errors
        Bars that cannot be used, by reason.
    faulty
        [K] rows whose prices cannot be true while time and volume are in order.
    """

    reason: U8
    errors: Counter[str]
    faulty: NDArray[np.intp]

    @property
    def fault_code(self) -> U8:
        """[K] uint8, index into `FAULT_REASONS` of the faulty rows."""
        code: U8 = self.reason[self.faulty] - np.uint8(_FIRST_FAULT)
        return code


def judge(bars: BarColumns, bar_s: int, needs_volume: bool, span_ns: tuple[int, int]) -> Verdict:
    """Say which bars can be used and what is wrong with the others.

    Parameters
    ----------
    bars
        [N] bars.
    bar_s
        Their length, seconds.
    needs_volume
        Whether a bar without volume is incomplete (all classes but indices).
    span_ns
        Earliest and latest window end accepted.

    Examples
    --------
    >>> x, none = np.array([2.0, -2.0]), np.full(2, np.nan)
    >>> judge(BarColumns(np.array([0, 0]), x, x, x, x, none, none, none), 60, False, (0, 2**62))
    Verdict(reason=array([0, 2], dtype=uint8), errors=Counter({'bad_price': 1}), faulty=array([1]))
    """
    reason = _judge(bars, bar_s, needs_volume, span_ns)
    if not reason.any():
        return Verdict(reason, Counter(), _NO_ROWS)
    counts = np.bincount(reason, minlength=len(REASONS)).tolist()
    errors = Counter({word: k for word, k in zip(REASONS[1:], counts[1:], strict=True) if k})
    faulty = np.flatnonzero((reason >= _FIRST_FAULT) & (reason < _FIRST_FAULT + len(FAULT_REASONS)))
    # The first thing wrong hides the next: judge those bars again as if their prices were good.
    good, none = np.ones(len(faulty)), np.full(len(faulty), np.nan)
    sound = replace(bars.take(faulty), open=good, high=good, low=good, close=good, vwap=none)
    return Verdict(reason, errors, faulty[_judge(sound, bar_s, needs_volume, span_ns) == 0])


def _judge(bars: BarColumns, bar_s: int, needs_volume: bool, span_ns: tuple[int, int]) -> U8:
    return _reasons(
        bars.ts,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.vwap,
        bars.trades,
        bar_s * NS_PER_S,
        needs_volume,
        span_ns[0],
        span_ns[1],
    )


@kernel
def _reasons(
    ts: I64,
    open_: F64,
    high: F64,
    low: F64,
    close: F64,
    volume: F64,
    vwap: F64,
    trades: F64,
    step_ns: int,
    needs_volume: bool,
    early_ns: int,
    late_ns: int,
) -> U8:
    """Give each bar's index into `REASONS`, 0 where nothing is wrong; comparisons with NaN are false."""
    out = np.zeros(ts.shape[0], np.uint8)
    # The newest start found to be on the grid: a burst shares it, and a division takes half as long as all the rest.
    on_grid = np.int64(-1)
    for i in range(ts.shape[0]):
        o, h, l, c = open_[i], high[i], low[i], close[i]  # noqa: E741
        if needs_volume and np.isnan(volume[i]):
            out[i] = 1
        elif vwap[i] <= 0 or vwap[i] == np.inf:
            out[i] = 2
        elif not (0 < l <= o <= h < np.inf and l <= c <= h):
            out[i] = 3 if o > 0 and h > 0 and l > 0 and c > 0 and max(o, h, l, c) < np.inf else 2
        elif volume[i] < 0 or volume[i] == np.inf or trades[i] < 0 or trades[i] == np.inf:
            out[i] = 4
        elif ts[i] + step_ns > late_ns:
            out[i] = 5
        elif ts[i] + step_ns < early_ns:
            out[i] = 6
        elif ts[i] != on_grid:
            if ts[i] % step_ns == 0:
                on_grid = ts[i]
            else:
                out[i] = 7
    return out
