"""Bars made to order: seeded random walks with bursts, market shocks, faults and holes at known places."""

from dataclasses import dataclass, field, fields, replace
from itertools import pairwise

import numpy as np

from features.block import BarBlock, block_of, rows_of
from features.decisions.anomalies import Anomalies
from features.decisions.config import DetectionConfig
from features.engine import Engine
from features.market.types import NS_PER_S, AssetClass, BarBatch, SlotTable
from features.stages.context import Contexts
from features.stages.desk import Desk, Settled
from features.stages.group import last_of_bars
from features.stages.market import Market
from features.stages.peers import Peers
from features.stages.symbols import Symbols
from features.state import SeriesShape

MONDAY_NS = 1_741_008_600 * NS_PER_S
"""2025-03-03 09:30 New York: the six days after it cross into daylight time."""
DAY_NS = 86_400 * NS_PER_S
PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume", "trades")


@dataclass(frozen=True)
class Scene:
    """A small market: what is in it and how much of it."""

    asset_class: AssetClass = AssetClass.CRYPTO
    bar_s: int = 60
    n_symbols: int = 5
    n_windows: int = 150
    day_windows: int = 70
    seed: int = 0
    missing: float = 0.1
    bursts: int = 4
    shocks: int = 1
    faults: int = 2
    peers: Peers = field(default_factory=Peers)

    @property
    def window_s(self) -> int:
        return max(self.bar_s, 60)

    @property
    def activity(self) -> str:
        return self.asset_class.activity

    @property
    def detection(self) -> DetectionConfig:
        return DetectionConfig(peers=self.peers)


