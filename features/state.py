"""Hold the streaming state of many series of one bar length, and turn bars into features."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features import catalog
from features.block import BarBlock, plain
from features.catalog import CATALOG
from features.families.activity import ActivityFamily
from features.families.cross_section import Closes, CrossSectionFamily
from features.families.fault import LEVEL, FaultFamily
from features.families.gap import GapFamily
from features.families.horizon import HorizonFamily
from features.families.profile import profile
from features.families.returns import ReturnsFamily
from features.families.table import Table
from features.families.trials import TrialsFamily
from features.families.turnover import TurnoverFamily
from features.families.volatility import WARMUP_SHORT, VolatilityFamily
from features.families.window import WindowFamily, Windows
from features.jit import kernel
from features.market.types import F64, I64, U8, AssetClass, Bool
from features.stats import WARMUP

HORIZON_S = 3_600
"""The horizon over which a symbol is held against its reference: an hour."""
SESSION_S = 390 * 60
"""A regular New York session."""
DAY_S = 86_400
COUNTED = ("activity", "returns", "volatility", "cross_section")
"""The families whose first column counts the windows they have learned from."""
SOURCES = ("activity", "returns", "volatility", "gap", "cross_section")
"""The families that say why a column has no value; before the close the last of them says nothing."""
SOURCE_OF = np.array([SOURCES.index(spec.family) for spec in CATALOG])


class Observation(NamedTuple):
    """What a block of bars showed.

    `x` [T, N, F] and `reason` [T, N, F] (0 where there is a value), `code` [T, N] fault codes, `trials` [T, N]
    independent looks a day, `windows` the trailing windows. `move`, `reach` and `is_cut` [T, N], what the close needs,
    are the log move over the last hour, the part of an hour it has reached and whether a hole cut it short. `turnover`
    [T, N] is a day's price times volume known before the bar.
    """

    x: F64
    reason: U8
    code: U8
    trials: F64
    windows: Windows
    move: F64
    reach: F64
    is_cut: Bool
    turnover: F64 | None


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


STATE_VERSION = 2
"""Of what the stages' arrays mean: with another a stored state is of no use, and history is folded instead."""
FAMILIES = (
    "fault", "window", "activity", "returns", "volatility", "gap", "trials", "horizon", "cross_section", "turnover"
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
        self.trials = TrialsFamily(sessions=shape.asset_class.has_sessions, session_windows=shape.session_windows)
        self.horizon = HorizonFamily(shape.window_s, HORIZON_S)
        self.cross_section = CrossSectionFamily()
        self.turnover = TurnoverFamily()

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
        block = plain(block)
        t, n = block.shape
        revise = np.zeros(n, dtype=np.bool_) if block.revise is None else block.revise
        activity = block.trades if self.shape.activity == "trades" else block.volume
        code = self.fault.fold(rows, block, revise)
        w = self.window.fold(rows, block, activity, code, revise)
        x = np.full((t, n, len(CATALOG)), np.nan)
        why = np.full((len(SOURCES), t, n), catalog.UNDEFINED, dtype=np.uint8)
        self._fold_activity(rows, w, x, why[0])
        self._fold_returns(rows, w, block.open, x, why)
        sessions = self.shape.asset_class.has_sessions
        reset = (w.new_day & sessions) | (code == LEVEL)
        move = self.horizon.fold(rows, w, reset, block.open, block.close)
        trials = self.trials.fold(rows, w) if "trials" in self.only else np.full((t, n), np.nan)
        turnover = self.turnover.fold(rows, w, block.close, block.volume) if "turnover" in self.only else None
        reason = np.empty(x.shape, dtype=np.uint8)
        _fill_reasons(x, why, w.present, SOURCE_OF, reason)
        return Observation(x, reason, code, trials, w, move[0], move[1], move[2] == 1.0, turnover)

    def _fold_activity(self, rows: I64, w: Windows, x: F64, why: U8) -> None:
        if "activity" not in self.only:
            return
        x[:, :, catalog.ACTIVITY_Z], expected = self.activity.fold(rows, w, why)
        x[:, :, catalog.ACTIVITY] = w.activity
        x[:, :, catalog.ACTIVITY_RATIO] = w.activity / expected

    def _fold_returns(self, rows: I64, w: Windows, open_: F64, x: F64, why: U8) -> None:
        """Fill the columns of the returns and of what is told from them: volatility and gap."""
        returns = self.returns.fold(rows, w, why[1])
        for j, column in enumerate((catalog.MOVE, catalog.UP_Z, catalog.DOWN_Z, catalog.MOVE_Z, catalog.RETURN_SD)):
            x[:, :, column] = returns[j]
        if "volatility" in self.only:
            x[:, :, catalog.VOLATILITY_RATIO] = self.volatility.fold(rows, w, returns[3], why[2])
        if self.shape.asset_class.has_sessions:
            unit = returns[4] / self.returns.profile.vol[w.minute]
            x[:, :, catalog.GAP], x[:, :, catalog.GAP_Z] = self.gap.fold(rows, w, open_, unit, why[3])

    def close(self, rows: I64, closes: Closes) -> tuple[F64, U8]:
        """Fold closed windows: give [3, T, N] residual, its z and beta, and why they are NaN, [T, N]."""
        why = np.full(closes.present.shape, catalog.ABSENT, dtype=np.uint8)
        return self.cross_section.fold(rows, closes, why), why

    def windows_left(self, rows: I64) -> dict[str, I64]:
        """Give per family how many windows each row [N] still needs before it says anything; 0: it does."""
        count = {name: self.tables[name].state[rows, 0] for name in COUNTED if name in self.tables}
        left = {name: np.maximum(WARMUP - n, 0).astype(np.int64) for name, n in count.items()}
        if "volatility" in count:
            own = np.maximum(WARMUP_SHORT - count["volatility"], 0).astype(np.int64)
            left["volatility"] = left["returns"] + own
        if "gap" in self.tables:
            left["gap"] = left["returns"]
        return left

    def miss(self, to_ns: int) -> None:
        """Learn that bars may be missing up to `to_ns`: no move is measured across the hole."""
        self.window.miss(to_ns)

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


@kernel
def _fill_reasons(x: F64, why: U8, present: Bool, source_of: I64, reason: U8) -> None:
    """Fill `reason` [T, N, F]: 0 where `x` has a value, absent where there is no bar, else what its source says."""
    for t in range(x.shape[0]):
        for n in range(x.shape[1]):
            for f in range(x.shape[2]):
                if not np.isnan(x[t, n, f]):
                    reason[t, n, f] = catalog.VALUE
                elif not present[t, n]:
                    reason[t, n, f] = catalog.ABSENT
                else:
                    reason[t, n, f] = why[source_of[f], t, n]
