"""Judged bars with something of everything, for what is printed, drawn and sent of them."""

from functools import cache

import numpy as np

from features.market.bars import BarColumns
from features.market.quality.days import HOUR_NS
from features.market.quality.series import judge_series
from features.market.quality.summary import Quality, Survey
from features.market.types import AssetClass
from tests.support.histories import MINUTE, PRICES, edit, frame_of, scaled, walk, without

N_DAYS = 28
HOSTILE = '<b>&"X"'


@cache
def damaged() -> Quality:
    """Give five walks of four weeks, each with a flaw of its own, and one of them named to break pages."""
    held = frame_of(AssetClass.STOCKS, N_DAYS)
    ts = held.expected.ts
    clean = {name: walk(ts, k) for k, name in enumerate(("AAPL", "MSFT", "NVDA", "TSLA", HOSTILE))}
    late = np.flatnonzero(ts >= held.days.start_ns[12])
    changed = {
        "AAPL": without(clean["AAPL"], slice(900, 990)),
        "MSFT": edit(clean["MSFT"], slice(1_180, 1_300), **dict.fromkeys(PRICES, float(clean["MSFT"].close[1_179]))),
        "NVDA": scaled(scaled(clean["NVDA"], slice(3_000, 3_001), 10.0), slice(4_000, 4_001), 1.0, 1e7),
        "TSLA": edit(clean["TSLA"], late, ts=lambda t: t + HOUR_NS),
        HOSTILE: scaled(clean[HOSTILE], late, 0.5, 2.0),
    }
    survey = Survey()
    for name, bars in changed.items():
        survey.add(judge_series(name, bars, held, refused={"bad_price": 3} if name == "NVDA" else None))
    survey.add(judge_series("NIL", no_bars(), held))
    return survey.result(held.days, 60, (int(held.days.start_ns[0]), int(held.days.end_ns[-1])))


@cache
def plain(n_symbols: int = 1) -> Quality:
    """Give walks in which nothing is wrong."""
    held = frame_of(AssetClass.CRYPTO, 3)
    survey = Survey()
    for k in range(n_symbols):
        survey.add(judge_series(f"C{k}-USD", walk(held.expected.ts, k), held))
    return survey.result(held.days, 60, (int(held.days.start_ns[0]), int(held.days.end_ns[-1]) + MINUTE))


def no_bars() -> BarColumns:
    return BarColumns(np.empty(0, np.int64), *[np.empty(0)] * 7)
