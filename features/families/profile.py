"""The frozen time-of-day profile: how busy and how volatile a New York minute usually is, pooled over stocks.

Fitted on US stocks of 2013, 2024 and 2025 together, which agree. Round-the-clock markets have none: their
announced events start on the hour, so a clock feature there would learn the label.
"""

from typing import NamedTuple

import numpy as np

from features.market.types import F64, AssetClass

KNOTS = np.array([
    # minute of day, level of log activity, factor of its spread, factor of the return volatility
    [0, -5.5, 2.6, 1.2], [240, -5.3, 2.6, 1.35], [420, -4.4, 2.6, 1.35], [480, -3.5, 2.6, 1.65],
    [510, -3.4, 2.5, 1.65], [550, -2.9, 2.5, 1.65], [565, -2.2, 2.5, 2.55], [569, -2.2, 2.5, 2.55],
    [570, 2.9, 1.3, 3.5], [571, 1.45, 1.1, 3.2], [573, 1.25, 1, 2.9], [577, 0.98, 1, 2.45],
    [585, 0.82, 1, 2.05], [595, 0.7, 1, 1.75], [607, 0.6, 1, 1.55], [622, 0.42, 1, 1.35],
    [645, 0.3, 1, 1.2], [690, 0.06, 1, 1.03], [750, -0.19, 1, 0.9], [810, -0.27, 1, 0.84],
    [855, -0.18, 1, 0.82], [885, -0.18, 1, 0.82], [915, 0, 1, 0.86], [937, 0.2, 1, 0.92],
    [947, 0.5, 1, 1], [950, 1.05, 1.1, 1.5], [954, 1.15, 1.2, 1.5], [957, 1.6, 1.2, 1.3],
    [959, 2.6, 1.6, 1.7], [960, 3.5, 3, 1.9], [961, -1.8, 3.2, 2.55], [970, -2.9, 3, 2.25],
    [990, -3.9, 2.7, 1.8], [1050, -4.7, 2.6, 1.5], [1200, -4.8, 2.6, 1.2], [1440, -5, 2.6, 1.2],
])  # fmt: skip
MINUTES = 1_440


class Profile(NamedTuple):
    """Per minute of day [1440] of the window's start: level of log activity, factors of spread and volatility."""

    level: F64
    spread: F64
    vol: F64


def profile(asset_class: AssetClass, window_s: int) -> Profile:
    """Give the profile of windows `window_s` long (the mean over the minutes a window covers).

    >>> p = profile(AssetClass.STOCKS, 60)
    >>> float(p.level[570]), float(p.vol[570]), float(profile(AssetClass.CRYPTO, 60).vol[570])
    (2.9, 3.5, 1.0)
    """
    if not asset_class.has_sessions:
        return Profile(np.zeros(MINUTES), np.ones(MINUTES), np.ones(MINUTES))
    n = max(1, min(MINUTES, window_s // 60))
    minute = np.arange(MINUTES)
    at = (minute[:, None] + np.arange(n)) % MINUTES
    level, spread, vol = (np.interp(minute, KNOTS[:, 0], KNOTS[:, i])[at] for i in (1, 2, 3))
    return Profile(
        level=np.log(np.mean(np.exp(level), axis=1)),
        spread=np.mean(spread, axis=1),
        vol=np.sqrt(np.mean(vol * vol, axis=1)),
    )