def stamps(scene: Scene) -> np.ndarray:
    """Give window starts [T]: round the clock, or `day_windows` from 09:30 of each weekday in New York."""
    per_window = scene.window_s // scene.bar_s
    step = scene.bar_s * NS_PER_S
    if not scene.asset_class.has_sessions:
        first = MONDAY_NS // DAY_NS * DAY_NS + 23 * 3_600 * NS_PER_S
        return first + np.arange(scene.n_windows * per_window, dtype=np.int64) * step
    n_days = -(-scene.n_windows // scene.day_windows)
    days = [d for d in range(n_days * 2 + 3) if d % 7 < 5][:n_days]
    summer = np.array([3_600 * NS_PER_S if d >= 6 else 0 for d in days])
    starts = MONDAY_NS + np.array(days) * DAY_NS - summer
    ts = starts[:, None] + np.arange(scene.day_windows * per_window, dtype=np.int64) * step
    return ts.ravel()[: scene.n_windows * per_window]


def block(scene: Scene) -> BarBlock:
    """Give the scene's bars; the same scene gives the same bars."""
    rng = np.random.default_rng(scene.seed)
    ts = stamps(scene)
    t, n = len(ts), scene.n_symbols
    per_window = scene.window_s // scene.bar_s
    sd = 1e-3 / np.sqrt(per_window)
    r = sd * (0.5 * rng.standard_t(5, (t, 1)) + rng.standard_t(5, (t, n)))
    activity = np.exp(rng.normal(5.0, 0.5, (t, n)))
    late = range(63 * per_window, t)
    for _ in range(scene.bursts):
        i, j = rng.choice(late), rng.integers(n)
        r[i, j] += rng.choice([-1.0, 1.0]) * 0.08
        activity[i, j] *= 300.0
    for _ in range(scene.shocks):
        i = rng.choice(late)
        r[i] += rng.choice([-1.0, 1.0]) * 0.04 * rng.uniform(0.8, 1.2, n)
        activity[i] *= 20.0
    close = 50.0 * np.exp(np.cumsum(r, axis=0))
    open_ = np.concatenate([np.full((1, n), 50.0), close[:-1]]) * np.exp(0.1 * sd * rng.normal(size=(t, n)))
    high = np.maximum(open_, close) * np.exp(0.3 * sd * np.abs(rng.normal(size=(t, n))))
    low = np.minimum(open_, close) * np.exp(-0.3 * sd * np.abs(rng.normal(size=(t, n))))
    trades = np.maximum(1.0, np.round(activity))
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": activity * 7.0, "trades": trades}
    for _ in range(scene.faults):
        i, j = rng.choice(late), rng.integers(n)
        for name in PRICES:
            columns[name][i, j] *= 10.0
    gone = rng.random((t, n)) < scene.missing
    gone[gone.all(axis=1), 0] = False
    for column in columns.values():
        column[gone] = np.nan
    return BarBlock(np.arange(n, dtype=np.int32), np.repeat(ts[:, None], n, axis=1), **columns, bar_s=scene.bar_s)


def one_series(closes, *, bar_s: int = 60, start_ns: int = MONDAY_NS, volume=100.0, slot: int = 0) -> BarBlock:
    """Give bars [T, 1] with the given closes, each opening at the close before; a NaN close is no bar."""
    c = np.asarray(closes, dtype=float)[:, None]
    seen = np.where(np.isnan(c), 0, np.arange(len(c))[:, None])
    known = c[np.maximum.accumulate(seen, axis=0)[:, 0]]
    open_ = np.where(np.isnan(c), np.nan, np.concatenate([known[:1], known[:-1]]))
    v = np.where(np.isnan(c), np.nan, np.broadcast_to(np.asarray(volume, dtype=float).reshape(-1, 1), c.shape))
    ts = start_ns + np.arange(len(c), dtype=np.int64)[:, None] * bar_s * NS_PER_S
    return BarBlock(np.array([slot], dtype=np.int32), ts, open_, np.fmax(open_, c), np.fmin(open_, c), c, v, v, bar_s)


def with_bars(b: BarBlock, at: tuple[int, int], **values: float) -> BarBlock:
    """Give a copy of a block with some values of the bar `at` (t, n) changed."""
    columns = {name: getattr(b, name).copy() for name in COLUMNS}
    for name, value in values.items():
        columns[name][at] = value
    return replace(b, **columns)


def batch(b: BarBlock, t: int, mine: np.ndarray | None = None) -> BarBatch:
    """Give the bars of row `t` (of the series `mine`) as a live batch."""
    here = np.isfinite(b.close[t]) if mine is None else np.isfinite(b.close[t]) & mine
    nan = np.full(int(here.sum()), np.nan)
    ts = b.ts[t, here]
    values = (getattr(b, name)[t, here] for name in ("open", "high", "low", "close", "volume"))
    return BarBatch(b.slot[here], ts, ts + b.bar_s * NS_PER_S, *values, nan, b.trades[t, here], b.bar_s)


def table(scene: Scene, names: list[str] | None = None) -> SlotTable:
    out = SlotTable(scene.asset_class)
    for name in names or [f"S{i}" for i in range(scene.n_symbols)]:
        out.slot(name, scene.bar_s)
    return out


def engine(scene: Scene, names: list[str] | None = None, config: DetectionConfig | None = None) -> Engine:
    return Engine(table(scene, names), scene.bar_s, scene.activity, config or scene.detection)


@dataclass
class Run:
    """What a run gave: anomalies in their order, an episode id each, contexts, the last state of each episode."""

    anomalies: Anomalies
    episode_ids: list[str]
    episodes: dict
    notify: list
    contexts: Contexts | None


def gather(parts) -> Run:
    """Join what several blocks or windows gave."""
    parts = list(parts)
    found = [p.anomalies for p in parts]
    none = Anomalies.none(14)
    contexts = [p.contexts for p in parts if p.contexts is not None and len(p.contexts)]
    return Run(
        Anomalies.concat([none, *found]),
        [i for p in parts for i in p.episode_ids],
        {e.id: e for p in parts for e in p.episodes},
        [e.id for p in parts for e in p.notify],
        Contexts.concat(contexts) if contexts else None,
    )


@dataclass
class Window:
    """One closed window of a live run."""

    anomalies: Anomalies
    episode_ids: list[str]
    episodes: list
    notify: list
    contexts: Contexts | None


class Live:
    """The three stages fed as a feed does: batches of one bar per series, a close after each window."""

    def __init__(self, scene: Scene, config: DetectionConfig | None = None, shards: int = 1) -> None:
        config = config or scene.detection
        self.scene = scene
        self.table = table(scene)
        self.market = Market(SeriesShape(scene.asset_class, scene.bar_s, scene.activity), config)
        self.market.grow(self.table)
        self.shards = [Symbols(scene.asset_class, scene.bar_s, scene.activity, config) for _ in range(shards)]
        for slot, series in enumerate(self.table.since(0)):
            self.shards[self.owner(slot)].open(slot, series.symbol)
        self.desk = Desk(scene.asset_class, config, lambda slot: self.table[slot].symbol)
        self.found: list[Anomalies] = []
        self.end = 0

    def warm(self, b: BarBlock) -> None:
        """Start from the state that history leaves (one shard)."""
        history = engine(self.scene)
        list(history.fold(b))
        self.market.restore(history.market.snapshot())
        self.shards[0].restore(history.symbols.snapshot())
        self.desk.restore(history.desk.snapshot())

    def owner(self, slot: int) -> int:
        return hash_of(self.table[slot].symbol) % len(self.shards)

    def bars(self, b: BarBatch, revise: np.ndarray | None = None) -> list[Anomalies]:
        """Take a batch; `revise` [N] marks revisions of the newest bars."""
        self.market.observe(b.slot.astype(np.int64), block_of(b, revise), np.zeros(1, dtype=bool))
        out = []
        for k, symbols in enumerate(self.shards):
            mine = np.array([self.owner(int(s)) == k for s in b.slot], dtype=bool)
            if mine.any():
                part = block_of(b.take(mine), None if revise is None else revise[mine])
                out.append(symbols.decide(symbols.observe(part)))
        self.found += out
        self.end = max(self.end, int(b.ts_end.max()))
        return out

    def close(self, ctx: Contexts | None = None) -> Window:
        """Close the window of the newest bars."""
        window = self.scene.window_s * NS_PER_S
        ctx = ctx or self.market.close(-(-self.end // window) * window)
        for symbols in self.shards:
            self.found.append(symbols.close(ctx))
            for day, (peaks, series) in symbols.primary.take_totals().items():
                self.market.rescale.credit(day, peaks, series)
        found = last_of_bars(Anomalies.concat(self.found))
        self.found = []
        settled = self.desk.settle(found, ctx) if len(found) else Settled()
        return Window(found, settled.episode_ids, settled.episodes, settled.notify, ctx)

    def run(self, b: BarBlock, groups: int = 1) -> list[Window]:
        """Feed a block row by row, each row in `groups` batches, closing every window after its last row."""
        window = self.scene.window_s * NS_PER_S
        ends = -(-(b.ts[:, 0] + b.bar_s * NS_PER_S) // window)
        out = []
        for t in range(len(ends)):
            for g in range(groups):
                part = batch(b, t, np.arange(b.shape[1]) % groups == g)
                if len(part):
                    self.bars(part)
            if t + 1 == len(ends) or ends[t + 1] != ends[t]:
                out.append(self.close())
        return out


def hash_of(name: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(name))


def assert_same(a, b, but: tuple[str, ...] = ()) -> None:
    """Say that two records of arrays hold the same bits (NaN equals NaN)."""
    for f in fields(a):
        if f.name not in but:
            np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


def assert_same_arrays(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def assert_same_run(a: Run, b: Run) -> None:
    assert_same(a.anomalies, b.anomalies)
    assert a.episode_ids == b.episode_ids
    assert {k: repr(v) for k, v in a.episodes.items()} == {k: repr(v) for k, v in b.episodes.items()}
    assert a.notify == b.notify
    if a.contexts is not None and b.contexts is not None:
        assert_same(a.contexts, b.contexts)


def cut(b: BarBlock, scene: Scene, windows: list[int]) -> list[BarBlock]:
    """Split a block after the given numbers of windows."""
    per_window = scene.window_s // scene.bar_s
    at = sorted({w * per_window for w in windows if 0 < w * per_window < len(b.ts)})
    edges = [0, *at, len(b.ts)]
    return [rows_of(b, slice(i, j)) for i, j in pairwise(edges)]


def by_slot(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give a `Symbols` snapshot with its rows in the order of slots: rows are opened as series arrive."""
    out = dict(arrays)
    for bar_s in {name.split("/")[0] for name in arrays}:
        order = np.argsort(arrays[f"{bar_s}/slots"])
        for name, array in arrays.items():
            if name.startswith(f"{bar_s}/") and name.split("/")[1] not in ("shock", "scales", "totals"):
                out[name] = array[order]
    return out
