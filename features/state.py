"""Hold the streaming state of many series of one bar length, and turn bars into features."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features import catalog
from features.block import BarBlock
from features.catalog import CATALOG
from features.families.activity import ActivityFamily
from features.families.cross_section import CrossSectionFamily
from features.families.fault import FaultFamily
from features.families.gap import GapFamily
from features.families.horizon import HorizonFamily
from features.families.profile import profile
from features.families.returns import ReturnsFamily
from features.families.table import Table
from features.families.trials import TrialsFamily
from features.families.volatility import VolatilityFamily
from features.families.window import WindowFamily, Windows
from features.market.types import F64, I64, U8, AssetClass, Bool

HORIZON_S = 3_600
"""The horizon over which a symbol is held against its market: an hour."""
SESSION_S = 390 * 60
"""A regular New York session."""
DAY_S = 86_400


class Observation(NamedTuple):
    """What a block of bars showed.

    `x` [T, N, F] and `reason` [T, N, F] (0 where there is a value), `code` [T, N] fault codes, `trials` [T, N]
    independent looks a day, `windows` the trailing windows, `move` and `reach` [T, N] the log move over the last hour
    and the part of an hour the session has reached: what the close needs.
    """

    x: F64
    reason: U8
    code: U8
    trials: F64
    windows: Windows
    move: F64
    reach: F64


@dataclass(frozen=True, slots=True)
class SeriesShape:
    """What all series of one state share: the asset class, the bar length, the activity column."""

    asset_class: AssetClass
    bar_s: int
    activity: str

    @property
    def window_s(self) -> int:
        """Length of the window each bar is judged on, seconds."""
        return max(self.bar_s, 60)

    @property
    def session_windows(self) -> float:
        """Windows of a regular session, or of a day where there are none."""
        return (SESSION_S if self.asset_class.has_sessions else DAY_S) / self.window_s


FAMILIES = (
    "fault", "window", "activity", "returns", "volatility", "gap", "trials", "horizon", "cross_section"
)  # fmt: skip


class FeatureState:
    """The families of one `SeriesShape` over rows; a row is one series. `only` names those that are computed."""

    def __init__(self, shape: SeriesShape, only: tuple[str, ...] = FAMILIES) -> None:
        self.shape = shape
        self.only = frozenset(only)
        self.n_rows = 0
        p = profile(shape.asset_class, shape.window_s)
        self.fault = FaultFamily()
        self.window = WindowFamily(shape.asset_class, shape.bar_s)
        self.activity = ActivityFamily(p, is_volume=shape.activity == "volume")
        self.returns = ReturnsFamily(p)
        self.volatility = VolatilityFamily()
        self.gap = GapFamily(shape.session_windows)
        self.trials = TrialsFamily(
            sessions=shape.asset_class.has_sessions, session_windows=shape.session_windows
        )
        self.horizon = HorizonFamily(shape.window_s, HORIZON_S)
        self.cross_section = CrossSectionFamily()

    @property
    def tables(self) -> dict[str, Table]:
        """The families' tables by name."""
        return {name: getattr(self, name).table for name in FAMILIES if name in self.only}

    def grow(self, n_rows: int) -> None:
        """Make room for `n_rows` series, doubling so that growth is rare."""
        self.n_rows = max(self.n_rows, n_rows)
        capacity = len(self.fault.table.state)
        if n_rows > capacity:
            for table in self.tables.values():
                table.grow(max(n_rows, 2 * capacity, 16))

    def observe(self, rows: I64, block: BarBlock) -> Observation:
        """Fold a block of bars of `rows` [N] and give what they showed; columns known at the close stay NaN."""
        t, n = block.shape
        revise = np.zeros(n, dtype=np.bool_) if block.revise is None else block.revise
        activity = block.trades if self.shape.activity == "trades" else block.volume
        x = np.full((t, n, len(CATALOG)), np.nan)
        code = self.fault.fold(rows, block, revise)
        w = self.window.fold(rows, block, activity, code, revise)
        self._fold_activity(rows, w, x)
        returns = self.returns.fold(rows, w)
        for j, column in enumerate(
            (catalog.MOVE, catalog.UP_Z, catalog.DOWN_Z, catalog.MOVE_Z, catalog.RETURN_SD)
        ):
            x[:, :, column] = returns[j]
        if "volatility" in self.only:
            x[:, :, catalog.VOLATILITY_RATIO] = self.volatility.fold(rows, w, returns[3])
        sessions = self.shape.asset_class.has_sessions
        if sessions:
            unit = returns[4] / self.returns.profile.vol[w.minute]
            x[:, :, catalog.GAP], x[:, :, catalog.GAP_Z] = self.gap.fold(rows, w, block.open, unit)
        move = self.horizon.fold(
            rows, w.present, w.ok, revise, w.new_day & sessions, block.open, block.close, w.end
        )
        trials = self.trials.fold(rows, w) if "trials" in self.only else np.full((t, n), np.nan)
        return Observation(x, self._reasons(x, w, activity), code, trials, w, *move)

    def _fold_activity(self, rows: I64, w: Windows, x: F64) -> None:
        if "activity" not in self.only:
            return
        z, expected = self.activity.fold(rows, w)
        x[:, :, catalog.ACTIVITY] = w.activity
        x[:, :, catalog.ACTIVITY_RATIO] = w.activity / expected
        x[:, :, catalog.ACTIVITY_Z] = z

    def _reasons(self, x: F64, w: Windows, activity: F64) -> U8:
        reason = np.where(np.isnan(x), np.uint8(catalog.WARMING), np.uint8(0)).astype(np.uint8)
        return reason

    def close(self, rows: I64, present: Bool, revise: Bool, move: F64, reach: F64, market: F64) -> F64:
        """Fold closed windows: give [3, T, N] residual, its z and beta against the market's move [T]."""
        return self.cross_section.fold(
            rows, present, present & np.isfinite(move), revise, move, reach, market
        )

    def snapshot(self) -> dict[str, F64]:
        """Give every array of the state, keyed `family.array`."""
        return {
            f"{name}.{part}": array
            for name, table in self.tables.items()
            for part, array in table.snapshot(self.n_rows).items()
        }

    def restore(self, arrays: dict[str, F64]) -> None:
        """Take the arrays of a snapshot."""
        for name, table in self.tables.items():
            table.restore({k.split(".")[1]: v for k, v in arrays.items() if k.split(".")[0] == name})
        self.n_rows = len(self.fault.table.state)

    @property
    def nbytes_per_row(self) -> int:
        """Bytes one series takes."""
        return sum(table.nbytes_per_row for table in self.tables.values())
