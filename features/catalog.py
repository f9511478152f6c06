"""The ordered list of features: the columns of X, with unit, warm-up and meaning."""

import hashlib
from dataclasses import dataclass

from features.stats import WARMUP


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One column of X.

    `warmup` counts the windows of a series before the column has its first value; where `reach_s` is given, only
    windows that end so long after their session's start count, and the shorter ones have no value either.

    >>> CATALOG[RESIDUAL_Z].windows_before(60), CATALOG[RESIDUAL_Z].windows_before(300)
    (62, 60)
    """

    name: str
    version: int
    family: str
    unit: str
    warmup: int
    doc: str
    reach_s: int = 0

    def windows_before(self, window_s: int) -> int:
        """Give how many windows of `window_s` a series shows from its first session's start without a value."""
        return self.warmup + max(0, -(-self.reach_s // window_s) - 1)


MIN_REACH_S = 180
"""How long a session must have run before its residual says anything."""

CATALOG: tuple[FeatureSpec, ...] = (
    FeatureSpec("activity", 1, "activity", "trades or volume", 0, "sum of the activity column over the window"),
    FeatureSpec("activity_ratio", 1, "activity", "1", WARMUP, "activity over its norm at this time of day"),
    FeatureSpec("activity_z", 1, "activity", "sd", WARMUP, "log activity against its norm at this time of day"),
    FeatureSpec("move", 1, "returns", "log", 0, "log return from the last close before the window to the bar's close"),
    FeatureSpec("up_z", 1, "returns", "sd", WARMUP, "log move to the window's high over this time of day's return rms"),
    FeatureSpec("down_z", 1, "returns", "sd", WARMUP, "log move down to the window's low over the same rms"),
    FeatureSpec("move_z", 1, "returns", "sd", WARMUP, "log move to the close over the same rms"),
    FeatureSpec("return_sd", 1, "returns", "log", WARMUP, "return rms expected of this window"),
    FeatureSpec("volatility_ratio", 1, "volatility", "1", 2 * WARMUP,
                "short over long realised volatility, on a window's first bar"),
    FeatureSpec("gap", 1, "gap", "log", WARMUP, "overnight move, on a session's first bar"),
    FeatureSpec("gap_z", 1, "gap", "sd", WARMUP, "overnight move over its norm, on a session's first bar"),
    FeatureSpec("residual", 1, "cross_section", "log", 0,
                "the hour's move beyond beta times its reference's, at the window's close", MIN_REACH_S),
    FeatureSpec("residual_z", 1, "cross_section", "sd", WARMUP, "the residual over its own rms", MIN_REACH_S),
    FeatureSpec("beta", 1, "cross_section", "1", WARMUP,
                "beta to the reference's hourly move, shrunk to 1 where short", MIN_REACH_S),
)  # fmt: skip
NAMES = tuple(spec.name for spec in CATALOG)
(ACTIVITY, ACTIVITY_RATIO, ACTIVITY_Z, MOVE, UP_Z, DOWN_Z, MOVE_Z, RETURN_SD, VOLATILITY_RATIO, GAP, GAP_Z,
 RESIDUAL, RESIDUAL_Z, BETA) = range(len(CATALOG))  # fmt: skip
CLOSE_FROM = RESIDUAL
"""Columns from here on are known at the window's close, those before with the bar."""

REASONS = ("", "warming", "input absent", "undefined", "halt", "gap")
VALUE, WARMING, ABSENT, UNDEFINED, HALT, HOLE = range(len(REASONS))


def schema_hash() -> str:
    """Give the identity of the columns: any change of name, version or order changes it."""
    text = ";".join(f"{s.name}:{s.version}" for s in CATALOG)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
