"""Every metric, declared once, and the sets that processes count into.

A process counts into its `MetricSet` and now and then sends `snapshot()`, plain data, to the one `Hub`. Counters are
cumulative within an incarnation of a process. No metric has a label of symbols.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from features.market.types import F64

LOG = logging.getLogger(__name__)
MAX_SERIES = 256
"""Label combinations of one metric in one process; further ones are counted as "other"."""

Labels = tuple[str, ...]
Snapshot = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric: its name with the unit, what it says, its labels, and how gauges of processes join."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    join: Literal["sum", "max", "min"] = "sum"


# a burst's target is .5 s, a detector's share of it is milliseconds
_BURST = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
_SCORE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_P_VALUE = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 0.5, 1.0)

BARS_RECEIVED = Declared(
    "tapewatch_bars_received_total", "counter", "Bars parsed from the feed.", ("asset_class", "bar_length")
)
BARS_DROPPED = Declared(
    "tapewatch_bars_dropped_total", "counter", "Bars refused or shed, by reason.", ("asset_class", "reason")
)
BARS_LATE = Declared(
    "tapewatch_bars_late_total", "counter", "Bars that came after their minute was closed.", ("asset_class",)
)
BARS_REVISED = Declared(
    "tapewatch_bars_revised_total",
    "counter",
    "Bars of a window already seen; depth newest or older.",
    ("asset_class", "depth"),
)
LAG = Declared(
    "tapewatch_lag_seconds",
    "gauge",
    "How long the bars handed on last waited since their receipt, or the oldest that waits now if longer.",
    ("asset_class",),
    join="max",
)
QUEUE_DEPTH = Declared("tapewatch_queue_items", "gauge", "Items that wait in a bounded queue.", ("queue",))
BLIND = Declared(
    "tapewatch_blind_seconds_total", "counter", "Time without a live feed inside a session.", ("asset_class",)
)
SILENT = Declared(
    "tapewatch_feed_silent_seconds",
    "gauge",
    "Since the newest bar came, inside a session; 0 outside.",
    ("asset_class",),
    join="max",
)
BAR_INTERVAL = Declared(
    "tapewatch_feed_bar_interval_seconds",
    "gauge",
    "How long the next bar usually takes to come, inside a session: long where few symbols are watched.",
    ("asset_class",),
    join="max",
)
NOT_LIVE = Declared(
    "tapewatch_feed_not_live",
    "gauge",
    "1 where bars should come and the feed is neither live nor a spare, or the vendor refuses it at any hour; else 0.",
    ("asset_class",),
    join="max",
)
COMPLETENESS = Declared(
    "tapewatch_window_completeness_ratio",
    "gauge",
    "Part of the usual series that had a bar in the newest closed window.",
    ("asset_class",),
    join="min",
)
BREADTH = Declared(
    "tapewatch_market_breadth_ratio",
    "gauge",
    "Part of the active series that moved the market's way by more than one sd, in the newest closed window.",
    ("asset_class",),
    join="max",
)
BURST = Declared(
    "tapewatch_burst_seconds",
    "histogram",
    "From a minute's last byte to its last anomaly committed.",
    ("asset_class",),
    _BURST,
)
APPLY = Declared(
    "tapewatch_apply_seconds", "histogram", "Time a shard takes to judge and store a message.", ("asset_class",), _BURST
)
SCORE = Declared("tapewatch_score_seconds", "histogram", "Time a detector takes for one batch.", ("detector",), _SCORE)
ANOMALIES = Declared("tapewatch_anomalies_total", "counter", "Anomalies raised.", ("asset_class", "kind"))
RETRACTED = Declared(
    "tapewatch_anomalies_retracted_total", "counter", "Anomalies taken back by a revision.", ("asset_class", "kind")
)
P_VALUE = Declared(
    "tapewatch_p_value",
    "histogram",
    "p-values of each kind over a sample of the bars of every closed window.",
    ("asset_class", "kind"),
    _P_VALUE,
)
EPISODES = Declared("tapewatch_episodes_total", "counter", "Episodes opened.", ("asset_class", "kind", "severity"))
NOTIFIED = Declared(
    "tapewatch_notifications_total", "counter", "Episodes told of.", ("asset_class", "kind", "severity")
)
NOTIFIED_TODAY = Declared("tapewatch_notifications_today", "gauge", "Episodes told of on the newest day of the tape.")
NOTIFIED_LIMIT = Declared(
    "tapewatch_notifications_day_limit", "gauge", "Episodes that may be told of in a day.", join="max"
)
EPISODES_TODAY = Declared(
    "tapewatch_episodes_today",
    "gauge",
    "Episodes of symbols' own (no shock, no data fault) opened on the newest day of the tape.",
    ("asset_class",),
)
BUDGET = Declared(
    "tapewatch_budget_episodes_per_symbol_day",
    "gauge",
    "False episodes per symbol and day that are accepted.",
    ("asset_class",),
    join="max",
)
SERIES = Declared("tapewatch_series", "gauge", "Series watched at the primary bar length.", ("asset_class",))
SERIES_READY = Declared(
    "tapewatch_series_ready", "gauge", "Series of which the kind can be called.", ("asset_class", "kind")
)
READY = Declared("tapewatch_ready", "gauge", "1 where the part works, 0 where not.", ("part",), join="min")
SINK_FAILURES = Declared("tapewatch_sink_failures_total", "counter", "Deliveries that failed.", ("sink",))
DELIVERED = Declared("tapewatch_sink_delivered_total", "counter", "Messages delivered.", ("sink",))
OUTBOX_WAITING = Declared("tapewatch_outbox_waiting", "gauge", "Messages that wait for delivery.", ("sink",))
OUTBOX_AGE = Declared(
    "tapewatch_outbox_oldest_seconds", "gauge", "Age of the oldest message that waits.", ("sink",), join="max"
)
OUTBOX_DEAD = Declared("tapewatch_outbox_dead", "gauge", "Messages given up and kept.", ("sink",))
DATABASE_BYTES = Declared("tapewatch_database_bytes", "gauge", "Disk the database takes.", join="max")
DATABASE_LIMIT = Declared("tapewatch_database_limit_bytes", "gauge", "What the database may take.", join="max")
PROCESS_SILENT = Declared(
    "tapewatch_process_silent_seconds", "gauge", "Since a process last sent its metrics.", ("process",), join="max"
)
CHECKPOINT_AGE = Declared(
    "tapewatch_checkpoint_age_seconds",
    "gauge",
    "Since the newest checkpoint of a stage.",
    ("stage", "asset_class"),
    join="max",
)
SHADOW_P = Declared(
    "tapewatch_shadow_p_value",
    "histogram",
    "p-values of models that score beside the path and decide nothing.",
    ("model",),
    _P_VALUE,
)
SHADOW_LOST = Declared(
    "tapewatch_shadow_batches_lost_total",
    "counter",
    "Batches that a model did not score, by reason.",
    ("model", "reason"),
)

METRICS: tuple[Declared, ...] = (
    *(BARS_RECEIVED, BARS_DROPPED, BARS_LATE, BARS_REVISED, LAG, QUEUE_DEPTH, BLIND, SILENT, BAR_INTERVAL),
    *(NOT_LIVE, COMPLETENESS, BREADTH, BURST, APPLY, SCORE, P_VALUE, ANOMALIES, RETRACTED),
    *(EPISODES, EPISODES_TODAY, BUDGET),
    *(NOTIFIED, NOTIFIED_TODAY, NOTIFIED_LIMIT, SERIES, SERIES_READY, READY, PROCESS_SILENT),
    *(SINK_FAILURES, DELIVERED, OUTBOX_WAITING, OUTBOX_AGE, OUTBOX_DEAD, DATABASE_BYTES, DATABASE_LIMIT),
    *(CHECKPOINT_AGE, SHADOW_P, SHADOW_LOST),
)


class MetricSet:
    """What one process counts; cheap enough for every batch, not for every bar.

    Parameters
    ----------
    process
        A stable name of the role, such as `shard-stocks-0`.
    incarnation
        Differs at every start of the process.

    >>> own = MetricSet("feed-stocks", "a")
    >>> own.inc(BARS_DROPPED, 2, asset_class="stocks", reason="future")
    >>> own.snapshot()["values"]
    {'tapewatch_bars_dropped_total': {('stocks', 'future'): 2.0}}
    """

    def __init__(self, process: str, incarnation: str) -> None:
        self.process = process
        self.incarnation = incarnation
        self._sent = 0
        self._taken: dict[str, dict[Labels, Any]] = {}
        self._numbers: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, list[float]]] = {}

    def inc(self, metric: Declared, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        series = _series(self._numbers, metric, "counter")
        if amount < 0:
            raise ValueError(f"expected {metric.name} to grow, was {amount}")
        key = key_of(metric, labels, series)
        series[key] = series.get(key, 0.0) + amount

    def set(self, metric: Declared, value: float, **labels: str) -> None:
        """Set a gauge."""
        series = _series(self._numbers, metric, "gauge")
        series[key_of(metric, labels, series)] = float(value)

    def clear(self, metric: Declared) -> None:
        """Forget a gauge's values: what it told of may be gone."""
        _series(self._numbers, metric, "gauge").clear()

    def observe(self, metric: Declared, value: float, **labels: str) -> None:
        """Count a value into a histogram: a count per bucket, one beyond the last, and the sum."""
        series = _series(self._histograms, metric, "histogram")
        row = series.setdefault(key_of(metric, labels, series), [0.0] * (len(metric.buckets) + 2))
        row[bisect_left(metric.buckets, value)] += 1
        row[-1] += value

    def observe_many(self, metric: Declared, values: F64, **labels: str) -> None:
        """Count values [N] into a histogram at once: 4,000 take 50 us."""
        series = _series(self._histograms, metric, "histogram")
        row = series.setdefault(key_of(metric, labels, series), [0.0] * (len(metric.buckets) + 2))
        at = np.searchsorted(metric.buckets, values, side="left")
        for i, n in enumerate(np.bincount(at, minlength=len(metric.buckets) + 1).tolist()):
            row[i] += n
        row[-1] += float(values.sum())

    def snapshot(self) -> Snapshot:
        """Give all values as plain data, numbered so that the hub can tell an older one."""
        self._sent += 1
        values: dict[str, dict[Labels, Any]] = {n: dict(s) for n, s in self._numbers.items()}
        values |= {n: {k: list(v) for k, v in s.items()} for n, s in self._histograms.items()}
        return {
            "process": self.process,
            "incarnation": self.incarnation,
            "number": self._sent,
            "values": values,
            "taken": self._taken,
        }

    async def tell(self, send: Callable[[Snapshot], Awaitable[None]], make: Callable[[], Snapshot]) -> None:
        """Make a snapshot and send it to the hub; what fails comes with the next one, for there may be no hub yet."""
        try:
            await send(snapshot := make())
        except Exception as e:
            LOG.debug("metrics not sent: %s", e)
        else:
            self.was_taken(snapshot)

    def was_taken(self, snapshot: Snapshot) -> None:
        """Note that a hub took a snapshot: another one counts from there on."""
        self._taken = {m.name: snapshot["values"].get(m.name, {}) for m in METRICS if m.kind != "gauge"}


def _series(held: dict[str, dict[Labels, Any]], metric: Declared, kind: str) -> dict[Labels, Any]:
    if metric.kind != kind:
        raise TypeError(f"expected a {kind}, was {metric.name}, a {metric.kind}")
    return held.setdefault(metric.name, {})


def key_of(metric: Declared, labels: Mapping[str, str], series: Mapping[Labels, object]) -> Labels:
    """Give the values of a metric's labels in their order; "other" where there are too many already."""
    if len(labels) != len(metric.labels):
        raise TypeError(f"expected the labels {metric.labels} of {metric.name}, was {tuple(labels)}")
    key = tuple(str(labels[name]) for name in metric.labels)
    return key if key in series or len(series) < MAX_SERIES else ("other",) * len(key)
